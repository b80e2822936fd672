"""From blocks measured alone to what they add to a network: the calibration, and how good it is.

A block inside a network costs less or more than alone: caches are warm or cold, layouts are shared, the
runtime has a cost of its own. Whole networks are measured beside the blocks, and the cost of block b is

    cost[b] = scale · latency[b] + per_block + per_weight · weights[b] + correction[b],
    c(a) = intercept + Σ_b cost[b].

`correction` is a ridge term, relative to the block's own latency, whose strength is chosen by exact
leave-one-out error on the calibration networks; an infinitely strong ridge leaves scale and intercept only.
By the same error it is chosen whether the ridge also holds corrections that many blocks share (`traits`),
and whether there is a term for the weights: a block alone keeps its weights in the cache, in a network they
come from memory each time, which for small images takes longer than the arithmetic.
The result is judged on *other* networks, the holdout: that is `Fidelity`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lut.calibration.ranks import rank_correlation
from lut.calibration.student_t import student_t_quantile
from lut.calibration.threads import one_thread
from lut.calibration.traits import mega_weights, shared_columns
from lut.errors import CalibrationError

Array = NDArray[np.float64]

_RIDGES = (np.inf, *np.geomspace(1e3, 1e-3, 25))
FEWEST_RESIDUALS = 2  # that a margin can be told from
_FEWEST_FOR_OFFSET = 3
_FEWEST_FOR_PER_BLOCK = 10
_COST_FLOOR = 0.05


@dataclass(frozen=True)
class NetworkMeasurement:
    """A whole network that was measured: its blocks in order, and its latency."""

    name: str
    blocks: tuple[str, ...]
    latency_ms: float


@dataclass(frozen=True)
class Calibration:
    """How isolated latencies became costs. The identity, unless networks were measured.

    `loo_mape` is the leave-one-out error on the calibration networks, as a fraction (NaN: not fitted).
    """

    scale: float = 1.0
    intercept_ms: float = 0.0
    per_block_ms: float = 0.0
    ridge: float = float("inf")
    networks: int = 0
    loo_mape: float = float("nan")
    per_mega_weight_ms: float = 0.0


@dataclass(frozen=True)
class Fidelity:
    """How well c(a) predicts networks that took no part in the fit.

    Shares and errors are fractions. `residuals` holds measured / predicted − 1 for each network.
    """

    n: int
    mape: float
    within_3: float
    within_5: float
    within_10: float
    rank_correlation: float
    residual_std: float
    worst: float
    residuals: tuple[float, ...] = field(repr=False, default=())


@one_thread()
def fit_calibration(
    latencies_ms: Mapping[str, float], networks: Sequence[NetworkMeasurement]
) -> tuple[Calibration, dict[str, float]]:
    """Fit the calibration; returns it with the cost in ms of every block of `latencies_ms`.

    Errors are weighted relative to each network's latency, so that small networks count as much as large
    ones. Fewer than three networks leave the identity. Raises `CalibrationError` for a network with a
    block that has no latency, or a latency that is not a positive number.
    """
    keys = list(latencies_ms)
    latency = np.array([latencies_ms[key] for key in keys])
    if len(networks) < _FEWEST_FOR_OFFSET:
        return Calibration(), dict(zip(keys, latency.tolist(), strict=True))
    counts, measured = _count_matrix(keys, networks)
    own = np.diag(latency)
    forms = (own, np.concatenate([own, shared_columns(keys, latency)], axis=1))  # (blocks, corrections) each
    best, base, form = min(
        (
            (_loo_error(_with_intercept(counts @ base), counts @ form, measured, ridge), base, form)
            for base in _bases(keys, latency, counts)
            for form in forms
            for ridge in _RIDGES
        ),
        key=lambda fit: fit[0].mape,
    )
    intercept, scale, per_block, per_weight = [*best.fixed.tolist(), 0.0, 0.0][:4]
    cost = base @ best.fixed[1:] + form @ best.corrections
    # A correction may not turn a block's cost negative or free: nothing runs in no time.
    cost = np.maximum(cost, _COST_FLOOR * latency)
    calibration = Calibration(scale, intercept, per_block, best.ridge, len(networks), best.mape, per_weight)
    return calibration, dict(zip(keys, cost.tolist(), strict=True))


def judge(predicted_ms: Sequence[float] | Array, measured_ms: Sequence[float] | Array) -> Fidelity | None:
    """Compare predictions with measurements of unseen networks; None if there are none.

    `predicted_ms` and `measured_ms` have shape (n,).
    """
    predicted, measured = np.asarray(predicted_ms, dtype=float), np.asarray(measured_ms, dtype=float)
    if predicted.size == 0:
        return None
    error = np.abs(predicted / measured - 1)
    residual = measured / predicted - 1
    return Fidelity(
        n=int(predicted.size),
        mape=float(error.mean()),
        within_3=float((error <= 0.03).mean()),
        within_5=float((error <= 0.05).mean()),
        within_10=float((error <= 0.10).mean()),
        rank_correlation=rank_correlation(predicted, measured),
        residual_std=float(residual.std(ddof=1)) if residual.size > 1 else float("nan"),
        worst=float(error.max()),
        residuals=tuple(residual.tolist()),
    )


def upper_margin(residuals: Sequence[float], confidence: float) -> float:
    """How far, relative to its prediction, a network's latency may lie above it at that confidence.

    The one-sided prediction bound of a normal sample: mean + t(confidence, n − 1) · s · √(1 + 1/n). Zero
    where fewer than two residuals are known, and never below zero.

    Source: Hahn and Meeker, Statistical Intervals, section 4.8.
    """
    if not 0 < confidence < 1:
        raise CalibrationError(f"a confidence of {confidence} is not between 0 and 1; try 0.95")
    n = len(residuals)
    if n < FEWEST_RESIDUALS:
        return 0.0
    values = np.asarray(residuals)
    spread = values.std(ddof=1) * np.sqrt(1 + 1 / n)
    return max(0.0, float(values.mean() + student_t_quantile(confidence, n - 1) * spread))


def _count_matrix(keys: Sequence[str], networks: Sequence[NetworkMeasurement]) -> tuple[Array, Array]:
    """How often each block occurs in each network, (n, blocks), and the measured latencies, (n,)."""
    index = {key: i for i, key in enumerate(keys)}
    counts = np.zeros((len(networks), len(keys)))
    for row, network in enumerate(networks):
        if not (np.isfinite(network.latency_ms) and network.latency_ms > 0):
            raise CalibrationError(f"network {network.name} has a latency of {network.latency_ms} ms; drop it")
        for key in network.blocks:
            if key not in index:
                raise CalibrationError(f"network {network.name} has block {key}, which has no latency; measure it")
            counts[row, index[key]] += 1
    return counts, np.array([network.latency_ms for network in networks])


def _bases(keys: Sequence[str], latency: Array, counts: Array) -> list[Array]:
    """What may be fitted freely, as values of each block: latency, one, weights; shapes (blocks, 1 to 3).

    A term needs enough networks, and networks that differ in it.
    """
    if len(counts) < _FEWEST_FOR_PER_BLOCK or np.ptp(counts.sum(axis=1)) == 0:
        return [latency[:, None]]
    plain = np.stack([latency, np.ones(len(keys))], axis=1)
    weights = mega_weights(keys)
    return [plain] if weights is None else [plain, np.concatenate([plain, weights[:, None]], axis=1)]


def _with_intercept(columns: Array) -> Array:
    return np.concatenate([np.ones((len(columns), 1)), columns], axis=1)


@dataclass(frozen=True)
class _Fit:
    mape: float
    ridge: float
    fixed: Array
    corrections: Array


def _loo_error(fixed: Array, shrunk: Array, measured: Array, ridge: float) -> _Fit:
    """Ridge fit in relative units, with its exact leave-one-out error from the hat matrix."""
    n_fixed = fixed.shape[1]
    use = np.isfinite(ridge)
    x = np.concatenate([fixed, shrunk], axis=1) if use else fixed
    x = x / measured[:, None]
    column = np.linalg.norm(x, axis=0)
    column[column == 0] = 1.0
    if use:  # the ridge is on the corrections themselves, so their columns keep their scale
        column[n_fixed:] = 1.0
    x = x / column
    penalty = np.zeros(x.shape[1])
    penalty[:n_fixed] = 1e-9
    penalty[n_fixed:] = ridge if use else 0.0
    inverse = np.linalg.solve(x.T @ x + np.diag(penalty), x.T)
    weights = inverse @ np.ones(len(measured))
    leverage = np.einsum("ij,ji->i", x, inverse)
    residual = (1 - x @ weights) / np.maximum(1 - leverage, 1e-6)
    weights = weights / column
    corrections = weights[n_fixed:] if use else np.zeros(shrunk.shape[1])
    return _Fit(float(np.abs(residual).mean()), float(ridge), weights[:n_fixed], corrections)
