"""When a latency is known well enough: the stop rule as an object that sees values and no clock.

The shape follows nvbench: initialise, add a measurement, ask whether it is finished.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

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
    """Sees rounds and the time that they took; says when it is enough."""

    def initialise(self) -> None:
        """Forget everything."""

    def add(self, times_ms: Sequence[float], time_s: float) -> None:
        """One more round: the times of its calls, and the time spent on it."""

    def is_finished(self) -> bool:
        """Whether no further round is needed."""


class Known(Protocol):
    """How well rounds say what is asked: what an estimator offers to a rule."""

    def __call__(self, rounds: Sequence[Sequence[float]]) -> float:
        """Half the confidence interval's width, relative to the value; NaN where it is not known."""


@dataclass(frozen=True)
class StopSettings:
    """Finished when the latency's relative interval is at most `relative_ci`, between a minimum and a maximum.

    Both minima must be reached, either maximum ends it.
    """

    relative_ci: float = 0.01
    min_rounds: int = 8
    max_rounds: int = 16
    min_time_s: float = 0.0
    max_time_s: float = math.inf


class PrecisionRule:
    """A stop rule on the relative confidence interval of a statistic over rounds."""

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

    def is_finished(self) -> bool:
        """Whether no further round is needed."""
        rounds, settings = len(self._rounds), self._settings
        if rounds >= settings.max_rounds or self._time_s >= settings.max_time_s:
            return True
        if rounds < settings.min_rounds or self._time_s < settings.min_time_s:
            return False
        return self.relative_ci <= settings.relative_ci
