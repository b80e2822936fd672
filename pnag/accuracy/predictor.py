"""Accuracy of an architecture from what its layers are: main effects and pairs of layers, as one quadratic form.

Every layer has a code: 0 if it is absent, else 1 + its choice of expand ratio and kernel. An architecture's
merit and its predicted accuracy are

    m(a) = bias + Σ_l w[l, code_l] + ½ Σ_l Σ_m W[l, code_l, m, code_m],    Â(a) = ceiling - exp(-m(a)),

so that the merits of *all* networks which differ from `a` in one layer come from one matrix product. Accuracy
levels off as networks grow: what a layer brings is the same share of the distance to the ceiling, not the
same number of points. Without a ceiling, which is infinite then, merit and accuracy are the same.
How the weights are learnt is in `pnag.accuracy.predictor_fit`; this module needs numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from pnag.space.tokens import Tokens, TokenSpace, resolution_indices, unit_tokens

Array = NDArray[np.float64]
Codes = NDArray[np.int64]
Weights = NDArray[np.float32]

_CHUNK = 4096
_LOWEST = 50.0  # of minus the merit: no network is that bad, and its exponential is still a number


@dataclass(frozen=True)
class LayerCodes:
    """Tokens as one code per layer, and back. Layers are counted over all units, `layers` in total.

    Where the space has several resolutions, the last of the `layers` stands for that choice; its code is the index.
    """

    space: TokenSpace

    @property
    def layers(self) -> int:
        """Layers of the largest network, and one for the resolution where there are several."""
        return self.in_units + (1 if self.space.resolution_choices > 1 else 0)

    @property
    def in_units(self) -> int:
        """Layers of the largest network."""
        return self.space.units * self.space.layers

    @property
    def codes(self) -> int:
        """Codes of a layer, absent or one of expands × kernels; no fewer than there are resolutions."""
        return max(1 + len(self.space.expands) * len(self.space.kernels), self.space.resolution_choices)

    def of(self, tokens: Tokens) -> Codes:
        """Codes of canonical tokens, shape (n, layers)."""
        units = unit_tokens(self.space, tokens).astype(np.int64)
        codes = np.maximum(len(self.space.kernels) * (units[:, :, 1::2] - 1) + units[:, :, 2::2], 0)
        flat: Codes = codes.reshape(len(codes), self.in_units)
        if self.space.resolution_choices == 1:
            return flat
        return np.concatenate([flat, resolution_indices(self.space, tokens)[:, None]], axis=1)

    def tokens(self, codes: Codes) -> Tokens:
        """The inverse of `of`, shape (n, length). Present layers must come first and be as many as a depth."""
        space = self.space
        by_unit = codes[:, : self.in_units].reshape(-1, space.units, space.layers)
        depth = (by_unit > 0).sum(axis=2)
        index = np.zeros(space.layers + 1, dtype=np.int8)
        index[list(space.depths)] = np.arange(len(space.depths))
        out = np.zeros((len(by_unit), space.units, space.tokens_per_unit), dtype=np.int8)
        present, choice = by_unit > 0, np.maximum(by_unit - 1, 0)
        out[:, :, 0] = index[depth]
        out[:, :, 1::2] = np.where(present, choice // len(space.kernels) + 1, 0)
        out[:, :, 2::2] = np.where(present, choice % len(space.kernels) + 1, 0)
        flat = out.reshape(len(out), -1)
        return np.concatenate([flat, codes[:, self.in_units :].astype(np.int8)], axis=1)

    def one_hot(self, codes: Codes) -> Weights:
        """Shape (n, layers · codes), float32."""
        out = np.zeros((len(codes), self.layers * self.codes), dtype=np.float32)
        columns = codes + np.arange(self.layers) * self.codes
        out[np.arange(len(codes))[:, None], columns] = 1.0
        return out


class Predictor(Protocol):
    """What predicts accuracies of a space and says what single changes of an architecture would bring.

    `merit` is what changes add up in, at least for small ones; `accuracy` grows with it. `error` is the root mean
    square error on architectures that took no part in the learning, as a fraction.
    """

    @property
    def space(self) -> TokenSpace:
        """The encoding of architectures."""

    @property
    def error(self) -> float:
        """Typical error, as a fraction."""

    @property
    def rank_correlation(self) -> float:
        """Spearman's, of the same predictions."""

    def __call__(self, tokens: Tokens) -> Array:
        """Predicted accuracy, shape (n,), of canonical tokens of shape (n, length)."""

    def merit(self, tokens: Tokens) -> Array:
        """Shape (n,)."""

    def accuracy(self, merit: Array) -> Array:
        """Accuracy of networks of that merit, of any shape."""

    def changes(self, codes: Codes) -> Array:
        """What setting one layer to another code adds to the merit, (n, layers, codes); 0 for the present code."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything but the space, for a file."""


class Correction(Protocol):
    """What is known of networks near those that are predicted: `pnag.accuracy.nearby.Nearby` is one."""

    def __call__(self, tokens: Tokens) -> tuple[Array, Array]:
        """Correction of the prediction and its posterior deviation, as fractions, both (n,), of tokens (n, length)."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything but the space, for a file."""


@dataclass(frozen=True)
class AccuracyPredictor:
    """The quadratic form and the ceiling, learnt, with the error on architectures that took no part in the learning.

    `main` has shape (layers · codes,), `pairs` (layers · codes, layers · codes), symmetric and zero between
    codes of the same layer. `error` is the root mean square error on unseen architectures, as a fraction,
    the noise of the measured accuracies included; `rank_correlation` is of the same unseen predictions.
    """

    space: TokenSpace
    bias: float
    main: Weights
    pairs: Weights
    error: float
    rank_correlation: float
    noise: float
    ceiling: float = np.inf

    @property
    def codes(self) -> LayerCodes:
        """How tokens become codes."""
        return LayerCodes(self.space)

    def __call__(self, tokens: Tokens) -> Array:
        """Predicted accuracy, shape (n,), of canonical tokens of shape (n, length)."""
        return self.accuracy(self.merit(tokens))

    def accuracy(self, merit: Array) -> Array:
        """Accuracy of networks of that merit, of any shape; it grows with the merit."""
        return merit if np.isinf(self.ceiling) else self.ceiling - np.exp(np.minimum(-merit, _LOWEST))

    def merit(self, tokens: Tokens) -> Array:
        """m(a), shape (n,), of canonical tokens of shape (n, length)."""
        codec, out = self.codes, np.empty(len(tokens))
        for start in range(0, len(tokens), _CHUNK):
            x = codec.one_hot(codec.of(tokens[start : start + _CHUNK]))
            out[start : start + _CHUNK] = np.einsum("nf,nf->n", x, x @ (self.pairs / 2) + self.main)
        return out + self.bias

    def changes(self, codes: Codes) -> Array:
        """What setting one layer to another code adds to the merit, (n, layers, codes); 0 for the present code."""
        codec = self.codes
        field = (codec.one_hot(codes) @ self.pairs + self.main).reshape(len(codes), codec.layers, codec.codes)
        now = np.take_along_axis(field, codes[:, :, None], axis=2)
        return np.asarray(field - now, dtype=np.float64)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything but the space, for a file."""
        numbers = np.array([self.bias, self.error, self.rank_correlation, self.noise, self.ceiling])
        return {"numbers": numbers, "main": self.main, "pairs": self.pairs}

    @classmethod
    def from_arrays(cls, space: TokenSpace, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The inverse of `arrays`. Raises `KeyError` or `ValueError` if they do not fit the space."""
        main, pairs = arrays["main"], arrays["pairs"]
        codec = LayerCodes(space)
        if main.shape != (codec.layers * codec.codes,) or pairs.shape != main.shape * 2:
            raise ValueError(f"a predictor of shapes {main.shape} and {pairs.shape} does not fit {space.name}")
        bias, error, correlation, noise, ceiling = arrays["numbers"].tolist()
        return cls(space, bias, main, pairs, error, correlation, noise, ceiling)
