"""What was measured, as immutable records: raw samples and warm-ups apart, statistics derived."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from statistics import median
from typing import Any

import numpy as np

from devices.backend import Samples
from lut.entry import Entry, Role
from lut.words import printable
from profiler.measure.estimator import ESTIMATORS, Estimator, Round, percentile_ms

NAN = float("nan")
UNSTEADY = frozenset({"drifted", "throttled"})
_FEWEST_STEADY = 2
_FEWEST_QUIETEST = 3
QUIET = ESTIMATORS["quiet"]


@dataclass(frozen=True)
class Visit:
    """One slice of calls of one unit in one round. Times in ms, in order.

    `wall_ms` and `disturbed` are as in `Samples`: all calls as they happened, where some were left out. `at_s` is
    when the visit began, in seconds since the session did, and `lasted_s` how long it lasted, with all that it took to
    make the program ready; of older visits that is not known, and of older readings of the reference `at_s` is the
    end. `reference_ms` is what the reference block took around this visit, the slower of the readings before and
    after. Flags: `disturbed` (the device's samples were), `drifted` (the reference was off), `throttled` (the device
    said that it was), and others of the device's own. `details` is what else the device said of its state. A visit
    that failed has a `failure` and no times.
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
    wall_ms: tuple[float, ...] = ()
    disturbed: tuple[int, ...] = ()
    at_s: float = NAN
    lasted_s: float = NAN

    @classmethod
    def of(cls, unit: str, round: int, samples: Samples, at_s: float, lasted_s: float = NAN) -> Visit:
        """A visit with what the device gave, times rounded to a nanosecond."""
        times, warmup, wall = (
            tuple(round_ns(values)) for values in (samples.times_ms, samples.warmup_ms, samples.wall_ms)
        )
        return cls(
            unit,
            round,
            times,
            warmup,
            samples.runs,
            samples.flags,
            wall_ms=wall,
            disturbed=samples.disturbed,
            at_s=at_s,
            lasted_s=lasted_s,
        )

    @property
    def as_happened_ms(self) -> tuple[float, ...]:
        """All calls as they happened, disturbed ones too."""
        return self.wall_ms or self.times_ms

    @cached_property
    def median_ms(self) -> float:
        """Median of the samples; NaN for a failed visit."""
        return median(self.times_ms) if self.times_ms else NAN

    @property
    def steady(self) -> bool:
        """Whether the device was at its usual speed."""
        return not UNSTEADY.intersection(self.flags)

    @property
    def time_s(self) -> float:
        """Time that the timed calls took together."""
        return self.median_ms * self.runs / 1e3 if self.times_ms else 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain values; None, NaN and empty details are left out."""
        values = asdict(self) | {name: getattr(self, name) or None for name in ("details", "wall_ms", "disturbed")}
        return {key: value for key, value in values.items() if value is not None and value == value}  # noqa: PLR0124

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Visit:
        """The inverse of `to_json`. Raises `TypeError` for other fields, `ValueError` for other values."""
        if not isinstance(values, Mapping):
            raise TypeError("a line is no visit")
        for name, value in values.items():
            if not _FORMS.get(name, _is_any)(value):
                raise ValueError(f"a visit with {printable(name, 40)} = {printable(repr(value)[:400], 40)}")
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**plain)

    def describe_state(self) -> str:
        """Round, reference and state of the device, as JSON text for the table."""
        state: dict[str, Any] = {"round": self.round, "reference_ms": _finite(self.reference_ms)}
        state |= {"temperature_c": self.temperature_c, "clock_mhz": self.clock_mhz, "load": self.load, **self.details}
        if self.flags:
            state["flags"] = list(self.flags)
        return json.dumps({key: value for key, value in state.items() if value is not None})


def _is_any(_: Any) -> bool:
    return True


def _is_time(value: Any) -> bool:
    return _is_number(value) and value > 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _HUGE


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and _is_number(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _are(each: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list | tuple) and all(map(each, value))


_HUGE = 1e18  # of nothing that a visit holds, whatever its unit
# What may stand in a line of a file of visits, by field.
_FORMS: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("unit", "failure"), _is_text),
    **dict.fromkeys(("round", "runs"), _is_whole),
    **dict.fromkeys(("times_ms", "warmup_ms", "wall_ms"), _are(_is_time)),
    **dict.fromkeys(("reference_ms", "temperature_c", "clock_mhz", "load", "at_s", "lasted_s"), _is_number),
    "disturbed": _are(_is_whole),
    "flags": _are(_is_text),
    "details": lambda value: isinstance(value, Mapping),
}


def round_ns(times_ms: Iterable[float]) -> Iterator[float]:
    """Times in ms with what a nanosecond resolves."""
    return (round(time_ms, 6) for time_ms in times_ms)


def _finite(value: float) -> float | None:
    return round(value, 6) if np.isfinite(value) else None


@dataclass(frozen=True)
class Levelled:
    """What a unit takes on the device at its quietest, with its interval (95 %), in ms."""

    latency_ms: float
    interval_ms: tuple[float, float]

    @property
    def relative_ci(self) -> float:
        """Half the interval's width, relative to the latency."""
        low, high = self.interval_ms
        return (high - low) / 2 / self.latency_ms


@dataclass(frozen=True)
class Measurement:
    """All visits of one unit in the order of rounds. `failure`: why there is no number, if there is none.
    `stopped`: why it was not visited again, in a word or two.

    `levelled` takes the statistic's place on a device whose speed wanders.

    A statistic of undisturbed calls uses the visits at which the device was steady. Where fewer than two were, it
    uses the quarter at which it was nearest to that, by its reference: what disturbs a device makes it slower. A
    statistic of calls as they happened uses all visits but those at which the device was throttled, if it can.
    """

    unit: str
    visits: tuple[Visit, ...] = field(repr=False)
    failure: str = ""
    estimator: Estimator = field(default=QUIET, compare=False)
    stopped: str = field(default="", compare=False)
    levelled: Levelled | None = None

    @cached_property
    def used(self) -> tuple[Visit, ...]:
        """Visits that the statistics rest on."""
        timed = tuple(visit for visit in self.visits if visit.times_ms)
        if self.levelled or not self.estimator.undisturbed:
            return tuple(visit for visit in timed if "throttled" not in visit.flags) or timed
        steady = tuple(visit for visit in timed if visit.steady)
        if len(steady) >= min(_FEWEST_STEADY, len(timed)):
            return steady
        quietest = sorted(visit.reference_ms for visit in timed)[: max(_FEWEST_QUIETEST, len(timed) // 4)]
        return tuple(visit for visit in timed if not visit.reference_ms > quietest[-1])

    @cached_property
    def rounds(self) -> tuple[Round, ...]:
        """The calls of each visit used, as the statistic takes them."""
        return tuple(calls_of(visit, self.estimator) for visit in self.used)

    @cached_property
    def round_medians_ms(self) -> tuple[float, ...]:
        """Median of each visit used."""
        return tuple(median(times_ms) for times_ms in self.rounds)

    @cached_property
    def latency_ms(self) -> float:
        """The statistic; NaN if nothing was measured."""
        return self.levelled.latency_ms if self.levelled else self.estimator.value_ms(self.rounds)

    @cached_property
    def interval_ms(self) -> tuple[float, float]:
        """Confidence interval (95 %) of the latency."""
        return self.levelled.interval_ms if self.levelled else self.estimator.interval_ms(self.rounds)

    @property
    def relative_ci(self) -> float:
        """Half the interval's width, relative to the latency."""
        low, high = self.interval_ms
        return (high - low) / 2 / self.latency_ms if self.rounds else NAN

    def percentile_ms(self, percent: float) -> float:
        """A percentile of all calls of all visits, as they happened; NaN if there are none."""
        return percentile_ms([visit.as_happened_ms for visit in self.visits], percent / 100)

    def entry(self, role: Role, blocks: tuple[str, ...], wanted_ci: float) -> Entry:
        """The table's row: flagged `noisy` where the interval is wider than wanted, `failed` without a number."""
        if not self.used or self.failure:
            return Entry(role, self.unit, flags=("failed",), reason=self.failure or "not measured", blocks=blocks)
        samples = np.concatenate(self.rounds)
        low, high = self.interval_ms
        return Entry(
            role,
            self.unit,
            latency_ms=self.latency_ms,
            ci_low_ms=low,
            ci_high_ms=high,
            std_ms=float(samples.std(ddof=1)) if samples.size > 1 else NAN,
            min_ms=float(samples.min()),
            p50_ms=self.percentile_ms(50),
            p90_ms=self.percentile_ms(90),
            p95_ms=self.percentile_ms(95),
            p99_ms=self.percentile_ms(99),
            runs=sum(visit.runs for visit in self.used),
            rounds=len(self.used),
            samples_ms=self.round_medians_ms,
            flags=self._flags(wanted_ci),
            reason=self.stopped,
            blocks=blocks,
            temperature_c=_mean([visit.temperature_c for visit in self.used]),
            clock_mhz=_mean([visit.clock_mhz for visit in self.used]),
            round_states=tuple(visit.describe_state() for visit in self.used),
        )

    def _flags(self, wanted_ci: float) -> tuple[str, ...]:
        seen = dict.fromkeys(flag for visit in self.used for flag in visit.flags)
        often = [flag for flag in seen if self._share(flag) > 0.5]
        noisy = [] if self.relative_ci <= wanted_ci else ["noisy"]
        if self.levelled:  # drift is what was taken out
            return (*noisy, "levelled", *(flag for flag in often if flag != "drifted"))
        return (*noisy, *often)

    def _share(self, flag: str) -> float:
        return sum(flag in visit.flags for visit in self.used) / len(self.used)


def judged(visit: Visit, is_usual: Callable[[float], bool]) -> Visit:
    """The visit judged anew by the reference's level as it is known at the end.

    A device that was slow from the start, and did not say so, seemed to be as usual at first.
    """
    if not visit.steady or not np.isfinite(visit.reference_ms) or is_usual(visit.reference_ms):
        return visit
    return replace(visit, flags=(*visit.flags, "drifted"))


def calls_of(visit: Visit, estimator: Estimator) -> Round:
    """The calls of a visit that a statistic is of."""
    return visit.times_ms if estimator.undisturbed else visit.as_happened_ms


def _mean(values: list[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else NAN
