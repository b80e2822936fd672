"""What a back-end can be told: each option with its name, type, allowed values, default and meaning.

A back-end's module declares `OPTIONS`; specs and commands are held to it, and lists of options come from it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devices.errors import DeviceOptionError

_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


@dataclass(frozen=True)
class Option:
    """One option. `kind` is its type; `choices` are all values it may have; `low` and `high` bound a number.

    A text may also be given as a whole number (cores, a serial of digits). `default` None: the back-end decides.
    `taker` is what the option belongs to, for messages.
    """

    name: str
    kind: type[str] | type[int] | type[float] | type[bool]
    help: str
    default: Any = None
    choices: tuple[str, ...] = ()
    low: float = -math.inf
    high: float = math.inf
    taker: str = ""

    @property
    def allowed(self) -> str:
        """What may stand there, in words."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        words = _WORDS[self.kind]
        if math.isfinite(self.low) and math.isfinite(self.high):
            return f"{words} from {self.low:g} to {self.high:g}"
        return f"{words} from {self.low:g} on" if math.isfinite(self.low) else words

    def read(self, value: Any, where: str) -> Any:
        """`value` in the option's type. Raises `DeviceOptionError`: `where` it stood, and what may stand there."""
        if self.kind is float and type(value) is int and abs(value) < 1 << 53:
            value = float(value)
        elif self.kind is str and (type(value) is int or isinstance(value, Path)):
            value = str(value)
        sound = type(value) is self.kind and not (self.choices and value not in self.choices)
        if sound and self.kind in (int, float):
            sound = self.low <= value <= self.high and math.isfinite(value)
        if not sound and self.choices and isinstance(value, str):
            known, to = ", ".join(self.choices), f" to {self.taker}" if self.taker else ""
            raise DeviceOptionError(f"{where}: {self.name} {shown(value)} is unknown{to}; choose from {known}")
        if not sound:
            raise DeviceOptionError(f"{where}: {self.name} is {shown(value)}; give {self.allowed}")
        return value

    def parse(self, text: str, where: str) -> Any:
        """The value that a text such as that of `--option KEY=VALUE` stands for. Raises `DeviceOptionError`."""
        word: Any = text.strip()
        if self.kind is bool:
            word = True if word.lower() in _TRUE else False if word.lower() in _FALSE else word
        elif self.kind in (int, float):
            with suppress(ValueError, OverflowError):
                word = self.kind(word)
        return self.read(word, where)


def shown(value: Any) -> str:
    """A value of a spec as it may stand in a message: short, in one line."""
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value[:60] if isinstance(value, str) else value)
    return text if len(text) <= 64 else f"{text[:63]}…"


def check_options(declared: Sequence[Option], values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`values` by name, each in its type. Raises one `DeviceOptionError` for all unknown names, or a wrong value."""
    by_name = {option.name: option for option in declared}
    if unknown := [name for name in values if name not in by_name]:
        known, names = ", ".join(sorted(by_name)) or "none", " or ".join(f"{name:.60}" for name in unknown[:5])
        raise DeviceOptionError(f"{where}: there is no option {names}; known are {known}")
    return {name: by_name[name].read(value, where) for name, value in values.items()}


def settle(
    declared: Sequence[Option], spec_options: Mapping[str, Any], given: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Every declared option's value: as `given` (None: not given), else as the spec has it, else its default."""
    asked = {name: value for name, value in given.items() if value is not None}
    return (
        {option.name: option.default for option in declared}
        | check_options(declared, spec_options, f"{where}, [options]")
        | check_options(declared, asked, where)
    )
