"""Which spaces there are: those that come with the program, and a TOML file of the user's."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

from pnag.errors import SpaceError
from pnag.space.search_space import SearchSpace

SPACES: Mapping[str, SearchSpace] = {
    space.name: space
    for space in (
        SearchSpace("ofa-mbv3-w1.2", 1.2),
        SearchSpace("ofa-mbv3-w1.0", 1.0),
        SearchSpace("ofa-mbv3-w0.25", 0.25),
    )
}

_SUFFIX = ".toml"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_MOST = 4096  # of any number in a space: channels, sides, classes are far below, typing errors are not
_ACTIVATIONS = ("relu", "hswish")
_NEEDED = tuple(f.name for f in fields(SearchSpace) if f.default is MISSING)


def load_space(
    name: str = "ofa-mbv3-w1.2", *, resolution: int | Sequence[int] | None = None, classes: int | None = None
) -> SearchSpace:
    """The space of that name or of a `.toml` file, for images of side `resolution` (224) and `classes` (1000).

    Of several resolutions an architecture chooses one. A file has the fields of `SearchSpace` as its keys; `name` and
    `width` must be there. Raises `SpaceError` for an unknown name, a file that is no space, a resolution below 32 or
    fewer than 2 classes.
    """
    if name.endswith(_SUFFIX):
        space = read_space(name)
    elif name in SPACES:
        space = SPACES[name]
    else:
        raise SpaceError(f"unknown space '{name}'; known are {', '.join(SPACES)}, or give a .toml file of your own")
    given = space.sides if resolution is None else resolution
    sides = sorted({given} if isinstance(given, int) else set(given))
    classes = space.classes if classes is None else classes
    if not sides:
        raise SpaceError("no resolution is given; give one side in pixels, or several")
    if sides[0] < 32:
        raise SpaceError(f"a resolution of {sides[0]} leaves nothing to convolve; take 32 or more")
    if classes < 2:
        raise SpaceError(f"{classes} classes are nothing to tell apart; take 2 or more")
    return replace(space, resolution=sides[-1], resolutions=tuple(sides) if len(sides) > 1 else (), classes=classes)


def parse_resolutions(text: str) -> tuple[int, ...]:
    """Sides in pixels from words such as `224` or `160,192,224`. Raises `SpaceError`."""
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if not (word.isascii() and word.isdigit() and 1 <= int(word) <= _MOST):
            raise SpaceError(f"'{word}' in --resolution {text} is no number of pixels; write 224, or 160,192,224")
    return tuple(int(word) for word in words)


def read_space(path: str | Path) -> SearchSpace:
    """The space that a TOML file describes. Raises `SpaceError` that names file, key and what may stand there."""
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpaceError(f"cannot read {path}: {error.strerror or error}; check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpaceError(f"{path} is not valid TOML ({error}); see docs/add_a_space.md") from error
    known = {f.name: f for f in fields(SearchSpace)}
    if unknown := sorted(set(values) - set(known)):
        raise SpaceError(f"{path} has an unknown key '{unknown[0]}'; known are {', '.join(known)}")
    if missing := [key for key in _NEEDED if key not in values]:
        raise SpaceError(f"{path} lacks {' and '.join(missing)}; every space has a name and a width")
    name = values["name"]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SpaceError(f"{path} has name = {name!r}; give letters, digits, dots, dashes and underscores")
    if name in SPACES:
        raise SpaceError(f"{path} has name = '{name}', which a space of the program has; choose another")
    plain = {key: _checked(f"{path} has {key}", key, value) for key, value in values.items()}
    try:
        return SearchSpace(**plain)
    except SpaceError as error:
        raise SpaceError(f"{path}: {error}") from error


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST


def _width(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 8


# What may stand for a key, in words; keys that are not here take a list of whole numbers.
_ONE: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "width": (_width, "a number above 0, at most 8"),
    **dict.fromkeys(
        ("resolution", "classes", "stem_channels", "final_expand_channels", "feature_channels"),
        (_whole, f"a whole number from 1 to {_MOST}"),
    ),
}
_LISTS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "unit_activations": (lambda value: value in _ACTIVATIONS, f"each of {' or '.join(_ACTIVATIONS)}"),
    "unit_squeeze_excite": (lambda value: isinstance(value, bool), "true or false for each unit"),
    "unit_strides": (lambda value: _whole(value) and value in (1, 2), "1 or 2 for each unit"),
}


def _checked(where: str, key: str, value: Any) -> Any:
    """A value of the right type and within bounds, a list as a tuple; `SpaceError` otherwise."""
    if key == "name":
        return value
    if key in _ONE:
        fits, what = _ONE[key]
        if not fits(value):
            raise SpaceError(f"{where} = {str(value)[:60]!r}; give {what}")
        return value
    fits, what = _LISTS.get(key, (_whole, f"whole numbers from 1 to {_MOST}"))
    if not isinstance(value, list) or not value or not all(map(fits, value)):
        raise SpaceError(f"{where} = {str(value)[:60]}; give a list, {what}")
    return tuple(value)
