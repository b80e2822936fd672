"""What a latency is: a statistic of calls in rounds, its confidence interval and the stop rule's measure in one object.

A device may be judged at its quietest, by the median of its calls, or by their 90th percentile. Whatever is asked,
value and interval come from the same statistic of the same rounds; the table names it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median, stdev
from typing import Protocol

import numpy as np

from lut.calibration.student_t import student_t_quantile
from profiler.measure.stopping import median_interval

NAN = float("nan")
CONFIDENCE = 0.95

Round = Sequence[float]  # the times of the calls of one round, in ms


class Estimator(Protocol):
    """One statistic of rounds. All values are milliseconds; (NaN, NaN) where an interval is not known.

    `undisturbed`: it is of the calls that no other task disturbed, at moments when the device was as usual.
    Otherwise it is of all calls as they happened.
    """

    @property
    def name(self) -> str:
        """As it is named in a table, and by `--statistic`."""

    @property
    def undisturbed(self) -> bool:
        """Whether disturbed calls are left out."""

    def value_ms(self, rounds: Sequence[Round]) -> float:
        """The statistic; NaN for no rounds."""

    def interval_ms(self, rounds: Sequence[Round]) -> tuple[float, float]:
        """Its confidence interval (95 %), rounds being independent."""


class Quiet:
    """The device at its quietest: the mean of the faster half of the rounds' medians, without the fastest eighth.

    Other work makes a device slower and comes in bursts, so half of the rounds may be disturbed. A boost, or a
    neighbour that happens to be idle, makes it faster; one round of eight may be so.

    The interval is Student's t on the winsorised rounds. On simulated rounds with normal, exponential and bursty
    errors it covers 90, 88 and 86 % for eight rounds, 92, 90 and 89 % for sixteen.

    Source: Tukey and McLaughlin, Less vulnerable confidence and significance procedures, 1963; for unequal ends Huber,
    Robust Statistics, section 3.3.
    """

    name = "quiet"
    undisturbed = True

    def value_ms(self, rounds: Sequence[Round]) -> float:
        """Mean of the ordered medians from the n/8-th to the middle."""
        ordered = sorted(map(median, rounds))
        first, end = _kept(len(ordered))
        return fmean(ordered[first:end]) if ordered else NAN

    def interval_ms(self, rounds: Sequence[Round]) -> tuple[float, float]:
        """Within the range of the rounds, which it is for two of them."""
        ordered = sorted(map(median, rounds))
        n = len(ordered)
        if n < 2:
            return NAN, NAN
        first, end = _kept(n)
        kept = end - first
        if kept < 2:
            return ordered[0], ordered[-1]
        low, high = ordered[first], ordered[end - 1]
        spread = stdev(min(max(value, low), high) for value in ordered)
        error = spread * math.sqrt((n - 1) / (kept * (kept - 1)))
        reach = student_t_quantile((1 + CONFIDENCE) / 2, kept - 1) * error
        middle = fmean(ordered[first:end])
        return max(ordered[0], middle - reach), min(ordered[-1], middle + reach)


def _kept(n: int) -> tuple[int, int]:
    """Which of n ordered rounds count: from, and up to but without."""
    return n // 8, (n + 1) // 2


class Median:
    """The median over rounds of the median of all calls in each."""

    name = "median"
    undisturbed = False

    def value_ms(self, rounds: Sequence[Round]) -> float:
        """Median of medians."""
        return median(map(median, rounds)) if rounds else NAN

    def interval_ms(self, rounds: Sequence[Round]) -> tuple[float, float]:
        """By order statistics of the rounds' medians."""
        return median_interval([median(values) for values in rounds])


class Percentile:
    """A percentile of all calls, each round counting the same however many calls it has.

    The interval is Woodruff's: the share of calls below the value is a mean over rounds with a standard error; the
    percentiles that far below and above are the ends.

    Source: Woodruff, Confidence intervals for medians and other position measures, 1952.
    """

    undisturbed = False

    def __init__(self, percent: float) -> None:
        self._share, self.name = percent / 100, f"p{percent:g}"

    def value_ms(self, rounds: Sequence[Round]) -> float:
        """The time that this share of the calls does not exceed."""
        return percentile_ms(rounds, self._share)

    def interval_ms(self, rounds: Sequence[Round]) -> tuple[float, float]:
        """At most the range of all calls."""
        n = len(rounds)
        if n < 2:
            return NAN, NAN
        value = self.value_ms(rounds)
        shares = [float(np.mean(np.asarray(values) <= value)) for values in rounds]
        # A round whose calls all lie on one side says less than it seems: the share's own spread is the least.
        error = max(stdev(shares) / math.sqrt(n), math.sqrt(self._share * (1 - self._share) / n) / n)
        reach = student_t_quantile((1 + CONFIDENCE) / 2, n - 1) * error
        low, high = max(0.0, self._share - reach), min(1.0, self._share + reach)
        return percentile_ms(rounds, low), percentile_ms(rounds, high)


def percentile_ms(rounds: Sequence[Round], share: float) -> float:
    """The time that this share of the calls does not exceed, each round weighing the same; NaN for no calls.

    Between two calls it is interpolated, as numpy's `percentile` does where all rounds have the same number of calls.
    """
    rounds = [values for values in rounds if len(values)]
    if not rounds:
        return NAN
    times = np.concatenate([np.asarray(values, dtype=float) for values in rounds])
    weights = np.concatenate([np.full(len(values), 1 / len(values)) for values in rounds]) / len(rounds)
    order = np.argsort(times, kind="stable")
    times, weights = times[order], weights[order]
    if len(times) == 1:
        return float(times[0])
    reached = (np.cumsum(weights) - weights) / (1 - weights[-1])
    return float(np.interp(share, reached, times))


def relative_ci(estimator: Estimator, rounds: Sequence[Round]) -> float:
    """Half the interval's width, relative to the value; NaN where it is not known."""
    low, high = estimator.interval_ms(rounds)
    return (high - low) / 2 / estimator.value_ms(rounds) if rounds else NAN


ESTIMATORS: Mapping[str, Estimator] = {estimator.name: estimator for estimator in (Quiet(), Median(), Percentile(90.0))}
