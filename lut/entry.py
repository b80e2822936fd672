"""One row of a latency table: a block or a whole network, with the samples it was derived from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np

Role = Literal["block", "calibration", "holdout"]
ROLES: tuple[Role, ...] = ("block", "calibration", "holdout")

NAN = float("nan")

SCHEMA_VERSION = 2
# Columns that tables of an older schema lack, by the schema that brought them.
_ADDED: Mapping[int, tuple[str, ...]] = {2: ("p50_ms", "p90_ms", "p99_ms")}


def _float(value: float) -> float:
    number = float(value)
    return NAN if number != number else number  # noqa: PLR0124 — one NaN, so that equal rows compare equal


@dataclass(frozen=True)
class Entry:
    """One measured block or network. Times are milliseconds for one call at the table's batch size.

    `latency_ms` is the statistic that the table names, `ci_low_ms` to `ci_high_ms` its confidence interval (95 %);
    `samples_ms` are the medians of the rounds that it rests on. `p50_ms` to `p99_ms` are of all calls as they happened.
    `cost_ms` is what the block adds to a network or, for a network, the table's prediction. `blocks`
    are a network's block keys in order. A failed entry has the flag `failed`, a `reason` and NaN times;
    of others the reason says why measuring stopped.

    >>> Entry("block", "conv-i3-o24-k3-s2-hswish@224", latency_ms=1.3, cost_ms=1.2).failed
    False
    """

    role: Role
    block: str
    latency_ms: float = NAN
    cost_ms: float = NAN
    ci_low_ms: float = NAN
    ci_high_ms: float = NAN
    std_ms: float = NAN
    min_ms: float = NAN
    p95_ms: float = NAN
    runs: int = 0
    rounds: int = 0
    samples_ms: tuple[float, ...] = ()
    flags: tuple[str, ...] = ()
    reason: str = ""
    blocks: tuple[str, ...] = ()
    temperature_c: float = NAN
    clock_mhz: float = NAN
    p50_ms: float = NAN
    p90_ms: float = NAN
    p99_ms: float = NAN
    round_states: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        # Whole numbers where times are meant, and numpy's, would change the table's hash once it is read back.
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(f.default, float):
                object.__setattr__(self, f.name, _float(value))
            elif isinstance(f.default, int):
                object.__setattr__(self, f.name, int(value))
        object.__setattr__(self, "samples_ms", tuple(map(_float, self.samples_ms)))

    @property
    def failed(self) -> bool:
        """Whether there is no usable latency."""
        return "failed" in self.flags or not np.isfinite(self.latency_ms)

    @property
    def relative_ci(self) -> float:
        """Half the width of the confidence interval of the latency, relative to it."""
        return (self.ci_high_ms - self.ci_low_ms) / 2 / self.latency_ms

    def as_row(self, schema: int = SCHEMA_VERSION) -> dict[str, Any]:
        """Plain values by column name, sequences as lists; the columns of that schema."""
        row = {name: getattr(self, name) for name in columns_of(schema)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in row.items()}


def columns_of(schema: int) -> tuple[str, ...]:
    """Names of a row's columns in a table of that schema."""
    later = {name for version, names in _ADDED.items() if version > schema for name in names}
    return tuple(f.name for f in fields(Entry) if f.name not in later)
