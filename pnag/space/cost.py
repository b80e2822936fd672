"""c(a) for many architectures at once: the latency table as arrays over the encoding."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pnag.space.tokens import Tokens, TokenSpace, resolution_indices

Array = NDArray[np.float64]

_CHUNK = 4096  # tokens and their product stay in the second-level cache


@dataclass(frozen=True)
class CostModel:
    """Cost in ms of encoded architectures of one space.

    `constant_ms` is what all networks share (intercept, stem, first block, head); `layer_ms` has shape
    (units, 2, expands, kernels): the cost of a unit's first and later layers. Where the space has several resolutions,
    `layer_ms` has a first axis for them, and `resolution_ms` (resolutions,) is what all networks of each share beside
    `constant_ms`.
    """

    space: TokenSpace
    constant_ms: float
    layer_ms: Array
    resolution_ms: Array = field(default_factory=lambda: np.zeros(1))

    @cached_property
    def of_layers(self) -> Array:
        """`layer_ms` with an axis for resolutions in any case, (resolutions, units, 2, expands, kernels)."""
        return self.layer_ms.reshape(len(self.resolution_ms), *self.layer_ms.shape[-4:])

    @cached_property
    def _unit_tables(self) -> tuple[NDArray[np.float32], Array]:
        """Weights that turn tokens into one index per unit, (length, units), and the cost at each index.

        A layer's code is kernels · expand + kernel, linear in the tokens and 0 for an absent layer, so a
        unit's index comes from one matrix product and its cost from one look-up, in (units, resolutions · indices).
        """
        space = self.space
        kernels, expands, sides = len(space.kernels), len(space.expands), len(self.resolution_ms)
        base = kernels * expands + kernels + 1
        weights = np.zeros((space.length, space.units), dtype=np.float32)
        codes = np.zeros((sides, space.units, 2, base))
        for e in range(expands):
            for k in range(kernels):
                codes[..., kernels * (e + 1) + k + 1] = self.of_layers[..., e, k]
        totals = np.zeros((space.units, sides, base**space.layers))
        for unit in range(space.units):
            total = np.zeros((sides, 1))
            for layer in reversed(range(space.layers)):
                total = (codes[:, unit, min(layer, 1)][:, None, :] + total[:, :, None]).reshape(sides, -1)
                at = unit * space.tokens_per_unit + 2 * layer
                weights[at + 1, unit], weights[at + 2, unit] = kernels * base**layer, base**layer
            totals[unit] = total
        if sides > 1:
            weights[-1] = base**space.layers
        return weights, totals.reshape(space.units, -1)

    def __call__(self, tokens: Tokens) -> Array:
        """Cost in ms, shape (n,), of canonical tokens of shape (n, length)."""
        weights, totals = self._unit_tables
        out = np.empty(len(tokens))
        for start in range(0, len(tokens), _CHUNK):
            chunk = tokens[start : start + _CHUNK]
            index = (chunk.astype(np.float32) @ weights).astype(np.int32)
            cost = totals[0].take(index[:, 0])
            for unit in range(1, self.space.units):
                cost += totals[unit].take(index[:, unit])
            out[start : start + _CHUNK] = cost
        if len(self.resolution_ms) > 1:
            out += self.resolution_ms[resolution_indices(self.space, tokens)]
        return out + self.constant_ms

    @cached_property
    def range_ms(self) -> tuple[float, float]:
        """Exact cost of the cheapest and of the dearest network of the space."""
        flat = self.of_layers.reshape(len(self.resolution_ms), self.space.units, 2, -1)
        first, later = flat[:, :, 0], flat[:, :, 1]
        depths = np.array(self.space.depths)[:, None, None] - 1
        cheapest = ((first.min(2) + depths * later.min(2)).min(0).sum(1) + self.resolution_ms).min()
        dearest = ((first.max(2) + depths * later.max(2)).max(0).sum(1) + self.resolution_ms).max()
        return float(self.constant_ms + cheapest), float(self.constant_ms + dearest)
