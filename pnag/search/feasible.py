"""Whether any network keeps several limits, before any search.

Of the networks of a unit only those count that no other one undercuts in every cost, and what these cost adds up from
unit to unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from pnag.accuracy.predictor import Codes, LayerCodes
from pnag.search.limits import Limit, range_text
from pnag.search.prices import cheapest_tokens, layer_prices
from pnag.space.cost import CostModel
from pnag.space.tokens import Tokens

Array = NDArray[np.float64]

_MOST_KEPT = 400  # networks of which none undercuts another; beyond them those that are furthest within the limits
_ROUNDING = 1 + 1e-9  # of sums in another order


def keeping(models: Sequence[CostModel], bounds: Sequence[float]) -> Tokens | None:
    """A network whose cost is within the bound by every model, shape (1, length); None where there is none.

    It is the one that stays furthest below, by the share of the bound that it comes nearest to. Exact as long as there
    are no more than some hundred networks of the first units of which none undercuts another.
    """
    space = models[0].space
    codec = LayerCodes(space)
    prices = np.stack([layer_prices(model) for model in models], axis=-1)  # (resolutions, layers, codes, models)
    best: tuple[float, Codes] | None = None
    for side, of_side in enumerate(prices):
        shared = np.array([model.constant_ms + model.resolution_ms[side] for model in models])
        found = _least_loaded(models, np.asarray(bounds), shared, of_side)
        if found is None:
            continue
        load, codes = found
        if best is None or load < best[0]:
            best = load, np.concatenate([codes, [side]]) if codec.layers > codec.in_units else codes
    if best is None:
        return None
    tokens = codec.tokens(best[1][None])
    kept = all(float(model(tokens)[0]) <= bound for model, bound in zip(models, bounds, strict=True))
    return tokens if kept else None


def conflicting(models: Sequence[CostModel], bounds: Sequence[float]) -> tuple[int, ...]:
    """The fewest limits that no network keeps together, as indices; empty where one keeps all of them."""
    if keeping(models, bounds) is not None:
        return ()
    for size in range(1, len(models)):
        for chosen in combinations(range(len(models)), size):
            if keeping([models[i] for i in chosen], [bounds[i] for i in chosen]) is None:
                return chosen
    return tuple(range(len(models)))


def conflict_text(space: str, limits: Sequence[Limit], bounds: Sequence[float]) -> str:
    """One line on limits that no network of a space keeps: which they are, and what the cheapest networks cost."""
    models = [limit.costs for limit in limits]
    chosen = [limits[i] for i in conflicting(models, bounds)]
    alone = [limit for limit in chosen if keeping([limit.costs], [limit.allowed]) is None]
    if alone:
        parts = [
            f"{limit.text} is below the cheapest network of {space}: choose from {range_text(*limit.range, limit.unit)}"
            for limit in alone
        ]
        return "; ".join(parts)
    together = " and ".join(limit.text for limit in chosen)
    cheapest = [f"the cheapest by {limit.name} has {_costs_text(limit, chosen)}" for limit in chosen]
    return f"no network of {space} keeps {together} together: {'; '.join(cheapest)}; raise one of them"


def _costs_text(cheapest_by: Limit, limits: Sequence[Limit]) -> str:
    tokens = cheapest_tokens(cheapest_by.costs)
    costs = [float(limit.costs(tokens)[0]) * (1 + limit.margin) for limit in limits]
    return ", ".join(limit.text_of(cost) for limit, cost in zip(limits, costs, strict=True))


def _least_loaded(
    models: Sequence[CostModel], bounds: Array, shared: Array, prices: Array
) -> tuple[float, Codes] | None:
    """The load and the codes (layers,) of the network at one resolution that is furthest within the bounds (models,).

    `shared` (models,) is what all its networks cost.
    """
    space, room = models[0].space, bounds - shared
    if (room <= 0).any():
        return None
    choices = len(space.expands) * len(space.kernels)
    units = [
        _of_unit(prices[unit * space.layers :][: space.layers], space.depths, choices, room)
        for unit in range(space.units)
    ]
    if not all(len(costs) for costs, _ in units):
        return None
    least = np.array([costs.min(axis=0) for costs, _ in units])  # (units, models)
    costs, codes = np.zeros((1, len(models))), np.zeros((1, 0), dtype=np.int64)
    for unit, (more, layers) in enumerate(units):
        costs, codes = _joined((costs, codes), (more, layers))
        costs, codes = _undercut(costs, codes, room * _ROUNDING - least[unit + 1 :].sum(axis=0), room)
        if not len(costs):
            return None
    load = ((costs + shared) / bounds).max(axis=1)
    return float(load.min()), codes[int(load.argmin())]


def _of_unit(prices: Array, depths: Sequence[int], choices: int, room: Array) -> tuple[Array, Codes]:
    """The networks of one unit that none undercuts: costs (n, models) and codes (n, layers)."""
    layers = len(prices)
    present = np.arange(1, 1 + choices)
    costs, codes = np.zeros((1, prices.shape[2])), np.zeros((1, 0), dtype=np.int64)
    found: list[tuple[Array, Codes]] = []
    for layer in range(max(depths)):
        costs, codes = _joined((costs, codes), (prices[layer, present], present[:, None]))
        costs, codes = _undercut(costs, codes, room * _ROUNDING, room)
        if layer + 1 in depths:
            found.append((costs, np.pad(codes, ((0, 0), (0, layers - codes.shape[1])))))
    costs, codes = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return _undercut(costs, codes, room * _ROUNDING, room)


def _joined(left: tuple[Array, Codes], right: tuple[Array, Codes]) -> tuple[Array, Codes]:
    """Every one of the left with every one of the right."""
    n, m = len(left[0]), len(right[0])
    a, b = np.repeat(np.arange(n), m), np.tile(np.arange(m), n)
    return left[0][a] + right[0][b], np.concatenate([left[1][a], right[1][b]], axis=1)


def _undercut(costs: Array, codes: Codes, most: Array, room: Array) -> tuple[Array, Codes]:
    """Those of at most `most` that none undercuts in every cost, by ascending share of `room`."""
    order = np.argsort((costs / room).max(axis=1), kind="stable")
    order = order[(costs[order] <= most).all(axis=1)]
    kept: list[int] = []
    alive = np.ones(len(order), dtype=bool)
    for position, index in enumerate(order.tolist()):
        if not alive[position]:
            continue
        kept.append(index)
        if len(kept) == _MOST_KEPT:
            break
        alive &= (costs[order] < costs[index]).any(axis=1)
    return costs[kept], codes[kept]
