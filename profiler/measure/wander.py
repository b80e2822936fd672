"""A device whose speed wanders: what each unit takes beside the others, by all visits of a session together.

Phones change their clocks within seconds, and over ADB one invocation gives one time. The logarithm of that time is the
unit's own plus the device's at that moment plus noise. The device's is taken for an Ornstein-Uhlenbeck process: near
moments are alike, far ones are not. How fast and how widely it wanders is what makes the session most likely; the
units' own values then are the generalised least-squares estimate.

Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, sections 2.7 and 5.4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from profiler.measure.estimator import ESTIMATORS
from profiler.measure.measurement import Levelled, Visit

Array = NDArray[np.float64]

# Time scales of the wandering, in median gaps between visits; its variance, in variances of the noise.
_SCALES = tuple(2.0**k for k in range(-1, 8))
_RATIOS = (0.0, 1.0, 10.0, 100.0, 1000.0)
_NORMAL = 1.96  # of a 95 % interval


# The reference was off at more than this share of so many readings: the device has no speed that is usual.
_OFF_SHARE, _FEWEST_READINGS = 0.5, 10


def wanders(readings_ms: Sequence[float], is_usual: Callable[[float], bool]) -> bool:
    """Whether the device, by readings of its reference, has no speed that is usual."""
    if len(readings_ms) < _FEWEST_READINGS:
        return False
    return sum(not is_usual(reading) for reading in readings_ms) > _OFF_SHARE * len(readings_ms)


def gives_aggregates(units: Mapping[str, Sequence[Visit]]) -> bool:
    """Whether the device gives one time a visit, so that disturbed calls cannot be told apart."""
    timed = [visit for visits in units.values() for visit in visits if visit.times_ms]
    return bool(timed) and all(len(visit.times_ms) == 1 for visit in timed)


def level_out(units: Mapping[str, Sequence[Visit]]) -> Mapping[str, Levelled]:
    """What each unit takes, freed from the device's wandering; empty where there are too few visits to tell.

    Every unit needs a visit with a time and a moment; others are left out.
    """
    rows = sorted(
        (visit.at_s, name, math.log(visit.median_ms))
        for name, visits in units.items()
        for visit in visits
        if visit.times_ms and math.isfinite(visit.at_s) and "throttled" not in visit.flags
    )
    names = sorted({name for _, name, _ in rows})
    if len(rows) <= len(names):
        return {}
    at_s = np.array([row[0] for row in rows])
    own = np.zeros((len(rows), len(names)))
    own[np.arange(len(rows)), [names.index(row[1]) for row in rows]] = 1.0
    fit = _best_fit(at_s, own, np.array([row[2] for row in rows]))
    # Quiet is a statement on the device, the same for all units: how it was at its quieter moments.
    quiet = ESTIMATORS["quiet"].value_ms([[math.exp(value)] for value in fit.device])
    levelled = {}
    for name, value, error in zip(names, fit.own, fit.errors, strict=True):
        latency_ms = math.exp(value) * quiet
        reach = math.exp(_NORMAL * error)
        levelled[name] = Levelled(latency_ms, (latency_ms / reach, latency_ms * reach))
    return levelled


@dataclass(frozen=True)
class _Fit:
    """Units' own values and their standard errors beside one another, and the device's at each visit; logarithms."""

    likelihood: float
    own: Array
    errors: Array
    device: Array


def _best_fit(at_s: Array, own: Array, times: Array) -> _Fit:
    gaps_s = np.diff(at_s, prepend=at_s[0])
    usual_s = max(1e-6, float(np.median(gaps_s[1:])))
    forms = [(scale, ratio) for scale in _SCALES for ratio in _RATIOS if ratio or scale == _SCALES[0]]
    columns = np.concatenate([own, times[:, None]], axis=1)
    best: _Fit | None = None
    for scale, ratio in forms:
        fit = _fit(np.exp(-gaps_s / (scale * usual_s)), ratio, columns)
        if best is None or fit.likelihood > best.likelihood:
            best = fit
    assert best is not None  # there is always a form
    return best


def _fit(kept: Array, ratio: float, columns: Array) -> _Fit:
    """Generalised least squares under one covariance, with its restricted likelihood.

    `kept` is how much of the device's deviation is left after each gap, (n,); `columns` are the units' indicators and
    the logarithms of the times, (n, units + 1).
    """
    white, determinant = _whiten(kept, ratio, columns)
    design, target = white[:, :-1], white[:, -1]
    normal = design.T @ design
    inverse = np.linalg.inv(normal)
    values = inverse @ (design.T @ target)
    residual = target - design @ values
    degrees = len(target) - len(values)
    variance = max(float(residual @ residual) / degrees, 1e-12)
    determinant += float(np.linalg.slogdet(normal)[1])
    # Beside one another: what shifts all of them together is the device's.
    covariance = variance * inverse
    centred = covariance - covariance.mean(0) - covariance.mean(1)[:, None] + covariance.mean()
    errors = np.sqrt(np.maximum(np.diag(centred), 0.0))
    device = _smooth(kept, ratio, columns[:, -1] - columns[:, :-1] @ values)
    return _Fit(-0.5 * (degrees * math.log(variance) + determinant), values, errors, device)


def _whiten(kept: Array, ratio: float, columns: Array) -> tuple[Array, float]:
    """Each column with the covariance taken out of it, by a Kalman filter, and the covariance's log determinant."""
    white = np.empty_like(columns)
    state, uncertain, determinant = np.zeros(columns.shape[1]), ratio, 0.0
    for index, row in enumerate(columns):
        stays = kept[index] if index else 0.0
        state = stays * state
        uncertain = stays**2 * uncertain + ratio * (1 - stays**2)
        spread = uncertain + 1.0
        innovation = row - state
        white[index] = innovation / math.sqrt(spread)
        determinant += math.log(spread)
        state = state + uncertain / spread * innovation
        uncertain /= spread
    return white, determinant


def _smooth(kept: Array, ratio: float, residual: Array) -> Array:
    """The device's deviation at each visit, by all visits: a Kalman filter and Rauch, Tung and Striebel's way back."""
    n = len(residual)
    filtered, uncertain, before = np.zeros(n), np.zeros(n), np.zeros(n)
    state, spread = 0.0, ratio
    for index, value in enumerate(residual):
        stays = kept[index] if index else 0.0
        state, spread = stays * state, stays**2 * spread + ratio * (1 - stays**2)
        before[index] = spread
        gain = spread / (spread + 1.0)
        state, spread = state + gain * (value - state), spread * (1 - gain)
        filtered[index], uncertain[index] = state, spread
    smoothed = filtered.copy()
    for index in range(n - 2, -1, -1):
        if before[index + 1] > 0:
            gain = uncertain[index] * kept[index + 1] / before[index + 1]
            smoothed[index] += gain * (smoothed[index + 1] - kept[index + 1] * filtered[index])
    return smoothed
