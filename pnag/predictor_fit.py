"""Learn the accuracy predictor: Bayesian linear regression on main effects and pairs, strengths from the evidence.

A layer is described by nine numbers: whether it is present, two contrasts each of its expand ratio and its
kernel (linear and quadratic in the order of the choices), and their four products; all are 0 for an absent
layer. Features are these numbers (main effects) and products of two layers' numbers (pairs), within a unit
in full, across units with the plain contrasts only. Every group of features has a prior variance of its
own, and all of them and the noise are found by maximising the marginal likelihood, so that an archive of a
few hundred accuracies leaves the pairs small and one of many thousands brings them out.

The accuracies themselves are learnt so first. Then, for ceilings a little above the best of them, their merits
are: by a step of Fisher scoring each, from the last predictions p, on the working response
m(p) + (A - p) / (c - p), weighted by c - p since that is what the noise of an accuracy is divided by. The ceiling
stays that predicts held-out accuracies best, if it does so better than none.

Sources: Rasmussen and Williams, Gaussian Processes for Machine Learning, sections 2.1 and 5.4; McCullagh and
Nelder, Generalized Linear Models, section 2.5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pnag.errors import ArchiveError
from pnag.predictor import AccuracyPredictor, LayerCodes
from pnag.space import SearchSpace, Tokens

Array = NDArray[np.float64]
Matrix = NDArray[np.float32]
Index = NDArray[np.int64]
Report = Callable[[float], None]

_FEWEST = 8
_HEADROOMS = (0.2, 0.5)  # of ceilings over the best accuracy, relative to the range of the accuracies
_EVIDENCE_ROWS = 900
_CAUTIOUS_STEPS = 15
_WARM_STEPS = 5
_EVIDENCE_STEPS = 30
_DUAL_ROWS = 5000
_LOO_ROWS = 2000


@dataclass(frozen=True)
class FeatureMap:
    """The features of a space: columns of numbers per layer, and which pairs of columns are multiplied.

    Groups are numbered main effects first; `main_groups` has shape (columns,), `left`, `right` and
    `pair_groups` have shape (pairs,).
    """

    space: SearchSpace

    @cached_property
    def layer_numbers(self) -> tuple[Array, list[int]]:
        """What each code of a layer is described by, (codes, numbers), and the kind of each number.

        Kinds: 0 presence, 1 expand ratio, 2 kernel, 3 their product.
        """
        expand, kernel = _contrasts(len(self.space.expands)), _contrasts(len(self.space.kernels))
        columns, kinds = [np.ones((len(expand), len(kernel)))], [0]
        for e in expand.T:
            columns.append(np.repeat(e[:, None], len(kernel), axis=1))
            kinds.append(1)
        for k in kernel.T:
            columns.append(np.repeat(k[None, :], len(expand), axis=0))
            kinds.append(2)
        for e in expand.T:
            for k in kernel.T:
                columns.append(np.outer(e, k))
                kinds.append(3)
        numbers = np.stack([column.reshape(-1) for column in columns], axis=1)
        return np.concatenate([np.zeros((1, len(kinds))), numbers]), kinds

    @cached_property
    def _pairs(self) -> tuple[Index, Index, Index]:
        """Left column, right column and group of each pair of layers' numbers."""
        _, kinds = self.layer_numbers
        layers, per_layer = LayerCodes(self.space).layers, len(kinds)
        layer, kind = np.repeat(np.arange(layers), per_layer), np.tile(kinds, layers)
        left, right = np.nonzero(layer[:, None] < layer[None, :])
        unit = layer // self.space.layers
        within = unit[left] == unit[right]
        low, high = np.minimum(kind[left], kind[right]), np.maximum(kind[left], kind[right])
        keep = within | (high < 3)
        group = low * 4 + high + np.where(within, 0, 16)
        _, group = np.unique(group[keep], return_inverse=True)
        return left[keep], right[keep], group + 4

    @cached_property
    def groups(self) -> Index:
        """Group of every feature, main effects and then pairs."""
        _, kinds = self.layer_numbers
        return np.concatenate([np.tile(kinds, LayerCodes(self.space).layers), self._pairs[2]])

    def columns(self, tokens: Tokens) -> Matrix:
        """The layers' numbers, shape (n, columns)."""
        numbers, _ = self.layer_numbers
        codes = LayerCodes(self.space).of(tokens)
        return numbers[codes].reshape(len(codes), -1).astype(np.float32)

    def __call__(self, tokens: Tokens) -> Matrix:
        """All features, shape (n, features)."""
        columns = self.columns(tokens)
        left, right, _ = self._pairs
        out = np.empty((len(columns), columns.shape[1] + len(left)), dtype=np.float32)
        out[:, : columns.shape[1]] = columns
        np.multiply(columns[:, left], columns[:, right], out=out[:, columns.shape[1] :])
        return out

    def quadratic_form(self, weights: Array) -> tuple[Array, Array]:
        """Weights of features as weights of codes: main (layers · codes,) and pairs, symmetric."""
        numbers, kinds = self.layer_numbers
        layers = LayerCodes(self.space).layers
        size = layers * len(kinds)
        left, right, _ = self._pairs
        pairs = np.zeros((size, size))
        pairs[left, right] = weights[size:]
        expand = np.kron(np.eye(layers), numbers)  # (layers · codes, layers · numbers)
        full = expand @ (pairs + pairs.T) @ expand.T
        return expand @ weights[:size], full


def fit_predictor(
    space: SearchSpace, tokens: Tokens, accuracy: Array, *, seed: int = 0, report: Report | None = None
) -> AccuracyPredictor:
    """Learn from measured accuracies, shapes (n, length) and (n,).

    The error is exact leave-one-out error. `report` is called with the share done, between 0 and 1. Raises
    `ArchiveError` for fewer than eight architectures.
    """
    if len(tokens) < _FEWEST:
        raise ArchiveError(f"{len(tokens)} accuracies are too few to learn from; give {_FEWEST} or more")
    features = FeatureMap(space)
    x, rng = features(tokens), np.random.default_rng(seed)
    learner = _Learner(features, x, np.sort(rng.permutation(len(x))[:_EVIDENCE_ROWS]))
    plain = learner.learn(accuracy, np.ones(len(x)))
    fits = [plain.predictor(space, accuracy, np.inf)]
    low, high = float(accuracy.min()), float(accuracy.max())
    for headroom in _HEADROOMS if high > low else ():
        if report is not None:
            report(len(fits) / (len(_HEADROOMS) + 1))
        ceiling, at = high + headroom * (high - low), np.clip(fits[-1](tokens), low, high)
        missing = ceiling - at
        scored = learner.learn((accuracy - at) / missing - np.log(missing), missing)
        fits.append(scored.predictor(space, accuracy, ceiling))
    if report is not None:
        report(1.0)
    return min(fits, key=lambda fit: fit.error)


@dataclass(frozen=True)
class _Fit:
    """Weights of codes and offset; merits of the first rows as the others predict them; noise of an accuracy."""

    main: Array
    pairs: Array
    offset: float
    left_out: Array
    noise: float

    def predictor(self, space: SearchSpace, accuracy: Array, ceiling: float) -> AccuracyPredictor:
        """The predictor with its errors, for measured accuracies (n,)."""
        found = AccuracyPredictor(
            space,
            self.offset,
            self.main.astype(np.float32),
            self.pairs.astype(np.float32),
            error=0.0,
            rank_correlation=0.0,
            noise=self.noise,
            ceiling=ceiling,
        )
        predicted, judged = found.accuracy(self.left_out), accuracy[: len(self.left_out)]
        return replace(
            found,
            error=float(np.sqrt(np.mean((predicted - judged) ** 2))),
            rank_correlation=rank_correlation(predicted, judged),
        )


@dataclass
class _Learner:
    """Learns linear weights of the same features `x` again and again; the strengths' search goes on where it was."""

    features: FeatureMap
    x: Matrix
    rows: Index
    strengths: Array | None = None

    def learn(self, y: Array, weight: Array) -> _Fit:
        """Weights for targets y (n,), each counting as `weight` (n,), relative to each other, over the noise."""
        unit = float(weight.mean())
        weight = weight / unit
        mean, scale = float(np.average(y, weights=weight**2)), float(y.std()) or 1.0
        target = weight * (y - mean) / scale
        x = self.x if np.ptp(weight) == 0 else self.x * weight[:, None].astype(np.float32)
        rows, groups = self.rows, self.features.groups
        variances, noise, self.strengths = _maximise_evidence(
            x[rows], target[rows], weight[rows], groups, self.strengths
        )
        solve = _solve_dual if len(x) <= _DUAL_ROWS else _solve_primal
        weights, offset, residual = solve(x, target, weight, variances[groups], noise)
        main, pairs = self.features.quadratic_form(weights)
        judged = slice(0, len(residual))
        left_out = y[judged] - scale * residual / weight[judged]
        noise_std = scale * unit * float(np.sqrt(noise))
        return _Fit(scale * main, scale * pairs, mean + scale * offset, left_out, noise_std)


def _maximise_evidence(
    x: Matrix, y: Array, ones: Array, groups: Index, start: Array | None = None
) -> tuple[Array, float, Array]:
    """Prior variance of each group and variance of the noise, for features x, standardised y and the offset's column.

    The first steps are those of the minorise-maximise algorithm, which cannot overshoot; a quasi-Newton method
    goes on from there. The last of the three is where the search ended, as a `start` for one of similar data.

    Source: Zhou et al., MM Algorithms for Variance Components Models, 2019, update 6.
    """
    from scipy.linalg import cho_factor, cho_solve
    from scipy.optimize import minimize

    count = int(groups.max()) + 1
    sizes = np.array([max(1.0, float(np.square(x[:, groups == g]).sum()) / len(x)) for g in range(count)])
    by_group = [x[:, groups == g].astype(np.float64) for g in range(count)]
    kernels = np.stack([part @ part.T / size for part, size in zip(by_group, sizes, strict=True)])
    offset = np.outer(ones, ones)  # under a wide prior

    def parts(theta: Array) -> tuple[float, Array, Array]:
        """Negative logarithm of the evidence; per component, what the data and what the prior ask of it."""
        covariance = np.tensordot(np.exp(theta[:-1]), kernels, 1) + offset
        covariance[np.diag_indices_from(covariance)] += np.exp(theta[-1])
        factor = cho_factor(covariance, lower=True, overwrite_a=True, check_finite=False)
        inverse = cho_solve(factor, np.eye(len(y)), overwrite_b=True, check_finite=False)
        alpha = inverse @ y
        value = 0.5 * float(y @ alpha) + float(np.log(np.diag(factor[0])).sum())
        asked = np.array([*(alpha @ kernel @ alpha for kernel in kernels), alpha @ alpha])
        allowed = np.array([*(np.vdot(inverse, kernel) for kernel in kernels), np.trace(inverse)])
        return value, asked, allowed

    def negative_evidence(theta: Array) -> tuple[float, Array]:
        value, asked, allowed = parts(theta)
        return value, 0.5 * (allowed - asked) * np.exp(theta)

    theta = np.log(np.array([*([0.2] * 4), *([0.02] * (count - 4)), 0.1])) if start is None else start
    lowest, highest = np.array([-14.0] * count + [-9.0]), np.array([4.0] * count + [1.0])
    for _ in range(_CAUTIOUS_STEPS if start is None else _WARM_STEPS):
        _, asked, allowed = parts(theta)
        ratio = np.divide(asked, allowed, out=np.ones_like(asked), where=allowed > 0)  # 0 / 0: a group of no features
        theta = np.clip(theta + 0.5 * np.log(ratio), lowest, highest)
    found = minimize(
        negative_evidence, theta, jac=True, bounds=list(zip(lowest, highest, strict=True)), method="L-BFGS-B",
        options={"maxiter": _EVIDENCE_STEPS if start is None else _WARM_STEPS},
    )  # fmt: skip
    return np.exp(found.x[:-1]) / sizes, float(np.exp(found.x[-1])), found.x


def _solve_dual(x: Matrix, y: Array, ones: Array, prior: Array, noise: float) -> tuple[Array, float, Array]:
    """Weights, offset (whose column is `ones`) and leave-one-out residuals, through the (n, n) covariance."""
    from scipy.linalg import cho_factor, cho_solve

    scaled = x * np.sqrt(prior).astype(np.float32)
    covariance = (scaled @ scaled.T).astype(np.float64) + np.outer(ones, ones)
    covariance[np.diag_indices_from(covariance)] += noise
    factor = cho_factor(covariance, lower=True, overwrite_a=True, check_finite=False)
    inverse = cho_solve(factor, np.eye(len(y)), overwrite_b=True, check_finite=False)
    alpha = inverse @ y
    weights = prior * (x.T @ alpha.astype(np.float32))
    return weights, float(alpha @ ones), alpha / np.diag(inverse)


def _solve_primal(x: Matrix, y: Array, ones: Array, prior: Array, noise: float) -> tuple[Array, float, Array]:
    """The same through the (features, features) precision; residuals of the first rows only.

    In single precision, which takes half of the time; in double where single is too coarse to factor the matrix.
    """
    from scipy.linalg import LinAlgError, cho_solve, solve_triangular

    scale, column = np.sqrt(prior / noise), ones[:, None] / np.sqrt(noise)
    design: NDArray[Any] = np.concatenate([x * scale.astype(np.float32), column.astype(np.float32)], axis=1)
    try:
        factor = _factor_precision(design)
    except LinAlgError:
        design = np.concatenate([x * scale, column], axis=1)
        factor = _factor_precision(design)
    solution = cho_solve(factor, design.T @ y.astype(design.dtype), check_finite=False)
    rows = design[:_LOO_ROWS]
    leverage = np.square(solve_triangular(factor[0], rows.T, lower=True, check_finite=False)).sum(axis=0)
    residual = (y[:_LOO_ROWS] - rows @ solution) / np.maximum(1 - leverage, 1e-6)
    return solution[:-1].astype(np.float64) * scale, float(solution[-1] / np.sqrt(noise)), residual


def _factor_precision(design: NDArray[Any]) -> tuple[NDArray[Any], bool]:
    """Cholesky factor of the design's products under a unit prior, in the design's precision."""
    from scipy.linalg import cho_factor

    precision = design.T @ design
    precision[np.diag_indices_from(precision)] += 1.0
    factor: tuple[NDArray[Any], bool] = cho_factor(precision, lower=True, overwrite_a=True, check_finite=False)
    return factor


def rank_correlation(a: Array, b: Array) -> float:
    """Spearman's rank correlation; NaN where one of the two is constant."""
    from scipy.stats import rankdata

    x, y = rankdata(a), rankdata(b)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def _contrasts(choices: int) -> Array:
    """Orthogonal contrasts of ordered choices, unit variance: linear and quadratic, as far as there are any."""
    powers = np.vander(np.linspace(-1, 1, choices), min(choices, 3), increasing=True)
    contrasts: Array = np.linalg.qr(powers)[0][:, 1:] * np.sqrt(choices)
    return contrasts
