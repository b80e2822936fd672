"""Accuracy of an architecture from what its layers are: main effects and pairs of layers, as one quadratic form.

Every layer has a code: 0 if it is absent, else 1 + its choice of expand ratio and kernel. An architecture's
merit and its predicted accuracy are

    m(a) = bias + Σ_l w[l, code_l] + ½ Σ_l Σ_m W[l, code_l, m, code_m],    Â(a) = ceiling - exp(-m(a)),

so that the merits of *all* networks which differ from `a` in one layer come from one matrix product. Accuracy
levels off as networks grow: what a layer brings is the same share of the distance to the ceiling, not the
same number of points. Without a ceiling, which is infinite then, merit and accuracy are the same.
Beyond that, networks near each other may have something in common, the local part: a term of the merit that is learnt
together with the others, from the same accuracies, so that neither explains what the other does.
How the weights are learnt is in `pnag.accuracy.predictor_fit`; this module needs numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from pnag.space.tokens import Tokens, TokenSpace, resolution_indices, unit_tokens

Array = NDArray[np.float64]
Codes = NDArray[np.int64]
Weights = NDArray[np.float32]

_CHUNK = 4096
_LOCAL = "local_"  # before the names of the local part's arrays
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
class LocalPart:
    """What networks that differ in few layers have in common: known ones (m, length) with weights (m,).

    A Gaussian process whose correlation falls with the number of layers that differ, exp(-d / reach), `reach` in
    layers. Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, sections 2.2 and 2.7.
    `share` is the part of what the quadratic form leaves open that near networks have in common; the rest is noise.
    """

    space: TokenSpace
    tokens: Tokens
    weights: Array
    reach: float
    share: float

    @cached_property
    def _known(self) -> Weights:
        codec = LayerCodes(self.space)
        return codec.one_hot(codec.of(self.tokens))

    def __call__(self, tokens: Tokens) -> Array:
        """What they add to the merits of canonical tokens (n, length), (n,)."""
        out = np.empty(len(tokens))
        codec, weights = LayerCodes(self.space), self.weights.astype(np.float32)
        for start in range(0, len(tokens), _CHUNK):
            part = slice(start, start + _CHUNK)
            out[part] = alike(codec.one_hot(codec.of(tokens[part])), self._known, codec.layers, self.reach) @ weights
        return out

    def changes(self, codes: Codes) -> Array:
        """What setting one layer to another code adds to that, (n, layers, codes); 0 for the present code.

        Where a known network has the new code, one layer less differs from it; where it has the present one, one more.
        """
        codec = LayerCodes(self.space)
        shares = alike(codec.one_hot(codes), self._known, codec.layers, self.reach) * self.weights.astype(np.float32)
        having = (shares @ self._known).reshape(len(codes), codec.layers, codec.codes)
        now = np.take_along_axis(having, codes[:, :, None], axis=2)
        nearer, further = np.expm1(1 / self.reach), np.expm1(-1 / self.reach)
        out = np.asarray(nearer * having + further * now, dtype=np.float64)
        np.put_along_axis(out, codes[:, :, None], 0.0, axis=2)
        return out

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything but the space, for a file."""
        return {"tokens": self.tokens, "weights": self.weights, "numbers": np.array([self.reach, self.share])}

    @classmethod
    def from_arrays(cls, space: TokenSpace, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The inverse of `arrays`. Raises `KeyError` or `ValueError` if they do not fit the space."""
        tokens, weights = arrays["tokens"], arrays["weights"]
        if tokens.shape != (len(weights), space.length):
            raise ValueError(f"known networks of shape {tokens.shape} do not fit {space.name}")
        reach, share = arrays["numbers"].tolist()
        return cls(space, tokens, weights, reach, share)


def alike(a: Weights, b: Weights, layers: int, reach: float) -> Weights:
    """Correlation of networks given as one-hot layer codes, (n, m): exp(-differing layers / reach)."""
    out: Weights = a @ b.T
    out -= np.float32(layers)
    out *= np.float32(1 / reach)
    return np.exp(out, out=out)


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
    local: LocalPart | None = None

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
        out += self.bias
        return out if self.local is None else out + self.local(tokens)

    def changes(self, codes: Codes) -> Array:
        """What setting one layer to another code adds to the merit, (n, layers, codes); 0 for the present code."""
        codec = self.codes
        field = (codec.one_hot(codes) @ self.pairs + self.main).reshape(len(codes), codec.layers, codec.codes)
        now = np.take_along_axis(field, codes[:, :, None], axis=2)
        changes = np.asarray(field - now, dtype=np.float64)
        return changes if self.local is None else changes + self.local.changes(codes)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything but the space, for a file."""
        numbers = np.array([self.bias, self.error, self.rank_correlation, self.noise, self.ceiling])
        local = {} if self.local is None else {f"{_LOCAL}{name}": array for name, array in self.local.arrays().items()}
        return {"numbers": numbers, "main": self.main, "pairs": self.pairs, **local}

    @classmethod
    def from_arrays(cls, space: TokenSpace, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The inverse of `arrays`. Raises `KeyError` or `ValueError` if they do not fit the space."""
        main, pairs = arrays["main"], arrays["pairs"]
        codec = LayerCodes(space)
        if main.shape != (codec.layers * codec.codes,) or pairs.shape != main.shape * 2:
            raise ValueError(f"a predictor of shapes {main.shape} and {pairs.shape} does not fit {space.name}")
        bias, error, correlation, noise, ceiling = arrays["numbers"].tolist()
        parts = {name.removeprefix(_LOCAL): array for name, array in arrays.items() if name.startswith(_LOCAL)}
        local = LocalPart.from_arrays(space, parts) if parts else None
        return cls(space, bias, main, pairs, error, correlation, noise, ceiling, local)
