"""Accuracies made up so that the best network under any budget is known exactly.

Truth is `A(a) = top − (top − bottom) · exp(−u(a) / scale)` with a utility that is a sum over units and over
neighbouring units,

    u(a) = Σ_i f_i(configuration of unit i) + Σ_i g_i(depth of unit i, depth of unit i + 1),

where f_i holds a gain for each layer's expand ratio and kernel, and interactions between the layers of the
unit. The saturation couples everything with everything. As it is monotone, the best network under a budget
is the one with the largest u, and a dynamic program over the units with the last depth as its state finds
it: exactly, up to the width of the cost grid, which is always rounded against the optimum's favour.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

from lut.blocks import MBConvSpec
from pnag.space.cost import CostModel
from pnag.space.search_space import SearchSpace
from pnag.space.tokens import Tokens

Array = NDArray[np.float64]


def made_up_costs(space: SearchSpace, seed: int = 0, *, roughness: float = 0.12, constant_ms: float = 8.0) -> CostModel:
    """Costs in ms that behave as measured ones: point-wise and depthwise work at their own rates, and noise."""
    rng = np.random.default_rng(seed)

    def cost(spec: MBConvSpec) -> float:
        depthwise = spec.inner_channels * spec.kernel**2 * spec.output_shape[1] ** 2
        memory = spec.inner_channels * spec.resolution**2
        work = (spec.macs - depthwise) / 9e6 + depthwise / 2.5e6 + memory / 4e6 + 0.05
        return float(work * np.exp(rng.normal(0, roughness)))

    layer_ms = np.array(
        [
            [
                [[cost(space.layer_block(u, layer, k, e)) for k in space.kernels] for e in space.expands]
                for layer in (0, 1)
            ]
            for u in range(space.units)
        ]
    )  # fmt: skip
    return CostModel(space, constant_ms, layer_ms)


@dataclass(frozen=True)
class KnownOptimum:
    """A made-up truth over a cost model. `accuracy` is noiseless, `ask` adds the noise of a measurement."""

    costs: CostModel
    seed: int = 0
    interactions: float = 1.0
    roughness: float = 1.0
    bottom: float = 0.68
    top: float = 0.79
    noise: float = 0.001

    @property
    def space(self) -> SearchSpace:
        """The space the accuracies are of."""
        return self.costs.space

    @cached_property
    def _parts(self) -> tuple[Array, Array, Array]:
        """Gains (units, layers, expands + 1, kernels + 1), pair terms within a unit, depth terms between units."""
        space, rng = self.space, np.random.default_rng([self.seed, 17])
        e = np.arange(1, len(space.expands) + 1) / len(space.expands)
        k = np.arange(len(space.kernels)) / max(1, len(space.kernels) - 1)
        gains = np.zeros((space.units, space.layers, len(e) + 1, len(k) + 1))
        for unit, layer in product(range(space.units), range(space.layers)):
            strength = rng.uniform(0.6, 1.4) * 0.9**layer
            best_kernel = rng.uniform(0.3, 1.1)
            table = 0.35 + 0.65 * e[:, None] ** rng.uniform(0.4, 0.9) - 0.25 * (k[None, :] - best_kernel) ** 2
            table = table + 0.04 * self.roughness * rng.normal(size=table.shape)
            gains[unit, layer, 1:, 1:] = strength * table
        codes = (len(e) + 1) * (len(k) + 1)
        pairs = 0.03 * self.interactions * rng.normal(size=(space.units, space.layers, space.layers, codes, codes))
        between = 0.12 * self.interactions * rng.normal(size=(space.units - 1, len(space.depths), len(space.depths)))
        return gains, pairs, between

    def _unit_utility(self, unit: int, expand: NDArray[np.int64], kernel: NDArray[np.int64]) -> Array:
        """f_unit of configurations of shape (n, layers); 0 marks an absent layer."""
        gains, pairs, _ = self._parts
        codes = expand * (len(self.space.kernels) + 1) + kernel
        total = np.zeros(len(expand))
        for layer in range(self.space.layers):
            total += gains[unit, layer, expand[:, layer], kernel[:, layer]]
            for other in range(layer):
                present = (expand[:, layer] > 0) & (expand[:, other] > 0)
                total += present * pairs[unit, layer, other, codes[:, layer], codes[:, other]]
        return total

    def utility(self, tokens: Tokens) -> Array:
        """u(a), shape (n,)."""
        units = np.asarray(tokens, dtype=np.int64).reshape(-1, self.space.units, self.space.tokens_per_unit)
        _, _, between = self._parts
        total = np.zeros(len(units))
        for unit in range(self.space.units):
            total += self._unit_utility(unit, units[:, unit, 1::2], units[:, unit, 2::2])
            if unit:
                total += between[unit - 1, units[:, unit - 1, 0], units[:, unit, 0]]
        return total

    @cached_property
    def _scale(self) -> tuple[float, float]:
        """Where the saturation starts and how fast it goes, from the space's own spread."""
        u = self.utility(self.space.sample(4000, np.random.default_rng(1)))
        return float(u.mean() - 6 * u.std()), float(5 * u.std())

    def _saturate(self, utility: Array) -> Array:
        start, scale = self._scale
        return self.top - (self.top - self.bottom) * np.exp(-(utility - start) / scale)

    def accuracy(self, tokens: Tokens) -> Array:
        """True accuracy, shape (n,)."""
        return self._saturate(self.utility(tokens))

    def ask(self, tokens: Tokens, rng: np.random.Generator) -> Array:
        """Measured accuracy: the truth with noise, shape (n,)."""
        return self.accuracy(tokens) + rng.normal(0, self.noise, len(tokens))

    @cached_property
    def _frontier(self) -> tuple[Array, Array]:
        """Grid of costs, ascending, and the best utility that any network of at most that cost has."""
        space, steps = self.space, 20_000
        width = (self.costs.range_ms[1] - self.costs.constant_ms) / steps
        _, _, between = self._parts
        best = np.zeros((1, 1))  # (last depth, grid), from nothing spent
        for unit in range(space.units):
            options = [self._unit_options(unit, depth, width) for depth in range(len(space.depths))]
            before = best if unit == 0 else (best[:, None, :] + between[unit - 1][:, :, None]).max(axis=0)
            best = np.stack([_add(before[0 if unit == 0 else d], *options[d], steps) for d in range(len(options))])
        frontier = np.maximum.accumulate(best.max(axis=0))
        return self.costs.constant_ms + width * np.arange(steps + 1), frontier

    def _unit_options(self, unit: int, depth: int, width: float) -> tuple[NDArray[np.int64], Array]:
        """Grid cost, rounded down, and utility of the undominated configurations of a unit of that depth."""
        space = self.space
        layers, choices = space.depths[depth], len(space.expands) * len(space.kernels)
        index = np.stack(np.meshgrid(*[np.arange(choices)] * layers, indexing="ij"), -1).reshape(-1, layers)
        expand, kernel = (np.zeros((len(index), space.layers), dtype=np.int64) for _ in range(2))
        expand[:, :layers], kernel[:, :layers] = index // len(space.kernels) + 1, index % len(space.kernels) + 1
        per_layer = [self.costs.layer_ms[unit, min(i, 1)].reshape(-1)[index[:, i]] for i in range(layers)]
        spent = np.floor(np.sum(per_layer, axis=0) / width).astype(np.int64)
        utility = self._unit_utility(unit, expand, kernel)
        order = np.lexsort((-utility, spent))
        spent, utility = spent[order], utility[order]
        ahead = np.concatenate([[-np.inf], np.maximum.accumulate(utility)[:-1]])
        return spent[utility > ahead], utility[utility > ahead]

    def best_accuracy(self, budget_ms: float) -> float:
        """Accuracy of the best network with c(a) ≤ budget; never below the truth, above it by the grid only."""
        grid, frontier = self._frontier
        return float(self._saturate(frontier[np.searchsorted(grid, budget_ms, side="right") - 1][None])[0])

    def regret(self, tokens: Tokens, budgets_ms: Array) -> Array:
        """Accuracy lost against the best network under each budget, shape (n,)."""
        best = np.array([self.best_accuracy(budget) for budget in np.asarray(budgets_ms).tolist()])
        return best - self.accuracy(tokens)


def _add(before: Array, spent: NDArray[np.int64], utility: Array, steps: int) -> Array:
    """Best utility at each grid cost when one of the options is added to what was there."""
    start = np.full(steps + 1, -np.inf)
    start[: len(before)] = before
    out = np.full(steps + 1, -np.inf)
    for cost, gain in zip(spent.tolist(), utility.tolist(), strict=True):
        np.maximum(out[cost:], start[: steps + 1 - cost] + gain, out=out[cost:])
    return out
