"""Learn the accuracy predictor: Bayesian linear regression on main effects and pairs, strengths from the evidence.

Every group of features (`pnag.accuracy.features`) has a prior variance of its own. All of them and the noise are found
by maximising the marginal likelihood (`pnag.accuracy.evidence`). An archive of a few hundred accuracies leaves the
pairs small and one of many thousands brings them out.

The accuracies themselves are learnt so first. Then, for ceilings ever nearer above the best of them, their merits
are: by a step of Fisher scoring each, from the last predictions p, on the working response
m(p) + (A - p) / (c - p), weighted by c - p since that is what the noise of an accuracy is divided by. The ceiling
stays that predicts held-out accuracies best, if it does so better than none, and further steps settle the merits.
Where there are many accuracies, all this is done with some of them, and one more step takes all.

Rows may count less than others (`spread`): a quadratic form that need not explain what is far from every answer fits
better where answers are.

Sources: Rasmussen and Williams, Gaussian Processes for Machine Learning, sections 2.1 and 5.4; McCullagh and
Nelder, Generalized Linear Models, section 2.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lut.calibration.ranks import rank_correlation
from pnag.accuracy.evidence import Evidence, Strengths
from pnag.accuracy.features import FeatureMap
from pnag.accuracy.predictor import AccuracyPredictor, LayerCodes, LocalPart, alike
from pnag.errors import ArchiveError
from pnag.space.tokens import Tokens, TokenSpace
from profiler.progress import Share

Array = NDArray[np.float64]
Matrix = NDArray[np.float32]
Index = NDArray[np.int64]
Factor = tuple[NDArray[Any], bool]

_FEWEST = 8
_HEADROOMS = (0.5, 0.2, 0.1, 0.05)  # of ceilings over the best accuracy, relative to the range of the accuracies
_SETTLING_STEPS = 2
_EVIDENCE_ROWS = 900
DUAL_ROWS = 4000
_LOO_ROWS = 2000
_JITTER = 1e-3  # relative, where a covariance is to be drawn from
_REACHES = (2.0, 5.0)  # layers
_LEAST_EVIDENCE = 5.0  # of a local part, as the logarithm of how much more probable it makes the accuracies


def fit_predictor(
    space: TokenSpace,
    tokens: Tokens,
    accuracy: Array,
    *,
    near: Index | None = None,
    seed: int = 0,
    report: Share | None = None,
) -> AccuracyPredictor:
    """Learn from measured accuracies, shapes (n, length) and (n,).

    Of so many that not all can be laid out in full, `near` (m,) are the rows that have a local part. The error is
    exact leave-one-out error. `report` is called with the share done, between 0 and 1. Raises
    `ArchiveError` for fewer than eight architectures.
    """
    return fit_posterior(space, tokens, accuracy, near=near, seed=seed, report=report).predictor


def fit_posterior(
    space: TokenSpace,
    tokens: Tokens,
    accuracy: Array,
    *,
    spread: Array | None = None,
    start: Start | None = None,
    near: Index | None = None,
    seed: int = 0,
    report: Share | None = None,
) -> Posterior:
    """The same with its posterior distribution.

    `spread` (n,) multiplies the noise variance of each row, 1 unless given. `start` is where learning
    from fewer of the same accuracies ended: the search for strengths goes on there, and no other ceiling is tried.
    """
    if len(tokens) < _FEWEST:
        raise ArchiveError(f"{len(tokens)} accuracies are too few to learn from; give {_FEWEST} or more")
    order = _drawn_order(len(tokens), spread, np.random.default_rng(seed))
    some = np.sort(order[:DUAL_ROWS])
    rows = np.searchsorted(some, np.sort(order[: len(some)][:_EVIDENCE_ROWS]))
    low, high = float(accuracy.min()), float(accuracy.max())
    counts = np.ones(len(tokens)) if spread is None else spread**-0.5
    learner = _Learner(FeatureMap(space), tokens[some], accuracy[some], counts[some], (low, high))
    features = learner.features
    evidence = Evidence(learner.x[rows], features.groups, features.alike, features.mains)
    begun = None if start is None else Strengths(np.exp(start.end[:-1]), float(np.exp(start.end[-1])), start.end)
    steps = _Steps(learner, evidence, rows, report or (lambda share: None), begun)
    best = last = steps.take(None, np.inf)
    for ceiling in _ceilings(start, low, high):
        last = steps.take(last.predictor, ceiling)
        if last.predictor.error > best.predictor.error:
            break
        best = last
    for _ in range(_SETTLING_STEPS if np.isfinite(best.predictor.ceiling) and start is None else 0):
        settled = steps.take(best.predictor, best.predictor.ceiling)
        if settled.predictor.error > best.predictor.error:
            break
        best = settled
    best = _with_local(best, evidence, rows)
    if len(some) < len(tokens):
        every = _Learner(learner.features, tokens, accuracy, counts, (low, high), best.learner.reach, near)
        target = every.target(best.predictor, best.predictor.ceiling)
        best = replace(best, predictor=every.learn(target, best.strengths))
    if report is not None:
        report(1.0)
    return best


def _with_local(found: Posterior, evidence: Evidence, rows: Index) -> Posterior:
    """The same with a local part, of the reach that makes the accuracies most probable; without one where none does."""
    target, strengths = found.target, found.strengths
    some, y, spread = found.learner.tokens[rows], target.standard[rows], target.weight[rows] ** -2.0
    without = evidence.maximise(y, spread, strengths)
    best, at = without.evidence + _LEAST_EVIDENCE, 0.0
    for reach in _REACHES:
        more = evidence.also(_alike(found.learner.features, some, reach))
        start = np.insert(without.end, -1, without.end[-1] - 1)
        start[-1] -= 0.5
        tried = more.maximise(y, spread, Strengths(np.exp(start[:-1]), float(np.exp(start[-1])), start))
        if tried.evidence > best:
            best, at, strengths = tried.evidence, reach, tried
    if not at:
        return found
    learner = replace(found.learner, reach=at)
    return Posterior(learner.learn(target, strengths), learner, target, strengths)


def _alike(features: FeatureMap, tokens: Tokens, reach: float) -> Matrix:
    codec = LayerCodes(features.space)
    rows = codec.one_hot(codec.of(tokens))
    return alike(rows, rows, codec.layers, reach)


def _drawn_order(n: int, spread: Array | None, rng: np.random.Generator) -> Index:
    """All rows in random order; those of little spread tend to be first.

    Source: Efraimidis and Spirakis, Weighted Random Sampling with a Reservoir, 2006, as a race of exponentials.
    """
    return rng.permutation(n) if spread is None else np.argsort(rng.exponential(spread), kind="stable")


def _ceilings(start: Start | None, low: float, high: float) -> Sequence[float]:
    """The ceilings to try one after another."""
    if high <= low:
        return ()
    if start is None:
        return [high + headroom * (high - low) for headroom in _HEADROOMS]
    if np.isinf(start.ceiling):
        return ()
    return (max(start.ceiling, high + _HEADROOMS[-1] * (high - low)),)


@dataclass(frozen=True)
class _Target:
    """What weights are learnt for: targets y (n,), how much each counts over the noise, and the merits' ceiling.

    `mean_slope` is the mean of dA/dm = c - A, which the weights are relative to.
    """

    y: Array
    weight: Array
    ceiling: float
    mean_slope: float = 1.0

    @cached_property
    def mean(self) -> float:
        """Weighted mean of y."""
        return float(np.average(self.y, weights=self.weight**2))

    @cached_property
    def scale(self) -> float:
        """Deviation of y, 1 where it has none."""
        return float(self.y.std()) or 1.0

    @property
    def standard(self) -> Array:
        """y less its mean, over its deviation."""
        return (self.y - self.mean) / self.scale


@dataclass(frozen=True)
class Start:
    """Where the search for strengths ended (groups + 1,), and the ceiling that was found best, as a fraction."""

    end: Array
    ceiling: float


@dataclass(frozen=True)
class Posterior:
    """The posterior distribution of predictors, given the accuracies that were learnt from; `predictor` is its mean."""

    predictor: AccuracyPredictor
    learner: _Learner
    target: _Target
    strengths: Strengths

    @property
    def end(self) -> Start:
        """Where learning ended, for when there are more accuracies. Whether there is a local part is asked anew."""
        end = self.strengths.end
        if self.learner.reach:
            end = np.append(end[:-2], np.logaddexp(end[-2], end[-1]))
        return Start(end, self.target.ceiling)

    def grown(self, tokens: Tokens, accuracy: Array, spread: Array | None = None) -> Posterior:
        """From more accuracies, all of them given, at most `DUAL_ROWS`: with the same strengths, ceiling and reach.

        A fraction of the work of `fit_posterior`, for when there are not many more.
        """
        counts = np.ones(len(tokens)) if spread is None else spread**-0.5
        between = float(accuracy.min()), float(accuracy.max())
        learner = replace(self.learner, tokens=tokens, accuracy=accuracy, counts=counts, between=between)
        target = learner.target(self.predictor, self.target.ceiling)
        return Posterior(learner.learn(target, self.strengths), learner, target, self.strengths)

    @property
    def has_local_part(self) -> bool:
        """Whether near networks were found to have something in common that the quadratic form leaves open."""
        return self.learner.reach > 0

    def draw(self, rng: np.random.Generator) -> AccuracyPredictor:
        """A predictor drawn from the posterior distribution.

        Where more accuracies were learnt from than are laid out in full, the distance is that of the part which was.
        Source: Wilson et al., Efficiently Sampling Functions from Gaussian Process Posteriors, 2020: Matheron's rule.
        """
        from scipy.linalg import cho_solve, solve_triangular

        x, factor, prior = self._covariance_factor
        weights, offset = np.sqrt(prior) * rng.standard_normal(len(prior)), float(rng.standard_normal())
        noise = np.sqrt(self.strengths.noise) * rng.standard_normal(len(x))
        said = x @ weights.astype(np.float32) + self.target.weight * offset + noise
        local = self._alpha
        if self.learner.reach:  # the local part is drawn at the rows, and between them what these say of it
            drawn = rng.standard_normal(len(x))
            said += self._local_root @ drawn
            local = local + solve_triangular(self._local_root, drawn, trans=1, lower=True, check_finite=False)
        known = cho_solve(factor, said, check_finite=False)
        weights -= prior * (x.T @ known.astype(np.float32))
        offset -= float(known @ self.target.weight)
        main, pairs = self.learner.features.quadratic_form(self.target.scale * weights)
        mean = self.predictor
        return replace(
            mean,
            bias=mean.bias + self.target.scale * offset,
            main=mean.main + main.astype(np.float32),
            pairs=mean.pairs + pairs.astype(np.float32),
            local=self.learner.local(self.target, self.strengths, local - known),
        )

    def scaled(self, tokens: Tokens) -> Matrix:
        """Features and a one for the offset, (n, features + 1), scaled so that products are covariances of merits.

        These are the covariances before any accuracy is known, in the unit of the standardised targets.
        """
        prior = self.strengths.variances[self.learner.features.groups]
        scaled = self.learner.features(tokens) * np.sqrt(prior).astype(np.float32)
        return np.concatenate([scaled, np.ones((len(tokens), 1), dtype=np.float32)], axis=1)

    def slope(self, tokens: Tokens) -> Matrix:
        """The inverse link's derivative dA/dm, (n,), over its mean where it was learnt: less near the ceiling."""
        if np.isinf(self.target.ceiling):
            return np.ones(len(tokens), dtype=np.float32)
        at = np.clip(self.predictor(tokens), *self.learner.between)
        return ((self.target.ceiling - at) / self.target.mean_slope).astype(np.float32)

    @property
    def unexplained(self) -> float:
        """Variance of one accuracy that the quadratic form leaves: noise, and the local part where there is one."""
        return self.strengths.noise + (float(self.strengths.variances[-1]) if self.learner.reach else 0.0)

    def whitened(self, rows: Matrix) -> Matrix:
        """Whitened prior covariances of the known accuracies with combinations of `scaled` rows, (n, m).

        `rows` has shape (m, features + 1). It is L⁻¹ K with L the Cholesky factor of the known accuracies' covariance:
        the prior covariance of two combinations less the product of their columns is their posterior covariance.
        """
        from scipy.linalg import solve_triangular

        x, factor, prior = self._covariance_factor
        shared = (x * np.sqrt(prior).astype(np.float32)) @ rows[:, :-1].T
        shared += np.outer(self.target.weight, rows[:, -1])
        whitened: Matrix = solve_triangular(factor[0], shared, lower=True, check_finite=False).astype(np.float32)
        return whitened

    @cached_property
    def _covariance_factor(self) -> tuple[Matrix, Factor, Array]:
        """Features (n, features) times the targets' weights, the factor of their covariance, variances of features."""
        x, prior = self.learner.weighted(self.target), self.strengths.variances[self.learner.features.groups]
        local = self.learner.shared(self.target, self.strengths)
        return x, _factor_covariance(x, self.target.weight, prior, self.strengths.noise, local), prior

    @cached_property
    def _alpha(self) -> Array:
        """Weights of the rows in the best guess, (n,)."""
        from scipy.linalg import cho_solve

        alpha: Array = cho_solve(
            self._covariance_factor[1], self.target.weight * self.target.standard, check_finite=False
        )
        return alpha

    @cached_property
    def _local_root(self) -> Array:
        """A root of the local part's covariance of the rows, (n, n)."""
        from scipy.linalg import cholesky

        shared = self.learner.shared(self.target, self.strengths)
        assert shared is not None
        covariance = shared.astype(np.float64)
        covariance[np.diag_indices_from(covariance)] *= 1 + _JITTER
        root: Array = cholesky(covariance, lower=True, check_finite=False)
        return root


@dataclass
class _Steps:
    """Steps of learning one after another: the search for strengths goes on where the last one ended."""

    learner: _Learner
    evidence: Evidence
    rows: Index
    report: Share
    strengths: Strengths | None = None
    taken: int = 0

    def take(self, last: AccuracyPredictor | None, ceiling: float) -> Posterior:
        """What is learnt with that ceiling, starting from what the last predictor says."""
        target, rows = self.learner.target(last, ceiling), self.rows
        self.strengths = self.evidence.maximise(target.standard[rows], target.weight[rows] ** -2.0, self.strengths)
        predictor = self.learner.learn(target, self.strengths)
        self.taken += 1
        self.report(min(1.0, self.taken / (1 + len(_HEADROOMS) + _SETTLING_STEPS)))
        return Posterior(predictor, self.learner, target, self.strengths)


@dataclass(frozen=True)
class _Learner:
    """Learns linear weights of the same architectures for targets that change.

    `counts` (n,) is how much a row counts, as a factor of its residual; `between` are the lowest and the highest
    accuracy, which predictions are held to.
    """

    features: FeatureMap
    tokens: Tokens
    accuracy: Array
    counts: Array
    between: tuple[float, float]
    reach: float = 0.0
    near: Index | None = None

    @cached_property
    def x(self) -> Matrix:
        """All features, (n, features)."""
        return self.features(self.tokens)

    def weighted(self, target: _Target) -> Matrix:
        """All features, each row times its target's weight."""
        return self.x if np.ptp(target.weight) == 0 else self.x * target.weight[:, None].astype(np.float32)

    @cached_property
    def _alike(self) -> Matrix:
        """Correlations of the local part, (n, n)."""
        return _alike(self.features, self.tokens, self.reach)

    def shared(self, target: _Target, strengths: Strengths) -> Matrix | None:
        """Covariances of the local part of weighted rows, (n, n); None without one."""
        if not self.reach:
            return None
        root = (np.sqrt(strengths.variances[-1]) * target.weight).astype(np.float32)
        covariance: Matrix = self._alike * root * root[:, None]
        return covariance

    def local(self, target: _Target, strengths: Strengths, alpha: Array) -> LocalPart | None:
        """The local part with these weights of the weighted rows, (n,)."""
        if not self.reach:
            return None
        variance = float(strengths.variances[-1])
        weights = target.scale * variance * target.weight * alpha
        return LocalPart(self.features.space, self.tokens, weights, self.reach, variance / (variance + strengths.noise))

    def _local_of(self, rows: Index, target: _Target, strengths: Strengths, residual: Array) -> LocalPart:
        """The local part of some rows (m,) from their weighted residuals, each of a fit without it."""
        part = replace(self, tokens=self.tokens[rows])
        of_rows = replace(target, weight=target.weight[rows])
        shared = part.shared(of_rows, strengths)
        assert shared is not None
        covariance = shared.astype(np.float64)
        covariance[np.diag_indices_from(covariance)] += strengths.noise
        alpha: Array = np.linalg.solve(covariance, residual).astype(np.float64)
        local = part.local(of_rows, strengths, alpha)
        assert local is not None
        return local

    def target(self, last: AccuracyPredictor | None, ceiling: float) -> _Target:
        """What is learnt next: the accuracies, or merits near those that the last predictor gives."""
        if last is None or np.isinf(ceiling):
            return _Target(self.accuracy, self.counts, ceiling)
        at = np.clip(last(self.tokens), *self.between)
        slope = ceiling - at
        mean = float(slope.mean())
        return _Target((self.accuracy - at) / slope - np.log(slope), self.counts * slope / mean, ceiling, mean)

    def learn(self, target: _Target, strengths: Strengths) -> AccuracyPredictor:
        """The predictor for a target, and its errors."""
        y, weight, ceiling, scale = target.y, target.weight, target.ceiling, target.scale
        x = self.weighted(target)
        prior = strengths.variances[self.features.groups]
        known = x, weight * target.standard, weight, prior, strengths.noise
        if len(x) <= DUAL_ROWS:
            weights, offset, residual, alpha = _solve_dual(*known, local=self.shared(target, strengths))
            local = self.local(target, strengths, alpha)
        else:
            near = np.empty(0, dtype=np.int64) if self.near is None else self.near
            first = np.arange(min(len(x), _LOO_ROWS))
            weights, offset, both = _solve_primal(*known, judged=np.concatenate([first, near]))
            residual, of_near = both[: len(first)], both[len(first) :]
            local = self._local_of(near, target, strengths, of_near) if len(near) and self.reach else None
        main, pairs = self.features.quadratic_form(weights)
        judged = slice(0, len(residual))
        mean_slope = 1.0 if np.isinf(ceiling) else float((ceiling - self.accuracy).mean())
        found = AccuracyPredictor(
            self.features.space,
            target.mean + scale * offset,
            (scale * main).astype(np.float32),
            (scale * pairs).astype(np.float32),
            error=0.0,
            rank_correlation=0.0,
            noise=mean_slope * scale * float(np.sqrt(strengths.noise)),
            ceiling=ceiling,
            local=local,
        )
        predicted = found.accuracy(y[judged] - scale * residual / weight[judged])
        squared = np.square(predicted - self.accuracy[judged])
        return replace(
            found,
            error=float(np.sqrt(np.average(squared, weights=self.counts[judged] ** 2))),
            rank_correlation=rank_correlation(predicted, self.accuracy[judged]),
        )


def _factor_covariance(x: Matrix, ones: Array, prior: Array, noise: float, local: Matrix | None) -> Factor:
    """Cholesky factor of the rows' (n, n) covariance, offset (whose column is `ones`) and noise included."""
    from scipy.linalg import cho_factor

    scaled = x * np.sqrt(prior).astype(np.float32)
    covariance = (scaled @ scaled.T).astype(np.float64) + np.outer(ones, ones)
    if local is not None:
        covariance += local
    covariance[np.diag_indices_from(covariance)] += noise
    factor: Factor = cho_factor(covariance, lower=True, overwrite_a=True, check_finite=False)
    return factor


def _solve_dual(
    x: Matrix, y: Array, ones: Array, prior: Array, noise: float, *, local: Matrix | None = None
) -> tuple[Array, float, Array, Array]:
    """Weights, offset (whose column is `ones`), leave-one-out residuals and the rows' weights, through the (n, n)
    covariance."""
    from scipy.linalg import cho_solve
    from scipy.linalg.lapack import dpotri

    factor = _factor_covariance(x, ones, prior, noise, local)
    alpha = cho_solve(factor, y, check_finite=False)
    weights = prior * (x.T @ alpha.astype(np.float32))
    inverse, _ = dpotri(factor[0], lower=1, overwrite_c=1)
    return weights, float(alpha @ ones), alpha / np.diag(inverse), alpha


def _solve_primal(
    x: Matrix, y: Array, ones: Array, prior: Array, noise: float, *, judged: Index | None = None
) -> tuple[Array, float, Array]:
    """The same through the (features, features) precision; residuals of the rows `judged` only, by default the first.

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
    judged = np.arange(len(x))[:_LOO_ROWS] if judged is None else judged
    rows = design[judged]
    leverage = np.square(solve_triangular(factor[0], rows.T, lower=True, check_finite=False)).sum(axis=0)
    residual = (y[judged] - rows @ solution) / np.maximum(1 - leverage, 1e-6)
    return solution[:-1].astype(np.float64) * scale, float(solution[-1] / np.sqrt(noise)), residual


def _factor_precision(design: NDArray[Any]) -> Factor:
    """Cholesky factor of the design's products under a unit prior, in the design's precision."""
    from scipy.linalg import cho_factor

    precision = design.T @ design
    precision[np.diag_indices_from(precision)] += 1.0
    factor: Factor = cho_factor(precision, lower=True, overwrite_a=True, check_finite=False)
    return factor
