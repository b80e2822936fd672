"""A device whose speed wanders: what each unit takes beside the others, by all visits of a session together.

Phones change their clocks within seconds; on a shared host the neighbour on the same core comes and goes. The logarithm
of a visit's time is the unit's own plus the device's at that moment plus noise. The device's is taken for an
Ornstein-Uhlenbeck process: near moments are alike, far ones are not. How fast and how widely it wanders is what makes
the session most likely; the units' own values then are the generalised least-squares estimate. The noise has long
tails (Student's t), so visits that do not fit count for less: they are weighted and the fit is made anew, some times.

Sources: Rasmussen and Williams, Gaussian Processes for Machine Learning, sections 2.7 and 5.4; Lange, Little and
Taylor, Robust statistical modeling using the t distribution, 1989.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from lut.calibration.threads import one_thread
from profiler.measure.measurement import Levelled, Measurement, Visit

Array = NDArray[np.float64]

# Time scales of the wandering, in median gaps between visits; its variance, in variances of the noise.
_SCALES = tuple(2.0**k for k in range(-1, 8, 2))
_RATIOS = (0.0, 1.0, 10.0, 100.0, 1000.0)
_NORMAL = 1.96  # of a 95 % interval
_DEGREES = 4.0  # of the noise's Student's t
_PASSES = 4
_NEAR = ((1.0, 1.0), (0.5, 1.0), (2.0, 1.0), (1.0, 0.3), (1.0, 3.0))  # forms to try next, beside the last
_BETTER = 0.7  # times as wide, at most, are intervals that are clearly narrower
# At so many of the visits the device was quicker still. How often it is disturbed differs between sessions, its
# quietest moments hardly do: six tables of one host, made within 90 minutes, differ by 9 % (standard deviation) in the
# mean of the quicker half, by 6 % at a tenth and by 4.5 % at a twentieth.
_QUIETEST = 0.05
_MAD_TO_SD, _LEAST_SPREAD = 1.4826, 1e-6


# The reference was off at more than this share of so many readings: the device has no speed that is usual.
_OFF_SHARE, _FEWEST_READINGS = 0.5, 10


def wanders(readings_ms: Sequence[float], is_usual: Callable[[float], bool]) -> bool:
    """Whether the device, by readings of its reference, has no speed that is usual."""
    if len(readings_ms) < _FEWEST_READINGS:
        return False
    return sum(not is_usual(reading) for reading in readings_ms) > _OFF_SHARE * len(readings_ms)


@one_thread()
def levelled_where_better(
    measured: Mapping[str, Measurement], *, wandering: bool, wanted_ci: float
) -> Mapping[str, Levelled]:
    """What units take with the device's wandering taken out, where that makes them better known; else empty.

    On a device that has no usual speed (`wandering`) it always does. On another it is tried where intervals are wider
    than wanted, and taken if they become clearly narrower, in the root mean square over units.
    """
    plain = {name: one.relative_ci for name, one in measured.items() if math.isfinite(one.relative_ci)}
    if not wandering and (not plain or _rms(plain.values()) <= wanted_ci):
        return {}
    levelled = level_out({name: one.visits for name, one in measured.items()})
    both = plain.keys() & levelled.keys()
    if wandering or (
        both and _rms(levelled[name].relative_ci for name in both) < _BETTER * _rms(plain[name] for name in both)
    ):
        return levelled
    return {}


def _rms(values: Iterable[float]) -> float:
    return math.sqrt(fmean(value**2 for value in values))


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
    fit = _robust_fit(at_s, own, np.array([row[2] for row in rows]))
    # Quiet is a statement on the device, the same for all units.
    quiet = math.exp(float(np.quantile(fit.device, _QUIETEST)))
    levelled = {}
    for name, value, error in zip(names, fit.own, fit.errors, strict=True):
        latency_ms = math.exp(value) * quiet
        reach = math.exp(_NORMAL * error)
        levelled[name] = Levelled(latency_ms, (latency_ms / reach, latency_ms * reach))
    return levelled


@dataclass(frozen=True)
class _Fit:
    """Units' own values and their standard errors beside one another, and the device's at each visit; logarithms.

    `scale` and `ratio` are the form that it was made under: the wandering's time scale in median gaps between visits,
    and its variance in variances of the noise.
    """

    likelihood: float
    own: Array
    errors: Array
    device: Array
    scale: float
    ratio: float


def _robust_fit(at_s: Array, own: Array, times: Array) -> _Fit:
    forms = [(scale, ratio) for scale in _SCALES for ratio in _RATIOS if ratio or scale == _SCALES[0]]
    fit = _best_fit(at_s, own, times, np.ones(len(times)), forms)
    for _ in range(_PASSES):
        residual = times - own @ fit.own - fit.device
        spread = max(_MAD_TO_SD * float(np.median(np.abs(residual))), _LEAST_SPREAD)
        noise = np.maximum(1.0, (_DEGREES + (residual / spread) ** 2) / (_DEGREES + 1))
        forms = [(fit.scale * scale, fit.ratio * ratio) for scale, ratio in _NEAR]
        fit = _best_fit(at_s, own, times, noise, forms if fit.ratio else [(fit.scale, 0.0), (fit.scale, 1.0)])
    return fit


def _best_fit(at_s: Array, own: Array, times: Array, noise: Array, forms: Sequence[tuple[float, float]]) -> _Fit:
    """The most likely fit of these forms. `noise`: each visit's variance beside the usual, (n,)."""
    gaps_s = np.diff(at_s, prepend=at_s[0])
    usual_s = max(1e-6, float(np.median(gaps_s[1:])))
    columns = np.concatenate([own, times[:, None]], axis=1)
    fits = (_fit(np.exp(-gaps_s / (scale * usual_s)), scale, ratio, columns, noise) for scale, ratio in forms)
    return max(fits, key=lambda fit: fit.likelihood)


def _fit(kept: Array, scale: float, ratio: float, columns: Array, noise: Array) -> _Fit:
    """Generalised least squares under one covariance, with its restricted likelihood.

    `kept` is how much of the device's deviation is left after each gap, (n,); `columns` are the units' indicators and
    the logarithms of the times, (n, units + 1).
    """
    white, determinant = _whiten(kept, ratio, columns, noise)
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
    device = _smooth(kept, ratio, columns[:, -1] - columns[:, :-1] @ values, noise)
    return _Fit(-0.5 * (degrees * math.log(variance) + determinant), values, errors, device, scale, ratio)


def _whiten(kept: Array, ratio: float, columns: Array, noise: Array) -> tuple[Array, float]:
    """Each column with the covariance taken out of it, by a Kalman filter, and the covariance's log determinant."""
    white = np.empty_like(columns)
    state, uncertain, determinant = np.zeros(columns.shape[1]), ratio, 0.0
    for index, row in enumerate(columns):
        stays = kept[index] if index else 0.0
        state = stays * state
        uncertain = stays**2 * uncertain + ratio * (1 - stays**2)
        spread = uncertain + noise[index]
        innovation = row - state
        white[index] = innovation / math.sqrt(spread)
        determinant += math.log(spread)
        state = state + uncertain / spread * innovation
        uncertain *= noise[index] / spread
    return white, determinant


def _smooth(kept: Array, ratio: float, residual: Array, noise: Array) -> Array:
    """The device's deviation at each visit, by all visits: a Kalman filter and Rauch, Tung and Striebel's way back."""
    n = len(residual)
    filtered, uncertain, before = np.zeros(n), np.zeros(n), np.zeros(n)
    state, spread = 0.0, ratio
    for index, value in enumerate(residual):
        stays = kept[index] if index else 0.0
        state, spread = stays * state, stays**2 * spread + ratio * (1 - stays**2)
        before[index] = spread
        gain = spread / (spread + noise[index])
        state, spread = state + gain * (value - state), spread * (1 - gain)
        filtered[index], uncertain[index] = state, spread
    smoothed = filtered.copy()
    for index in range(n - 2, -1, -1):
        if before[index + 1] > 0:
            gain = uncertain[index] * kept[index + 1] / before[index + 1]
            smoothed[index] += gain * (smoothed[index + 1] - kept[index + 1] * filtered[index])
    return smoothed
