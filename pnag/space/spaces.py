"""Which spaces there are: those that come with the program, and a TOML file of the user's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

from lut.words import printable, quoted, text_of
from pnag.errors import SpaceError
from pnag.space.form import MOST, MOST_CLASSES, checked
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
_MOST_FAULTS = 8
_NEEDED = tuple(f.name for f in fields(SearchSpace) if f.default is MISSING)


def load_space(
    name: str = "ofa-mbv3-w1.2", *, resolution: int | Sequence[int] | None = None, classes: int | None = None
) -> SearchSpace:
    """The space of that name or of a `.toml` file, for images of side `resolution` (224) and `classes` (1000).

    Of several resolutions an architecture chooses one. A file has the fields of `SearchSpace` as its keys; `name` and
    `width` must be there. Raises `SpaceError` for an unknown name, a file that is no space, a resolution below 32 or
    fewer than 2 classes.
    """
    if name.lower().endswith(_SUFFIX):
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
    if classes > MOST_CLASSES or sides[-1] > MOST:
        what = f"{classes} classes are" if classes > MOST_CLASSES else f"a resolution of {sides[-1]} pixels is"
        raise SpaceError(f"{what} more than {MOST_CLASSES if classes > MOST_CLASSES else MOST}; give fewer")
    return replace(space, resolution=sides[-1], resolutions=tuple(sides) if len(sides) > 1 else (), classes=classes)


def parse_resolutions(text: str) -> tuple[int, ...]:
    """Sides in pixels from words such as `224` or `160,192,224`. Raises `SpaceError`."""
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if not (re.fullmatch(r"\d{1,9}", word, re.ASCII) and 1 <= int(word) <= MOST):
            raise SpaceError(
                f"{quoted(word, 40)} in --resolution {printable(text, 60)} is no number of "
                "pixels; write 224, or 160,192,224"
            )
    return tuple(int(word) for word in words)


def read_space(path: str | Path) -> SearchSpace:
    """The space that a TOML file describes. Raises `SpaceError` that names file, key and what may stand there."""
    import tomllib  # for spaces of one's own only

    path = Path(path)
    try:
        values = tomllib.loads(text_of(path.read_bytes()))
    except OSError as error:
        raise SpaceError(f"cannot read {path}: {error.strerror or error}; check the path") from error
    except (ValueError, RecursionError) as error:
        raise SpaceError(f"{path} is not valid TOML ({printable(error, 120)}); see docs/add_a_space.md") from error
    plain, faults = _looked_over(values)
    if faults:
        raise SpaceError(f"{path} {'. Also, it '.join(faults[:_MOST_FAULTS])}")
    try:
        return SearchSpace(**plain)
    except SpaceError as error:
        raise SpaceError(f"{path}: {error}") from error


def _looked_over(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The values as a space takes them, and all that is wrong with them, each to be said behind the file's name."""
    faults, plain = [], {}
    known = {f.name: f for f in fields(SearchSpace)}
    if unknown := sorted(set(values) - set(known)):
        named = ", ".join(quoted(key, 60) for key in unknown[:5])
        faults.append(f"has an unknown key {named}; known are {', '.join(known)}")
    if missing := [key for key in _NEEDED if key not in values]:
        faults.append(f"lacks {' and '.join(missing)}; every space has a name and a width")
    name = values.get("name", "")
    if "name" in values and (not isinstance(name, str) or not _NAME.fullmatch(name)):
        faults.append(
            f"has name = {printable(repr(name)[:200], 60)}; give letters, digits, dots, dashes and underscores"
        )
    elif name in SPACES:
        faults.append(f"has name = '{name}', which a space of the program has; choose another")
    for key in (key for key in values if key in known and key != "name"):
        try:
            plain[key] = checked(f"has {key}", key, values[key])
        except SpaceError as error:
            faults.append(str(error))
    return {"name": name, **plain}, faults
