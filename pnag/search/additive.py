"""Additive scores and an exact solver: each layer's choice has a score of its own, a knapsack finds the best sum.

Scores are learnt by ridge regression. Where scores add up as costs do, a dynamic program over the layers gives the best
network under every budget at once; costs are rounded up to a fine grid, so that every budget is kept.

Source: Bercovich et al., Puzzle: Distillation-Based NAS for Inference-Optimized LLMs, 2024, section 4.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lut.calibration.ranks import rank_correlation
from pnag.accuracy.predictor import AccuracyPredictor, Codes, LayerCodes
from pnag.search.prices import layer_prices
from pnag.space.cost import CostModel
from pnag.space.tokens import Tokens, TokenSpace

Array = NDArray[np.float64]

_GRID = 6000
_STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)  # of the ridge, in rows


def fit_additive(space: TokenSpace, tokens: Tokens, accuracy: Array) -> AccuracyPredictor:
    """Scores of every code of every layer, from architectures (n, length) and accuracies (n,).

    The ridge's strength is the one with the least leave-one-out error.
    """
    codec = LayerCodes(space)
    x = codec.one_hot(codec.of(tokens)).astype(np.float64)
    x[:, : codec.in_units * codec.codes : codec.codes] = 0.0  # an absent layer scores nothing
    mean, centre = float(accuracy.mean()), x.mean(axis=0)
    u, s, vt = np.linalg.svd(x - centre, full_matrices=False)
    projected, best = u.T @ (accuracy - mean), (np.inf, np.zeros(x.shape[1]), np.zeros(len(x)))
    for strength in _STRENGTHS:
        shrink = s**2 / (s**2 + strength)
        fitted = mean + u @ (shrink * projected)
        leverage = np.square(u) @ shrink + 1 / len(x)
        left_out = accuracy - (accuracy - fitted) / np.maximum(1 - leverage, 1e-6)
        error = float(np.sqrt(np.mean(np.square(left_out - accuracy))))
        if error < best[0]:
            best = (error, vt.T @ (s / (s**2 + strength) * projected), left_out)
    error, weights, left_out = best
    return AccuracyPredictor(
        space,
        bias=mean - float(centre @ weights),
        main=weights.astype(np.float32),
        pairs=np.zeros((len(weights), len(weights)), dtype=np.float32),
        error=error,
        rank_correlation=rank_correlation(left_out, accuracy),
        noise=error,
    )


def best_sums(costs: CostModel, scores: AccuracyPredictor) -> Tokens:
    """The networks with the best sum of scores under some budget, by ascending cost at each resolution; (n, length)."""
    codec, found = LayerCodes(costs.space), []
    gain = scores.main.astype(np.float64).reshape(codec.layers, codec.codes)
    for side, prices in enumerate(layer_prices(costs)):
        codes = _best_sums_at(costs, prices[: codec.in_units], gain[: codec.in_units])
        if codec.layers > codec.in_units:
            codes = np.concatenate([codes, np.full((len(codes), 1), side)], axis=1)
        found.append(codec.tokens(codes))
    return np.concatenate(found)


def _best_sums_at(costs: CostModel, prices: Array, gain: Array) -> Codes:
    """The same at one resolution, as codes (n, layers), from prices and scores of shape (layers, codes)."""
    space = costs.space
    layers = len(prices)
    width = (costs.range_ms[1] - costs.constant_ms) / _GRID
    price = np.ceil(prices / width).astype(np.int64)
    size = _GRID + layers + 1  # by rounding up, the dearest network takes a step more for each layer
    value = np.full(size, -np.inf)
    value[0] = 0.0
    steps: list[tuple[Array, list[NDArray[np.int64]]]] = []
    for unit in range(space.units):
        reached, taken, ends = value, [], []
        for layer in range(space.layers):
            reached, code = _with_layer(reached, price[unit * space.layers + layer], gain[unit * space.layers + layer])
            taken.append(code)
            ends.append(reached if layer + 1 in space.depths else np.full(size, -np.inf))
        every = np.stack(ends)
        value = every.max(axis=0)
        steps.append((every.argmax(axis=0), taken))
    best = np.maximum.accumulate(value)
    at = np.flatnonzero(np.isfinite(value) & (value == best) & (value > np.append(-np.inf, best[:-1])))
    codes = np.zeros((len(at), layers), dtype=np.int64)
    place = at.copy()
    for unit in reversed(range(space.units)):
        depth, taken = steps[unit]
        deepest = depth[place]
        for layer in reversed(range(space.layers)):
            present = deepest >= layer
            chosen = np.where(present, taken[layer][place], 0)
            codes[:, unit * space.layers + layer] = chosen
            place = place - np.where(present, price[unit * space.layers + layer][chosen], 0)
    return codes


def _with_layer(value: Array, price: NDArray[np.int64], gain: Array) -> tuple[Array, NDArray[np.int64]]:
    """The best sum at each grid cost with one more present layer, and the code that it takes."""
    best, taken = np.full(len(value), -np.inf), np.zeros(len(value), dtype=np.int64)
    for code in range(1, len(price)):
        moved = np.full(len(value), -np.inf)
        moved[price[code] :] = value[: len(value) - price[code]] + gain[code]
        better = moved > best
        best[better], taken[better] = moved[better], code
    return best, taken
