"""What a report shows of a table: the table itself, what it is called there, and its session where that is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import isfinite, nan
from typing import Protocol

from lut.table import LatencyTable


class Visited(Protocol):
    """A slice of calls of one unit as a session keeps it; a reading of the reference has a `round` below 0."""

    @property
    def unit(self) -> str:
        """The block's key, or the network's architecture."""

    @property
    def round(self) -> int:
        """The round, from 0."""

    @property
    def at_s(self) -> float:
        """When it began, in seconds since the session did; NaN where that was not kept."""

    @property
    def median_ms(self) -> float:
        """Median of its calls; NaN if it failed."""

    @property
    def flags(self) -> tuple[str, ...]:
        """What was wrong."""

    @property
    def temperature_c(self) -> float | None:
        """The device's temperature."""

    @property
    def clock_mhz(self) -> float | None:
        """The device's clock."""


@dataclass(frozen=True)
class Moment:
    """One visit: when, whose, how long its calls took, and the device's state, NaN where the device did not tell."""

    at_s: float
    unit: str
    reference: bool
    median_ms: float
    flags: tuple[str, ...]
    temperature_c: float
    clock_mhz: float


@dataclass(frozen=True)
class Shown:
    """A table in a report. `letter` is A or B where there are two, else empty; `name` is what it is called, often its
    file. `moments` are the session's in order of time, `no_moments` says why there are none.
    """

    table: LatencyTable
    name: str
    letter: str = ""
    moments: tuple[Moment, ...] = ()
    no_moments: str = "how the device was over time is not known: the visits of the session were not given"

    def titled(self, title: str) -> str:
        """`title`, with the letter before it where there are two tables."""
        return f"{self.letter}: {title}" if self.letter else title

    def said(self, sentence: str) -> str:
        """A sentence on this table, which names it where there are two."""
        return f"Table {self.letter}: {sentence}" if self.letter else sentence[:1].upper() + sentence[1:]


def lettered(tables: Sequence[Shown]) -> tuple[Shown, ...]:
    """The same, with letters where they are several."""
    if len(tables) == 1:
        return tuple(tables)
    return tuple(replace(each, letter=letter) for letter, each in zip("ABCDEFGH", tables, strict=False))


def moments_of(visits: Iterable[Visited]) -> tuple[Moment, ...]:
    """The visits that say when they were, in order of time."""
    made = (
        Moment(
            visit.at_s, visit.unit, visit.round < 0, visit.median_ms, visit.flags,
            _number(visit.temperature_c), _number(visit.clock_mhz),
        )
        for visit in visits
        if isfinite(visit.at_s)
    )  # fmt: skip
    return tuple(sorted(made, key=lambda moment: moment.at_s))


def _number(value: float | None) -> float:
    return nan if value is None else float(value)
