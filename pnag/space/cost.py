"""c(a) for many architectures at once: the latency table as arrays over the encoding."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pnag.space.tokens import Tokens, TokenSpace

Array = NDArray[np.float64]

_CHUNK = 4096  # tokens and their product stay in the second-level cache


@dataclass(frozen=True)
class CostModel:
    """Cost in ms of encoded architectures of one space.

    `constant_ms` is what all networks share (intercept, stem, first block, head); `layer_ms` has shape
    (units, 2, expands, kernels): the cost of a unit's first and later layers.
    """

    space: TokenSpace
    constant_ms: float
    layer_ms: Array

    @cached_property
    def _unit_tables(self) -> tuple[NDArray[np.float32], Array, int]:
        """Weights that turn tokens into one index per unit, (length, units), and the cost at each index.

        A layer's code is kernels · expand + kernel, linear in the tokens and 0 for an absent layer, so a
        unit's index comes from one matrix product and its cost from one look-up.
        """
        space = self.space
        kernels, expands = len(space.kernels), len(space.expands)
        base = kernels * expands + kernels + 1
        weights = np.zeros((space.units, space.tokens_per_unit, space.units), dtype=np.float32)
        codes = np.zeros((space.units, 2, base))
        for e in range(expands):
            for k in range(kernels):
                codes[:, :, kernels * (e + 1) + k + 1] = self.layer_ms[:, :, e, k]
        totals = np.zeros((space.units, base**space.layers))
        for unit in range(space.units):
            total = np.zeros(1)
            for layer in reversed(range(space.layers)):
                total = (codes[unit, min(layer, 1)][None, :] + total[:, None]).reshape(-1)
                weights[unit, 1 + 2 * layer, unit] = kernels * base**layer
                weights[unit, 2 + 2 * layer, unit] = base**layer
            totals[unit] = total
        return weights.reshape(space.length, space.units), totals, base

    def __call__(self, tokens: Tokens) -> Array:
        """Cost in ms, shape (n,), of canonical tokens of shape (n, length)."""
        weights, totals, _ = self._unit_tables
        out = np.empty(len(tokens))
        for start in range(0, len(tokens), _CHUNK):
            chunk = tokens[start : start + _CHUNK]
            index = (chunk.astype(np.float32) @ weights).astype(np.int32)
            cost = totals[0].take(index[:, 0])
            for unit in range(1, self.space.units):
                cost += totals[unit].take(index[:, unit])
            out[start : start + _CHUNK] = cost
        return out + self.constant_ms

    @cached_property
    def range_ms(self) -> tuple[float, float]:
        """Exact cost of the cheapest and of the dearest network of the space."""
        first, later = (
            self.layer_ms[:, 0].reshape(self.space.units, -1),
            self.layer_ms[:, 1].reshape(self.space.units, -1),
        )
        depths = np.array(self.space.depths)[:, None] - 1
        cheapest = (first.min(1) + depths * later.min(1)).min(0).sum()
        dearest = (first.max(1) + depths * later.max(1)).max(0).sum()
        return float(self.constant_ms + cheapest), float(self.constant_ms + dearest)
