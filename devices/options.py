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
_MOST_FAULTS = 12
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
        value = self._typed(value)
        if fault := self._fault(value):
            raise DeviceOptionError(f"{where}: {fault}")
        return value

    def fault(self, value: Any) -> str | None:
        """What is wrong with a value, and what may stand there; None if nothing is."""
        return self._fault(self._typed(value))

    def _typed(self, value: Any) -> Any:
        if self.kind is float and type(value) is int and abs(value) < 1 << 53:
            return float(value)
        return str(value) if self.kind is str and (type(value) is int or isinstance(value, Path)) else value

    def _fault(self, value: Any) -> str | None:
        sound = type(value) is self.kind and not (self.choices and value not in self.choices)
        if sound and self.kind in (int, float):
            sound = self.low <= value <= self.high and math.isfinite(value)
        if sound:
            return None
        if self.choices and isinstance(value, str):
            known, to = ", ".join(self.choices), f" to {self.taker}" if self.taker else ""
            return f"{self.name} {shown(value)} is unknown{to}; choose from {known}"
        return f"{self.name} is {shown(value)}; give {self.allowed}"

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


def option_faults(declared: Sequence[Option], values: Mapping[str, Any]) -> list[str]:
    """All that is wrong with `values` by name: names that are not declared, and values that may not be."""
    by_name = {option.name: option for option in declared}
    faults = []
    if unknown := [name for name in values if name not in by_name]:
        known, names = ", ".join(sorted(by_name)) or "none", " or ".join(f"{name:.60}" for name in unknown[:5])
        faults.append(f"there is no option {names}; known are {known}")
    wrong = (by_name[name].fault(value) for name, value in values.items() if name in by_name)
    return [*faults, *(fault for fault in wrong if fault)]


def check_options(declared: Sequence[Option], values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`values` by name, each in its type. Raises one `DeviceOptionError` for all that is wrong."""
    if faults := option_faults(declared, values):
        raise DeviceOptionError(f"{where}: {told_together(faults)}")
    return {option.name: option.read(values[option.name], where) for option in declared if option.name in values}


def told_together(faults: Sequence[str]) -> str:
    """All faults in one line, or the first of very many."""
    return ". Also, ".join(faults[:_MOST_FAULTS])


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
