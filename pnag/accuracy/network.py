"""A model of accuracies: a small network over kernels, expand ratios and the resolution, run with numpy.

Where accuracies are known in any number, as those of a published predictor are, a network learns them far better than
a quadratic form does. It predicts for `pnag.search` as the quadratic form does, and can be asked without end.

Inputs, all 0 but these: for each layer one of the kernels and one of the expand ratios, and one of the resolutions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pnag.accuracy.predictor import Codes, LayerCodes
from pnag.arrays import layer_arrays, layers_in, read_arrays
from pnag.errors import ArchiveError
from pnag.space.tokens import Tokens, TokenSpace

Array = NDArray[np.float64]
Weights = NDArray[np.float32]

_CHUNK = 4096
_CHANGED_CHUNK = 16


@dataclass(frozen=True)
class AccuracyNetwork:
    """Fully connected layers with ReLU between them; weights (in, out), biases (out,).

    Inputs are the layers of the units times the space's kernels, then times its expand ratios, then `resolutions`.
    `sides` are those of them that are predicted for: one, or those that architectures of the space choose from.
    `error` is the root mean square error on architectures that took no part in the learning, as a fraction,
    `rank_correlation` of the same.
    """

    space: TokenSpace
    layers: tuple[tuple[Weights, Weights], ...]
    resolutions: tuple[int, ...]
    sides: tuple[int, ...]
    error: float
    rank_correlation: float

    def at(self, *sides: int) -> Self:
        """The same for other resolutions, in pixels. Raises `ArchiveError` for one that it was not learnt for."""
        for side in sides:
            if side not in self.resolutions:
                known = ", ".join(map(str, self.resolutions))
                raise ArchiveError(f"no accuracies for a resolution of {side}; the model knows {known}")
        return replace(self, sides=sides)

    @cached_property
    def _table(self) -> Weights:
        """What each code of each layer adds to the first hidden layer, (layers, codes, width)."""
        space, codec = self.space, LayerCodes(self.space)
        kernels, expands, weight = len(space.kernels), len(space.expands), self.layers[0][0]
        layers = codec.in_units
        of_kernels = weight[: layers * kernels].reshape(layers, 1, kernels, -1)
        of_expands = weight[layers * kernels :][: layers * expands].reshape(layers, expands, 1, -1)
        table = np.zeros((codec.layers, codec.codes, weight.shape[1]), dtype=np.float32)
        table[:layers, 1 : 1 + expands * kernels] = (of_kernels + of_expands).reshape(layers, expands * kernels, -1)
        if len(self.sides) > 1:
            table[layers, : len(self.sides)] = self._of_sides
        return table

    @property
    def _of_sides(self) -> Weights:
        """The first layer's weights of `sides`, (sides, width)."""
        weight = self.layers[0][0]
        return weight[[len(weight) - len(self.resolutions) + self.resolutions.index(side) for side in self.sides]]

    @cached_property
    def _offset(self) -> Weights:
        """The first layer's bias, with the resolution's weights where there is one, (width,)."""
        bias = self.layers[0][1]
        return bias if len(self.sides) > 1 else np.asarray(bias + self._of_sides[0], dtype=np.float32)

    def __call__(self, tokens: Tokens) -> Array:
        """Predicted accuracy, shape (n,), of canonical tokens of shape (n, length)."""
        codec, out = LayerCodes(self.space), np.empty(len(tokens))
        flat = self._table.reshape(-1, self._table.shape[2])
        for start in range(0, len(tokens), _CHUNK):
            part = slice(start, start + _CHUNK)
            out[part] = self._upwards(codec.one_hot(codec.of(tokens[part])) @ flat + self._offset)
        return out

    merit = __call__

    def accuracy(self, merit: Array) -> Array:
        """Accuracy of networks of that merit: the same."""
        return merit

    def changes(self, codes: Codes) -> Array:
        """What setting one layer to another code adds, (n, layers, codes); 0 for the present code."""
        n, layers, width = len(codes), *self._table.shape[::2]
        out = np.empty((n, *self._table.shape[:2]))
        for start in range(0, n, _CHANGED_CHUNK):
            part = slice(start, start + _CHANGED_CHUNK)
            now = self._table[np.arange(layers), codes[part]]  # (b, layers, width)
            without = (now.sum(axis=1) + self._offset)[:, None] - now
            changed = without[:, :, None] + self._table  # (b, layers, codes, width)
            out[part] = self._upwards(changed.reshape(-1, width)).reshape(out[part].shape)
        return np.asarray(out - np.take_along_axis(out, codes[:, :, None], axis=2))

    def _upwards(self, hidden: Weights) -> Weights:
        """The output, (n,), from the first hidden layer before its ReLU; `hidden` is used up."""
        for weight, bias in self.layers[1:]:
            hidden = np.maximum(hidden, 0, out=hidden) @ weight + bias
        return hidden[:, 0]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything but the space, for a file."""
        return {
            "numbers": np.array([self.error, self.rank_correlation]),
            "resolutions": np.array(self.resolutions),
            "sides": np.array(self.sides),
            **layer_arrays(self.layers),
        }

    @classmethod
    def from_arrays(cls, space: TokenSpace, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The inverse of `arrays`. Raises `KeyError` or `ValueError` if they do not fit the space."""
        layers = layers_in(arrays)
        resolutions, sides = arrays["resolutions"].tolist(), arrays["sides"].tolist()
        inputs = space.units * space.layers * (len(space.kernels) + len(space.expands)) + len(resolutions)
        if not layers or layers[0][0].shape[0] != inputs or layers[-1][0].shape[1] != 1:
            raise ValueError(f"a network of other inputs than {inputs} does not fit {space.name}")
        error, correlation = arrays["numbers"].tolist()
        return cls(space, layers, tuple(resolutions), tuple(sides), error, correlation)

    @classmethod
    def load(cls, path: str | Path, space: TokenSpace) -> Self:
        """Read a file of `arrays`. Raises `ArchiveError` if it is absent, damaged or of another space."""
        try:
            return cls.from_arrays(space, read_arrays(path))
        except (OSError, IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise ArchiveError(f"no model of accuracies for {space.name} in {path} ({error})") from error
