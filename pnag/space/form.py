"""The form of a search space: what may stand for each of its fields, in a TOML file and in files of the program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lut.words import printable
from pnag.errors import SpaceError

LONGEST = 100  # of a list: choices are encoded in a byte
MOST = 4096  # of any number in a space but classes: channels and sides are far below, typing errors are not
MOST_CLASSES = 100_000  # ImageNet-21k has 21,841
_ACTIVATIONS = ("relu", "hswish")


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST


def _count_of_classes(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_CLASSES


def _width(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 8


# What may stand for a key, in words; keys that are not here take a list of whole numbers.
_ONE: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "classes": (_count_of_classes, f"a whole number from 1 to {MOST_CLASSES}"),
    "width": (_width, "a number above 0, at most 8"),
    **dict.fromkeys(
        ("resolution", "stem_channels", "final_expand_channels", "feature_channels"),
        (_whole, f"a whole number from 1 to {MOST}"),
    ),
}
_LISTS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "unit_activations": (lambda value: value in _ACTIVATIONS, f"each of {' or '.join(_ACTIVATIONS)}"),
    "unit_squeeze_excite": (lambda value: isinstance(value, bool), "true or false for each unit"),
    "unit_strides": (lambda value: _whole(value) and value in (1, 2), "1 or 2 for each unit"),
}


def checked(where: str, key: str, value: Any) -> Any:
    """A value of the right type and within bounds, a list as a tuple; `SpaceError` otherwise."""
    if key == "name":
        if not isinstance(value, str) or not value.isprintable():
            raise SpaceError(f"{where} = {printable(repr(value)[:200], 60)}; give a line of text")
        return value
    if key in _ONE:
        fits, what = _ONE[key]
        if not fits(value):
            raise SpaceError(f"{where} = {printable(value, 60)!r}; give {what}")
        return value
    fits, what = _LISTS.get(key, (_whole, f"whole numbers from 1 to {MOST}"))
    if not isinstance(value, list | tuple) or not value or not all(map(fits, value)):
        raise SpaceError(f"{where} = {printable(repr(value)[:200], 60)}; give a list, {what}")
    if len(value) > LONGEST:
        raise SpaceError(f"{where} with {len(value)} values; give at most {LONGEST}")
    return tuple(value)
