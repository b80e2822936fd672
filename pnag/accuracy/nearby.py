"""What known accuracies say of networks near them, beyond the predictor: a correction, and the posterior deviation.

The predictor is one form for the whole space, and errs. Where networks that differ in a few layers err alike, the
residuals of known networks correct the predictions near them: a Gaussian process whose correlation falls with the
number of layers that differ, exp(-d / reach). A known network is then worth what was measured, as far as noise does
not explain it; far from all that is known, the deviation is the predictor's whole error.

Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, sections 2.2 and 2.7.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pnag.accuracy.predictor import AccuracyPredictor, LayerCodes, Predictor, alike
from pnag.space.tokens import Tokens, TokenSpace

Array = NDArray[np.float64]
Weights = NDArray[np.float32]

MOST_ROWS = 1000
_FEWEST = 30
_REACHES = (1.0, 2.0, 4.0, 8.0)  # layers
_SHARES = (0.0, 0.2, 0.5, 0.8, 0.95, 0.995)  # of the residuals' variance, that networks near each other share
_CHUNK = 2048


@dataclass(frozen=True)
class Nearby:
    """Known networks (m, length) with weights (m,) of their residuals.

    `reach` is in layers, `share` the part of the predictor's squared error that near networks have in common (the rest
    is noise), `error` the root mean square error of the predictor, as a fraction.
    """

    space: TokenSpace
    tokens: Tokens
    weights: Array
    reach: float
    share: float
    error: float

    @cached_property
    def _known(self) -> Weights:
        codec = LayerCodes(self.space)
        return codec.one_hot(codec.of(self.tokens))

    def __call__(self, tokens: Tokens) -> tuple[Array, Array]:
        """Correction of the prediction and its posterior deviation, as fractions, both (n,), of tokens (n, length).

        Tokens are canonical. The deviation takes the nearest known network alone into account: it is never too small
        for that.
        """
        codec = LayerCodes(self.space)
        correction, deviation = np.empty(len(tokens)), np.empty(len(tokens))
        for start in range(0, len(tokens), _CHUNK):
            part = slice(start, start + _CHUNK)
            near = alike(codec.one_hot(codec.of(tokens[part])), self._known, codec.layers, self.reach)
            near = near.astype(np.float64)
            correction[part] = near @ self.weights
            deviation[part] = 1 - self.share * np.square(near.max(axis=1))
        return correction, self.error * np.sqrt(self.share * np.maximum(deviation, 0.0))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything but the space, for a file."""
        return {
            "tokens": self.tokens, "weights": self.weights, "numbers": np.array([self.reach, self.share, self.error])
        }  # fmt: skip

    @classmethod
    def from_arrays(cls, space: TokenSpace, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The inverse of `arrays`. Raises `KeyError` or `ValueError` if they do not fit the space."""
        tokens, weights = arrays["tokens"], arrays["weights"]
        if tokens.shape != (len(weights), space.length):
            raise ValueError(f"known networks of shape {tokens.shape} do not fit {space.name}")
        reach, share, error = arrays["numbers"].tolist()
        return cls(space, tokens, weights, reach, share, error)


def fit_nearby(predictor: Predictor, tokens: Tokens, accuracy: Array) -> Nearby | None:
    """Learn from known networks (m, length) with measured accuracies (m,); at most `MOST_ROWS` are sensible.

    Reach and share are those under which the residuals are most probable. None where near networks have nothing in
    common, or there are too few to tell.
    """
    from scipy.linalg import cho_factor, cho_solve

    if len(tokens) < _FEWEST:
        return None
    codec = LayerCodes(predictor.space)
    rows = codec.one_hot(codec.of(tokens))
    residual = accuracy - predictor(tokens)
    residual = residual - residual.mean()  # known networks that are near the frontier are there by luck too
    variance = float(np.mean(np.square(residual)))
    if variance == 0:
        return None
    best, found = -np.inf, None
    for reach in _REACHES:
        near = alike(rows, rows, codec.layers, reach).astype(np.float64)
        for share in _SHARES:
            covariance = share * near
            covariance[np.diag_indices_from(covariance)] = 1.0
            factor = cho_factor(covariance, lower=True, overwrite_a=True, check_finite=False)
            weights = cho_solve(factor, residual, check_finite=False)
            evidence = -0.5 * float(residual @ weights) / variance - float(np.log(np.diag(factor[0])).sum())
            if evidence > best:
                best, found = evidence, (share * weights, reach, share)
    if found is None or found[2] == 0:
        return None
    weights, reach, share = found
    return Nearby(predictor.space, tokens, weights, reach, share, predictor.error)


def doubt_near(predictor: AccuracyPredictor) -> Nearby | None:
    """The doubt alone, of a predictor that knows networks itself; None where it has no local part."""
    local = predictor.local
    if local is None:
        return None
    nothing = np.zeros(len(local.tokens))
    return Nearby(predictor.space, local.tokens, nothing, local.reach, local.share, predictor.error)
