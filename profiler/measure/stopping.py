"""When a latency is known well enough: the stop rule as an object that sees values and no clock.

The shape follows nvbench: initialise, add a measurement, ask whether it is finished.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from lut.words import quoted
from profiler.errors import ProfilerError

NAN = float("nan")
CONFIDENCE = 0.95


def median_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Confidence interval of the median, without assumptions on the distribution.

    Between order statistics the ends are interpolated so that the coverage is close to `confidence`. Fewer
    than six values cannot reach 95 %: then it is their range. (NaN, NaN) for fewer than two values.

    Source: Hettmansperger and Sheather, Confidence intervals based on interpolated order statistics, 1986.
    """
    n = len(values)
    if n < 2:
        return NAN, NAN
    x = sorted(values)

    def coverage(depth: int) -> float:
        return 1 - 2 * sum(math.comb(n, i) for i in range(depth)) / float(2**n)

    depth = max((d for d in range(1, n // 2 + 1) if coverage(d) >= confidence), default=0)
    if depth == 0:
        return x[0], x[-1]
    if depth == n // 2:
        return x[depth - 1], x[n - depth]
    share = (coverage(depth) - confidence) / (coverage(depth) - coverage(depth + 1))
    weight = (n - depth) * share / (depth + (n - 2 * depth) * share)
    low = (1 - weight) * x[depth - 1] + weight * x[depth]
    high = (1 - weight) * x[n - depth] + weight * x[n - depth - 1]
    return low, high


class StopRule(Protocol):
    """Sees rounds and the time that they took; says when it is enough, and why."""

    def initialise(self) -> None:
        """Forget everything. Called once before the first round."""

    def add(self, times_ms: Sequence[float], time_s: float) -> None:
        """One more round: the times of its calls, and the time spent on it."""

    def is_finished(self) -> bool:
        """Whether no further round is needed. Asked after each round."""

    @property
    def reason(self) -> str:
        """Why it is finished, in a word or two; empty as long as it is not."""


class Known(Protocol):
    """How well rounds say what is asked: what an estimator offers to a rule."""

    def __call__(self, rounds: Sequence[Sequence[float]]) -> float:
        """Half the confidence interval's width, relative to the value; NaN where it is not known."""


@dataclass(frozen=True)
class StopSettings:
    """Which rule, by its name in `RULES`, and its parameters. Each rule reads its own, see `parameters`.

    Both minima must be reached, either maximum ends it. `relative_ci` is the interval that is precise enough, a
    fraction. `patience` rounds that narrow the interval by less than `least_gain`, a fraction, are in vain.
    """

    relative_ci: float = 0.01
    min_rounds: int = 8
    max_rounds: int = 16
    min_time_s: float = 0.0
    max_time_s: float = math.inf
    rule: str = "precision"
    patience: int = 4
    least_gain: float = 0.05


class PrecisionRule:
    """Finished when the relative confidence interval of a statistic over rounds is at most `relative_ci`."""

    parameters: tuple[str, ...] = ("relative_ci", "min_rounds", "max_rounds", "min_time_s", "max_time_s")

    def __init__(self, settings: StopSettings, known: Known) -> None:
        self._settings, self._known = settings, known
        self.initialise()

    def initialise(self) -> None:
        """Forget everything."""
        self._rounds: list[Sequence[float]] = []
        self._time_s = 0.0

    def add(self, times_ms: Sequence[float], time_s: float) -> None:
        """One more round: the times of its calls, and the time spent on it."""
        self._rounds.append(times_ms)
        self._time_s += time_s

    @property
    def relative_ci(self) -> float:
        """Half the interval's width relative to the value, NaN below two rounds."""
        return self._known(self._rounds)

    @property
    def reason(self) -> str:
        """`most rounds`, `most time`, or why the statistic is known well enough."""
        rounds, settings = len(self._rounds), self._settings
        enough = rounds >= settings.min_rounds and self._time_s >= settings.min_time_s
        if enough and (why := self._why()):
            return why
        if rounds >= settings.max_rounds:
            return "most rounds"
        return "most time" if self._time_s >= settings.max_time_s else ""

    def is_finished(self) -> bool:
        """Whether no further round is needed."""
        return bool(self.reason)

    def _why(self) -> str:
        return "precise" if self.relative_ci <= self._settings.relative_ci else ""


class SettledRule(PrecisionRule):
    """As `PrecisionRule`, and finished too when further rounds are in vain: for noise that never settles."""

    parameters = (*PrecisionRule.parameters, "patience", "least_gain")

    def _why(self) -> str:
        settings = self._settings
        if why := super()._why():
            return why
        if len(self._rounds) < settings.min_rounds + settings.patience:
            return ""
        before, now = self._known(self._rounds[: -settings.patience]), self.relative_ci
        return "settled" if now > (1 - settings.least_gain) * before else ""


class RoundsRule(PrecisionRule):
    """A fixed number of rounds, `min_rounds`, however well the statistic is known then."""

    parameters = ("min_rounds",)

    def _why(self) -> str:
        return "all rounds"


RULES: Mapping[str, type[PrecisionRule]] = {
    "precision": PrecisionRule,
    "settled": SettledRule,
    "rounds": RoundsRule,
}


def stop_rule(settings: StopSettings, known: Known) -> StopRule:
    """The rule that the settings name, ready for the first round. Raises `ProfilerError` that lists the known ones."""
    if settings.rule not in RULES:
        raise ProfilerError(f"unknown stop rule '{settings.rule:.40}'; known are {', '.join(RULES)}")
    return RULES[settings.rule](settings, known)


def read_stop(text: str, settings: StopSettings = StopSettings()) -> StopSettings:
    """Settings as `RULE` or `RULE,KEY=VALUE,…` change them: `settled,patience=3`. Raises `ProfilerError`."""
    name, *pairs = (part.strip() for part in text.split(","))
    if name not in RULES:
        raise ProfilerError(f"unknown stop rule {quoted(name, 40)}; known are {', '.join(RULES)}")
    known = RULES[name].parameters
    changed: dict[str, Any] = {"rule": name}
    for pair in pairs:
        key, _, value = (part.strip() for part in pair.partition("="))
        if key not in known:
            raise ProfilerError(f"stop rule {name} has no parameter {quoted(key, 40)}; it has {', '.join(known)}")
        whole = isinstance(getattr(settings, key), int)
        try:
            number = int(value) if whole else float(value)
        except ValueError:
            number = math.nan
        if not (number >= (1 if whole else 0)):
            kind = "a whole number from 1 on" if whole else "a number from 0 on"
            raise ProfilerError(f"stop rule {name}: {key} is {quoted(value, 40)}; give {kind}")
        changed[key] = number
    least = changed.get("min_rounds", settings.min_rounds)
    if changed.get("max_rounds", least) < least:
        raise ProfilerError(f"stop rule {name}: max_rounds {changed['max_rounds']} is below min_rounds {least}")
    changed["max_rounds"] = max(least, changed.get("max_rounds", settings.max_rounds))
    return replace(settings, **changed)
