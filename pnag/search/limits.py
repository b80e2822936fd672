"""Several limits on one network: latencies on other devices, parameters, multiply-accumulates, the size of a file.

Each is a sum over a network's blocks, so that each is a cost model with an upper bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pnag.space.cost import CostModel
from pnag.space.tokens import Tokens

Array = NDArray[np.float64]

_SHOWN = {"bytes": (1e6, " MB"), "parameters": (1e6, "M parameters"), "MACs": (1e6, "M MACs")}


@dataclass(frozen=True, eq=False)  # cost models hold arrays, so two limits are one only if they are the same object
class Limit:
    """What a network may cost at most by a cost model, in the model's unit: `ms`, `parameters`, `MACs` or `bytes`.

    `margin` is how far above its prediction a network may turn out, relative: 0 for what is counted. `name` says what
    is limited (the device and runtime of a latency), and `confidence` belongs to the margin, None where there is no
    basis for one.
    """

    name: str
    costs: CostModel
    most: float
    unit: str
    margin: float = 0.0
    confidence: float | None = None

    @property
    def allowed(self) -> float:
        """The highest cost c with c · (1 + margin) ≤ `most`."""
        return highest_cost(self.most, self.margin)

    @property
    def range(self) -> tuple[float, float]:
        """The least and the greatest `most` that is of use: of the cheapest and of the dearest network."""
        low, high = self.costs.range_ms
        return low * (1 + self.margin), high * (1 + self.margin)

    @property
    def text(self) -> str:
        """The limit for a person: `45 ms on NAME`, `8M parameters`."""
        return self.text_of(self.most)

    def text_of(self, value: float) -> str:
        """The same of another value."""
        return shown(value, self.unit) + (f" on {self.name}" if self.unit == "ms" else "")


@dataclass(frozen=True)
class Kept:
    """A limit, what a network is predicted to cost by it, and whether more accuracy could be had without it."""

    limit: Limit
    cost: float
    binds: bool

    @property
    def share(self) -> float:
        """Part of the allowed cost that the network takes."""
        return self.cost / self.limit.allowed


def highest_cost(budget: float, margin: float) -> float:
    """The highest c with c · (1 + margin) ≤ budget, rounding included."""
    cost = budget / (1 + margin)
    while cost * (1 + margin) > budget:  # once or twice
        cost = math.nextafter(cost, 0.0)
    return cost


def costs_by(models: Sequence[CostModel], tokens: Tokens) -> Array:
    """The costs of networks (n, length) by each model, (models, n)."""
    return np.stack([model(tokens) for model in models])


def loads(costs: Array, bounds: Array) -> Array:
    """The largest cost as a share of its bound; both have a first axis of models. At most 1 where all are kept."""
    share: Array = (costs / bounds).max(axis=0)
    return share


@dataclass(frozen=True)
class Bounds:
    """The highest costs that n questions allow by each model, (models, n). The first model is the generator's own."""

    models: tuple[CostModel, ...]
    bounds: Array

    @classmethod
    def of(cls, costs: CostModel, limits_ms: Array, further: Sequence[Limit]) -> Self:
        """From the bounds (n,) of the generator's own costs, and limits that all n questions share."""
        bounds = np.stack([limits_ms, *(np.full(len(limits_ms), limit.allowed) for limit in further)])
        return cls((costs, *(limit.costs for limit in further)), bounds)

    @property
    def n(self) -> int:
        """How many questions there are."""
        return len(self.bounds[0])

    def loads(self, tokens: Tokens) -> Array:
        """The largest cost of networks (m, length) as a share of its bound, (n, m)."""
        return loads(costs_by(self.models, tokens)[:, None], self.bounds[:, :, None])

    def keeps(self, tokens: Tokens) -> NDArray[np.bool_]:
        """Which of the networks (m, length) are within all bounds of a question, (n, m)."""
        return self.loads(tokens) <= 1

    def budgets_told(self) -> list[Array]:
        """Costs by the first model to draw networks for, each (n,): its bound, or what other bounds leave of that.

        A bound that is a quarter of the way from its model's least to its greatest cost leaves a quarter of the first
        model's way, more or less; so half of what it takes away is tried too.
        """
        own = self.bounds[0]
        if len(self.models) == 1:
            return [own]
        low, high = self.models[0].range_ms
        ways = [
            low + (high - low) * (bounds - least) / (most - least)
            for bounds, (least, most) in zip(self.bounds, (model.range_ms for model in self.models), strict=True)
            if most > least
        ]
        left = np.minimum(own, np.maximum(low, np.min([own, *ways], axis=0)))
        return [left, (own + left) / 2]


def shown(value: float, unit: str) -> str:
    """A quantity for a person: `24.1 ms`, `8.2M parameters`, `19.9 MB`."""
    scale, words = _SHOWN.get(unit, (1.0, f" {unit}"))
    return f"{value / scale:.4g}{words}"


def range_text(low: float, high: float, unit: str) -> str:
    """A range within the given one, in digits enough for its low end: whatever is shown is accepted."""
    scale, words = _SHOWN.get(unit, (1.0, f" {unit}"))
    low, high = low / scale, high / scale
    digits = max(2, 2 - math.floor(math.log10(max(low, 1e-6))))
    step = 10.0**-digits
    return f"{math.ceil(low / step) * step:.{digits}f} to {math.floor(high / step) * step:.{digits}f}{words}"
