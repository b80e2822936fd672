"""The form of a device's TOML: which keys there are, and what may stand at each. One line for what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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


def is_backend(value: Any) -> bool:
    """Whether `value` may name a back-end."""
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w.-]*(:[A-Za-z_]\w*)?", value) is not None


def as_text(content: bytes) -> str:
    """A TOML file's text, with the mark that editors of Windows begin it with, or in their UTF-16. `ValueError`."""
    wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    return content.decode("utf-16" if wide else "utf-8-sig")


KEYS: Mapping[str, Key] = {
    "name": Key(
        lambda v: isinstance(v, str) and _NAME.fullmatch(v) is not None and ".." not in v,
        "letters, digits, '_', '-' and '.', as it becomes a file's name",
        required=True,
    ),
    "title": Key(_is_text, "a line of text", required=True),
    "backend": Key(is_backend, "the name of a back-end, as text", required=True),
    "threads": Key(_is_count, "a whole number from 1 on"),
    "batch": Key(_is_count, "a whole number from 1 on"),
    "precision": Key(lambda v: v in PRECISIONS, f"one of {', '.join(PRECISIONS)}"),
    "match": Key(_is_table, "a table of patterns, such as [match] and cpu_model = 'i5-7400'"),
    "options": Key(_is_table, "a table of the back-end's options, under [options]"),
    "sampling": Key(_is_table, "a table of numbers, under [sampling]"),
}


def key_faults(values: Mapping[str, Any], taken_names: Sequence[str] = ()) -> list[str]:
    """All in which `values` lack the form of a spec. A spec of one's own may not have one of `taken_names`."""
    faults = [
        *_names_at_fault(values),
        *(
            f"{name} is {shown(value)}; give {KEYS[name].allowed}"
            for name, value in values.items()
            if name in KEYS and not KEYS[name].accepts(value)
        ),
    ]
    if values.get("name") in taken_names:
        faults.append(f"name is '{values['name']}', which is a device of the program; give a name of its own")
    match = values.get("match")
    for name, pattern in match.items() if isinstance(match, Mapping) else ():
        faults += _pattern_at_fault(name, pattern)
    return faults


def _names_at_fault(values: Mapping[str, Any]) -> list[str]:
    faults = []
    if unknown := sorted(set(values) - set(KEYS)):
        listed = ", ".join(shown(key).strip("'") for key in unknown[:5])
        faults.append(f"there are unknown keys {listed}; known are {', '.join(sorted(KEYS))}")
    if missing := sorted(name for name, key in KEYS.items() if key.required and name not in values):
        faults.append(f"it lacks {', '.join(missing)}; every spec has a name, a title and a backend")
    return faults


def _pattern_at_fault(name: str, pattern: Any) -> list[str]:
    where = f"{name} in [match] is {shown(pattern)}"
    if not isinstance(pattern, str) or len(pattern) > _LONGEST_PATTERN:
        return [f"{where}; give a regular expression as text, such as 'i5-7400'"]
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        return [f"{where}, not a regular expression ({error}); correct it"]
    return []
