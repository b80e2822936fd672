"""What the accuracy predictor sees of an architecture: numbers of its layers, and products of two layers' numbers.

A layer is described by nine numbers: whether it is present, two contrasts each of its expand ratio and its
kernel (linear and quadratic in the order of the choices), and their four products; all are 0 for an absent
layer. Features are these numbers (main effects) and products of two layers' numbers (pairs), within a unit
in full, across units with the plain contrasts only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pnag.accuracy.predictor import LayerCodes
from pnag.space.tokens import Tokens, TokenSpace

Array = NDArray[np.float64]
Matrix = NDArray[np.float32]
Index = NDArray[np.int64]


@dataclass(frozen=True)
class FeatureMap:
    """The features of a space: columns of numbers per layer, and which pairs of columns are multiplied.

    Groups are numbered main effects first: four, as many as kinds of numbers; then those of pairs.
    """

    space: TokenSpace

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
    def _pairs(self) -> tuple[Index, Index, Index, Index]:
        """Left column, right column and group of each pair of layers' numbers; what each of these groups is of.

        A group of pairs is of two kinds of numbers, low · 4 + high, and 16 more between layers of different units.
        """
        _, kinds = self.layer_numbers
        layers, per_layer = LayerCodes(self.space).layers, len(kinds)
        layer, kind = np.repeat(np.arange(layers), per_layer), np.tile(kinds, layers)
        left, right = np.nonzero(layer[:, None] < layer[None, :])
        unit = layer // self.space.layers
        within = unit[left] == unit[right]
        low, high = np.minimum(kind[left], kind[right]), np.maximum(kind[left], kind[right])
        keep = within | (high < 3)
        of, group = np.unique((low * 4 + high + np.where(within, 0, 16))[keep], return_inverse=True)
        return left[keep], right[keep], group + 4, of

    @cached_property
    def groups(self) -> Index:
        """Group of every feature, main effects and then pairs."""
        _, kinds = self.layer_numbers
        return np.concatenate([np.tile(kinds, LayerCodes(self.space).layers), self._pairs[2]])

    @cached_property
    def alike(self) -> Index:
        """Which groups should be about as strong as each other, (groups,): pairs within a unit (0), across units (1).

        -1 for main effects, and for pairs of presences, which say how deep units are: those are a kind of their own.
        """
        of = self._pairs[3]
        return np.concatenate([np.full(4, -1), np.where(of % 16 == 0, -1, of // 16)])

    def columns(self, tokens: Tokens) -> Matrix:
        """The layers' numbers, shape (n, columns)."""
        numbers, _ = self.layer_numbers
        codes = LayerCodes(self.space).of(tokens)
        return numbers[codes].reshape(len(codes), -1).astype(np.float32)

    def __call__(self, tokens: Tokens) -> Matrix:
        """All features, shape (n, features)."""
        columns = self.columns(tokens)
        left, right, _, _ = self._pairs
        out = np.empty((len(columns), columns.shape[1] + len(left)), dtype=np.float32)
        out[:, : columns.shape[1]] = columns
        np.multiply(columns[:, left], columns[:, right], out=out[:, columns.shape[1] :])
        return out

    def quadratic_form(self, weights: Array) -> tuple[Array, Array]:
        """Weights of features as weights of codes: main (layers · codes,) and pairs, symmetric."""
        numbers, kinds = self.layer_numbers
        layers = LayerCodes(self.space).layers
        size = layers * len(kinds)
        left, right, _, _ = self._pairs
        pairs = np.zeros((size, size))
        pairs[left, right] = weights[size:]
        expand = np.kron(np.eye(layers), numbers)  # (layers · codes, layers · numbers)
        full = expand @ (pairs + pairs.T) @ expand.T
        return expand @ weights[:size], full


def _contrasts(choices: int) -> Array:
    """Orthogonal contrasts of ordered choices, unit variance: linear and quadratic, as far as there are any."""
    powers = np.vander(np.linspace(-1, 1, choices), min(choices, 3), increasing=True)
    contrasts: Array = np.linalg.qr(powers)[0][:, 1:] * np.sqrt(choices)
    return contrasts
