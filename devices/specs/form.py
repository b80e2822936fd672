"""The form of a device's TOML: which keys there are, and what may stand at each. One line for what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from devices.errors import UnknownDeviceError
from devices.options import shown

PRECISIONS = ("float32", "float16", "tf32", "bfloat16", "dynamic-int8", "int8")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_LONGEST_PATTERN = 200


@dataclass(frozen=True)
class Key:
    """One key of the file: whether a value may stand there, what may, and whether it must be there."""

    accepts: Callable[[Any], bool]
    allowed: str
    required: bool = False


def _is_count(value: Any) -> bool:
    return type(value) is int and 1 <= value <= 4096


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and value.isprintable() and len(value) <= 200


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_backend(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w.-]*(:[A-Za-z_]\w*)?", value) is not None


KEYS: Mapping[str, Key] = {
    "name": Key(
        lambda v: isinstance(v, str) and _NAME.fullmatch(v) is not None and ".." not in v,
        "letters, digits, '_', '-' and '.', as it becomes a file's name",
        required=True,
    ),
    "title": Key(_is_text, "a line of text", required=True),
    "backend": Key(_is_backend, "the name of a back-end, as text", required=True),
    "threads": Key(_is_count, "a whole number from 1 on"),
    "batch": Key(_is_count, "a whole number from 1 on"),
    "precision": Key(lambda v: v in PRECISIONS, f"one of {', '.join(PRECISIONS)}"),
    "match": Key(_is_table, "a table of patterns, such as [match] and cpu_model = 'i5-7400'"),
    "options": Key(_is_table, "a table of the back-end's options, under [options]"),
    "sampling": Key(_is_table, "a table of numbers, under [sampling]"),
}


def check_keys(values: Mapping[str, Any], source: str, taken_names: Sequence[str] = ()) -> None:
    """Raise `UnknownDeviceError`, naming file and key, unless `values` have the form of a spec.

    `taken_names` are those that a spec of one's own may not have.
    """
    if unknown := sorted(set(values) - set(KEYS)):
        raise UnknownDeviceError(
            f"{source} has unknown keys {', '.join(shown(key).strip(chr(39)) for key in unknown[:5])}; "
            f"known are {', '.join(sorted(KEYS))}"
        )
    if missing := sorted(name for name, key in KEYS.items() if key.required and name not in values):
        raise UnknownDeviceError(f"{source} lacks {', '.join(missing)}; every spec has a name, a title and a backend")
    for name, value in values.items():
        if not KEYS[name].accepts(value):
            raise UnknownDeviceError(f"{source}: {name} is {shown(value)}; give {KEYS[name].allowed}")
    if values["name"] in taken_names:
        raise UnknownDeviceError(
            f"{source}: name is '{values['name']}', which is a device of the program; give a name of its own"
        )
    for name, pattern in values.get("match", {}).items():
        _check_pattern(name, pattern, source)


def _check_pattern(name: str, pattern: Any, source: str) -> None:
    where = f"{source}: {name} in [match] is {shown(pattern)}"
    if not isinstance(pattern, str) or len(pattern) > _LONGEST_PATTERN:
        raise UnknownDeviceError(f"{where}; give a regular expression as text, such as 'i5-7400'")
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise UnknownDeviceError(f"{where}, not a regular expression ({error}); correct it") from error
