"""What was measured, as immutable records: raw samples and warm-ups apart, statistics derived."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from statistics import mean, median
from typing import Any

import numpy as np

from lut.entry import Entry, Role
from profiler.measure.stopping import median_interval, relative_interval

NAN = float("nan")
UNSTEADY = frozenset({"drifted", "throttled"})
_FEWEST_STEADY = 3


@dataclass(frozen=True)
class Visit:
    """One slice of calls of one unit in one round. Times in ms, in order.

    `reference_ms` is what the reference block took around this visit. Flags: `disturbed` (the device's
    samples were), `drifted` and `throttled` (the reference was off and stayed off), and others of the device's
    own. `details` is what else the device said of its state. A visit that failed has a `failure` and no times.
    """

    unit: str
    round: int
    times_ms: tuple[float, ...] = ()
    warmup_ms: tuple[float, ...] = ()
    runs: int = 0
    flags: tuple[str, ...] = ()
    reference_ms: float = NAN
    temperature_c: float | None = None
    clock_mhz: float | None = None
    load: float | None = None
    failure: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def median_ms(self) -> float:
        """Median of the samples; NaN for a failed visit."""
        return median(self.times_ms) if self.times_ms else NAN

    @property
    def steady(self) -> bool:
        """Whether the device was as usual."""
        return not UNSTEADY.intersection(self.flags)

    @property
    def time_s(self) -> float:
        """Time that the timed calls took together."""
        return self.median_ms * self.runs / 1e3 if self.times_ms else 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain values; None, NaN and empty details are left out."""
        values = asdict(self) | {"details": self.details or None}
        return {key: value for key, value in values.items() if value is not None and value == value}  # noqa: PLR0124

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Visit:
        """The inverse of `to_json`. Raises `TypeError` for other fields."""
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**plain)

    def describe_state(self) -> str:
        """Round, reference and state of the device, as JSON text for the table."""
        state: dict[str, Any] = {"round": self.round, "reference_ms": _finite(self.reference_ms)}
        state |= {"temperature_c": self.temperature_c, "clock_mhz": self.clock_mhz, "load": self.load, **self.details}
        if self.flags:
            state["flags"] = list(self.flags)
        return json.dumps({key: value for key, value in state.items() if value is not None})


def _finite(value: float) -> float | None:
    return round(value, 6) if np.isfinite(value) else None


@dataclass(frozen=True)
class Measurement:
    """All visits of one unit in the order of rounds. `failure`: why there is no number, if there is none.

    Statistics use the visits at which the device was steady. Where fewer than three were, they use the quarter at
    which it was nearest to that, by its reference: what disturbs a device makes it slower, never faster.
    """

    unit: str
    visits: tuple[Visit, ...] = field(repr=False)
    failure: str = ""

    @cached_property
    def used(self) -> tuple[Visit, ...]:
        """Visits that the statistics rest on."""
        timed = tuple(visit for visit in self.visits if visit.times_ms)
        steady = tuple(visit for visit in timed if visit.steady)
        if len(steady) >= min(_FEWEST_STEADY, len(timed)):
            return steady
        quietest = sorted(visit.reference_ms for visit in timed)[: max(_FEWEST_STEADY, len(timed) // 4)]
        return tuple(visit for visit in timed if not visit.reference_ms > quietest[-1])

    @cached_property
    def round_medians_ms(self) -> tuple[float, ...]:
        """Median of each visit used."""
        return tuple(visit.median_ms for visit in self.used)

    @cached_property
    def latency_ms(self) -> float:
        """Mean over the faster half of the rounds of their medians; NaN if nothing was measured.

        Other work makes a device slower, never faster, and comes in bursts that the reference block, measured
        between segments, may miss. So a round's error has one sign, and half of the rounds may be disturbed.
        """
        ordered = sorted(self.round_medians_ms)
        return mean(ordered[: (len(ordered) + 1) // 2]) if ordered else NAN

    @property
    def interval_ms(self) -> tuple[float, float]:
        """Confidence interval (95 %) of the latency: that of the median over rounds, relative to it.

        For normal errors of both signs the mean of the lower half has 0.93 times the standard error of the median.
        """
        low, high = median_interval(self.round_medians_ms)
        carried = self.latency_ms / median(self.round_medians_ms)
        return low * carried, high * carried

    @property
    def relative_ci(self) -> float:
        """Half the interval's width, relative to the median."""
        return relative_interval(self.round_medians_ms)

    def entry(self, role: Role, blocks: tuple[str, ...], wanted_ci: float) -> Entry:
        """The table's row: flagged `noisy` where the interval is wider than wanted, `failed` without a number."""
        if not self.used or self.failure:
            return Entry(role, self.unit, flags=("failed",), reason=self.failure or "not measured", blocks=blocks)
        samples = np.concatenate([visit.times_ms for visit in self.used])
        low, high = self.interval_ms
        return Entry(
            role,
            self.unit,
            latency_ms=self.latency_ms,
            ci_low_ms=low,
            ci_high_ms=high,
            std_ms=float(samples.std(ddof=1)) if samples.size > 1 else NAN,
            min_ms=float(samples.min()),
            p95_ms=float(np.percentile(samples, 95)),
            runs=sum(visit.runs for visit in self.used),
            rounds=len(self.used),
            samples_ms=self.round_medians_ms,
            flags=self._flags(wanted_ci),
            blocks=blocks,
            temperature_c=_mean([visit.temperature_c for visit in self.used]),
            clock_mhz=_mean([visit.clock_mhz for visit in self.used]),
            round_states=tuple(visit.describe_state() for visit in self.used),
        )

    def _flags(self, wanted_ci: float) -> tuple[str, ...]:
        seen = dict.fromkeys(flag for visit in self.used for flag in visit.flags)
        often = [flag for flag in seen if self._share(flag) > 0.5]
        noisy = [] if self.relative_ci <= wanted_ci else ["noisy"]
        return (*noisy, *often)

    def _share(self, flag: str) -> float:
        return sum(flag in visit.flags for visit in self.used) / len(self.used)


def _mean(values: list[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else NAN
