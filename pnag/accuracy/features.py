"""What the accuracy predictor sees of an architecture: numbers of its layers, and products of two layers' numbers.

A layer is described by nine numbers: whether it is present, two contrasts each of its expand ratio and its
kernel (linear and quadratic in the order of the choices), and their four products; all are 0 for an absent
layer. Features are these numbers (main effects) and products of two layers' numbers (pairs), within a unit
in full, across units with the plain contrasts only. Where the space has several resolutions, two contrasts of the
resolution's order are numbers too, multiplied with the plain contrasts of all layers.
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

_RESOLUTION = 4  # the kind of the resolution's numbers, after those of layers


@dataclass(frozen=True)
class FeatureMap:
    """The features of a space: columns of numbers per layer, and which pairs of columns are multiplied.

    Groups are numbered main effects first: `mains`, as many as kinds of numbers; then those of pairs.
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
    def mains(self) -> int:
        """Kinds of numbers: four of layers, and the resolution's where there are several."""
        return 4 if self.space.resolution_choices == 1 else 5

    @cached_property
    def _of_resolution(self) -> Array:
        """What each resolution is described by, (resolutions, numbers); no numbers where there is one."""
        return _contrasts(self.space.resolution_choices) if self.mains > _RESOLUTION else np.zeros((1, 0))

    @cached_property
    def _places(self) -> tuple[Index, Index, Index]:
        """Layer, unit and kind of every column of numbers; the resolution's are of a layer and a unit of their own."""
        _, kinds = self.layer_numbers
        layers, further = LayerCodes(self.space).in_units, self._of_resolution.shape[1]
        layer = np.concatenate([np.repeat(np.arange(layers), len(kinds)), np.full(further, layers)])
        kind = np.concatenate([np.tile(kinds, layers), np.full(further, _RESOLUTION)])
        return layer, layer // self.space.layers, kind

    @cached_property
    def _pairs(self) -> tuple[Index, Index, Index, Index]:
        """Left column, right column and group of each pair of layers' numbers; what each of these groups is of.

        A group of pairs is of two kinds of numbers, low · 4 + high, and 16 more between layers of different units; a
        pair with the resolution is of the other kind, and 32.
        """
        layer, unit, kind = self._places
        left, right = np.nonzero(layer[:, None] < layer[None, :])
        within, with_side = unit[left] == unit[right], kind[right] == _RESOLUTION
        low, high = np.minimum(kind[left], kind[right]), np.maximum(kind[left], kind[right])
        keep = within | (high < 3) | (with_side & (low < 3))
        code = np.where(with_side, 32 + low, low * 4 + high + np.where(within, 0, 16))
        of, group = np.unique(code[keep], return_inverse=True)
        return left[keep], right[keep], group + self.mains, of

    @cached_property
    def groups(self) -> Index:
        """Group of every feature, main effects and then pairs."""
        return np.concatenate([self._places[2], self._pairs[2]])

    @cached_property
    def alike(self) -> Index:
        """Which groups should be about as strong as each other, (groups,): pairs within a unit (0), across units (1),
        with the resolution (2).

        -1 for main effects, and for pairs of presences, which say how deep units are: those are a kind of their own.
        """
        of = self._pairs[3]
        return np.concatenate([np.full(self.mains, -1), np.where(of % 16 == 0, -1, of // 16)])

    def columns(self, tokens: Tokens) -> Matrix:
        """The layers' numbers, shape (n, columns)."""
        numbers, _ = self.layer_numbers
        codes, layers = LayerCodes(self.space).of(tokens), LayerCodes(self.space).in_units
        of_layers = numbers[codes[:, :layers]].reshape(len(codes), -1).astype(np.float32)
        if self.mains == _RESOLUTION:
            return of_layers
        return np.concatenate([of_layers, self._of_resolution[codes[:, -1]].astype(np.float32)], axis=1)

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
        numbers, _ = self.layer_numbers
        codec, size = LayerCodes(self.space), len(self._places[0])
        left, right, _, _ = self._pairs
        pairs = np.zeros((size, size))
        pairs[left, right] = weights[size:]
        expand = np.zeros((codec.layers * codec.codes, size))  # (layers · codes, columns)
        for layer in range(codec.in_units):
            rows, columns = layer * codec.codes, layer * numbers.shape[1]
            expand[rows : rows + len(numbers), columns : columns + numbers.shape[1]] = numbers
        further = self._of_resolution
        if further.size:
            rows = codec.in_units * codec.codes
            expand[rows : rows + len(further), size - further.shape[1] :] = further
        full = expand @ (pairs + pairs.T) @ expand.T
        return expand @ weights[:size], full


def _contrasts(choices: int) -> Array:
    """Orthogonal contrasts of ordered choices, unit variance: linear and quadratic, as far as there are any."""
    powers = np.vander(np.linspace(-1, 1, choices), min(choices, 3), increasing=True)
    contrasts: Array = np.linalg.qr(powers)[0][:, 1:] * np.sqrt(choices)
    return contrasts
