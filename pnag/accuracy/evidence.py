"""How strongly the features of each group count: the prior variances under which the data are most probable.

The model is y = offset + x · w + noise, with w of every feature drawn under the variance of its group, a wide prior
for the offset, and the noise of row i having the variance `noise · spread_i`. Groups of one kind are drawn together:
where the data say nothing of a group, it takes the strength of its kind instead of none at all, so that more data
can bring it out later.

Sources: Rasmussen and Williams, Gaussian Processes for Machine Learning, section 5.4; Zhou et al., MM Algorithms for
Variance Components Models, 2019, update 6.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Matrix = NDArray[np.float32]
Index = NDArray[np.int64]

_MM_STEPS, _STEPS = 12, 30
_WARM_STEPS = 6
_LIKENESS = 0.7  # of the logarithms of variances within a kind, as a standard deviation
_SMALLEST_RATIO = 1e-6  # by rounding, a quadratic form may be below 0
_LOWEST, _HIGHEST = -14.0, 4.0  # logarithms of a group's share of the variance of y


@dataclass(frozen=True)
class Strengths:
    """Prior variance of the features of each group, (groups,), and the noise's; `end` is where the search ended."""

    variances: Array
    noise: float
    end: Array
    evidence: float = -np.inf


class Evidence:
    """The groups' covariances of some rows, for targets that change. The first `mains` groups are main effects.

    `x` has shape (n, features), `groups` (features,); `kinds` (groups,) says which groups are of one kind, -1 of none.
    """

    def __init__(self, x: Matrix, groups: Index, kinds: Index, mains: int = 4) -> None:
        n, count = len(x), int(groups.max()) + 1
        self._kinds = [np.flatnonzero(kinds == kind) for kind in np.unique(kinds[kinds >= 0])]
        self._mains = mains
        self._lower = np.tril_indices(n)
        self._diagonal = np.cumsum(np.arange(1, n + 1)) - 1
        self._sizes, self._kernels = np.empty(count), np.empty((count, len(self._lower[0])))
        for group in range(count):
            part = x[:, groups == group].astype(np.float64)
            self._sizes[group] = max(1.0, float(np.square(part).sum()) / n)
            self._kernels[group] = (part @ part.T / self._sizes[group])[self._lower]

    def also(self, covariance: Matrix) -> Evidence:
        """The same with one more group, of which the covariances (n, n) of the rows are known, with unit variance."""
        more = copy(self)
        more._sizes = np.append(self._sizes, 1.0)
        more._kernels = np.concatenate([self._kernels, covariance[self._lower][None].astype(np.float64)])
        return more

    def maximise(self, y: Array, spread: Array, start: Strengths | None = None) -> Strengths:
        """The most probable variances for standardised targets y (n,); `start` are those of similar targets.

        The first steps are those of the minorise-maximise algorithm, which cannot overshoot; a quasi-Newton method
        goes on from there.
        """
        from scipy.optimize import minimize

        count = len(self._sizes)
        log = np.log([*([0.2] * self._mains), *([0.02] * (count - self._mains)), 0.1]) if start is None else start.end
        lowest, highest = np.array([_LOWEST] * count + [-9.0]), np.array([_HIGHEST] * count + [1.0])
        for _ in range(_MM_STEPS if start is None else 0):
            _, quadratic, trace = self._parts(log, y, spread)
            ratio = np.divide(quadratic, trace, out=np.ones_like(quadratic), where=trace > 0)  # 0 / 0: of no features
            log = np.clip(log + 0.5 * np.log(np.maximum(ratio, _SMALLEST_RATIO)), lowest, highest)
        found = minimize(
            self._negative_log_posterior, log, (y, spread), jac=True, bounds=list(zip(lowest, highest, strict=True)),
            method="L-BFGS-B", options={"maxiter": _STEPS if start is None else _WARM_STEPS},
        )  # fmt: skip
        return Strengths(np.exp(found.x[:-1]) / self._sizes, float(np.exp(found.x[-1])), found.x, -float(found.fun))

    def _negative_log_posterior(self, log: Array, y: Array, spread: Array) -> tuple[float, Array]:
        """Negative logarithm of the evidence and of how unlike groups of a kind are, with its gradient."""
        value, quadratic, trace = self._parts(log, y, spread)
        gradient = 0.5 * (trace - quadratic) * np.exp(log)
        for kind in self._kinds:
            each = log[kind] - np.log(self._sizes[kind])
            unlike = (each - each.mean()) / _LIKENESS**2
            value += 0.5 * float(unlike @ (each - each.mean()))
            gradient[kind] += unlike
        return value, gradient

    def _parts(self, log: Array, y: Array, spread: Array) -> tuple[float, Array, Array]:
        """Negative logarithm of the evidence; per component, αᵀKα and tr(Ω⁻¹K), which are equal at the optimum."""
        from scipy.linalg import cho_factor, cho_solve
        from scipy.linalg.lapack import dpotri

        n, variances = len(y), np.exp(log)
        covariance = np.empty((n, n), order="F")
        covariance[self._lower] = variances[:-1] @ self._kernels + 1.0
        covariance[np.diag_indices(n)] += variances[-1] * spread
        factor = cho_factor(covariance, lower=True, overwrite_a=True, check_finite=False)
        alpha = cho_solve(factor, y, check_finite=False)
        value = 0.5 * float(y @ alpha) + float(np.log(np.diag(factor[0])).sum())
        inverse = dpotri(factor[0], lower=1, overwrite_c=1)[0][self._lower]
        both = 2 * np.stack([alpha[self._lower[0]] * alpha[self._lower[1]], inverse], axis=1)
        both[self._diagonal] /= 2
        of_groups = self._kernels @ both  # (groups, 2)
        quadratic = np.append(of_groups[:, 0], np.square(alpha) @ spread)
        trace = np.append(of_groups[:, 1], inverse[self._diagonal] @ spread)
        return value, quadratic, trace
