"""Improve architectures under their budgets: the best exchange of one or two layers, again and again.

A network at the edge of its budget rarely gets better by one change: what is gained in one layer must be
paid for in another. So the effect of every change of one layer on accuracy and cost is laid out, which for
the predictor's merit, a quadratic form, is one matrix product; the pairs of changes are ranked by what their sums
score; the most promising are scored for real, and the best of all is taken, until nothing improves.
All networks of a call take each step together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pnag.accuracy.predictor import Codes, LayerCodes
from pnag.search.evaluator import RuleEvaluator
from pnag.space.cost import CostModel
from pnag.space.tokens import Tokens

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

_CHUNK = 64
_TRIED = 12
_KEPT_MOVES = 40
_LEAST_GAIN = 1e-9


@dataclass(frozen=True)
class Refiner:
    """Local search under an evaluator and a cost model; `steps` exchanges at most."""

    evaluator: RuleEvaluator
    costs: CostModel
    steps: int = 30

    def __call__(self, tokens: Tokens, budgets_ms: Array) -> Tokens:
        """Networks at least as good as those given, shape (n, length), each under its own budget (n,).

        A network within its budget stays within it under the dominance rule, since leaving it lowers the score.
        """
        codec = LayerCodes(self.costs.space)
        codes = codec.of(tokens)
        score = self._score(codes, budgets_ms)
        active = np.arange(len(codes))
        for _ in range(self.steps):
            if not len(active):
                break
            better, gained = codes[active], score[active]
            for start in range(0, len(active), _CHUNK):
                part = slice(start, start + _CHUNK)
                better[part], gained[part] = self._step(better[part], gained[part], budgets_ms[active[part]])
            improved = gained > score[active] + _LEAST_GAIN
            codes[active[improved]], score[active[improved]] = better[improved], gained[improved]
            active = active[improved]
        return codec.tokens(codes)

    def across(self, tokens: Tokens, budgets_ms: Array) -> Tokens:
        """The same, each network refined from every resolution of the space, if it has several; the best of these.

        Another resolution changes the cost of all layers at once, so that exchanges of two seldom lead to it.
        """
        sides = self.costs.space.resolution_choices
        if sides == 1:
            return self(tokens, budgets_ms)
        starts = np.repeat(tokens, sides, axis=0)
        starts[:, -1] = np.tile(np.arange(sides), len(tokens))
        wide = np.repeat(budgets_ms, sides)
        refined = self(starts, wide)
        scores = self.evaluator(refined, self.costs(refined), wide).reshape(-1, sides)
        best: Tokens = refined.reshape(len(tokens), sides, -1)[np.arange(len(tokens)), scores.argmax(axis=1)]
        return best

    def _score(self, codes: Codes, budgets_ms: Array) -> Array:
        tokens = LayerCodes(self.costs.space).tokens(codes)
        return self.evaluator(tokens, self.costs(tokens), budgets_ms)

    def _step(self, codes: Codes, score: Array, budgets_ms: Array) -> tuple[Codes, Array]:
        """The best of the most promising exchanges of each network, and its score."""
        n, layers = codes.shape
        tokens = LayerCodes(self.costs.space).tokens(codes)
        predictor, cost = self.evaluator.predictor, self.costs(tokens)
        merit = predictor.merit(tokens)
        gain, price, layer, code = self._moves(codes, merit, cost, budgets_ms)  # (n, moves)
        total = self.evaluator.combine(
            predictor.accuracy(merit[:, None, None] + gain[:, :, None] + gain[:, None, :]),
            cost[:, None, None] + price[:, :, None] + price[:, None, :],
            budgets_ms[:, None, None],
        )
        total[layer[:, :, None] == layer[:, None, :]] = -np.inf
        moves = gain.shape[1]
        alone = predictor.accuracy(merit[:, None] + gain)
        singles = self.evaluator.combine(alone, cost[:, None] + price, budgets_ms[:, None])
        diagonal = np.arange(moves)
        total[:, diagonal, diagonal] = singles
        flat = total.reshape(n, -1)
        best = np.argpartition(-flat, _TRIED, axis=1)[:, :_TRIED]  # (n, tried)
        tried = np.repeat(codes, _TRIED, axis=0)
        rows, network = np.arange(len(tried)), np.repeat(np.arange(n), _TRIED)
        for move in (best.reshape(-1) // moves, best.reshape(-1) % moves):
            tried[rows, layer[network, move]] = code[network, move]
        valid = self._valid(tried)
        tried[~valid] = codes[network[~valid]]
        scores = self._score(tried, budgets_ms[network]).reshape(n, _TRIED)
        top = scores.argmax(axis=1)
        value = np.maximum(scores[np.arange(n), top], score)
        chosen = tried.reshape(n, _TRIED, layers)[np.arange(n), top]
        return np.where((scores[np.arange(n), top] > score)[:, None], chosen, codes), value

    def _moves(self, codes: Codes, merit: Array, cost: Array, budgets_ms: Array) -> tuple[Array, Array, Codes, Codes]:
        """The changes worth pairing: what they add to merit and cost, their layer and new code, (n, kept).

        The best by score alone, and those that bring the most for their price at several exchange rates.
        """
        n, predictor = len(codes), self.evaluator.predictor
        gain = predictor.changes(codes).reshape(n, -1)
        price = self._prices(codes).reshape(n, -1)
        usable = self._usable(codes).reshape(n, -1)
        rate = np.maximum(gain.max(axis=1), 1e-6) / np.maximum(price.max(axis=1), 1e-6)
        keys = [gain - rate[:, None] * factor * price for factor in (0.25, 0.5, 1.0, 2.0, 4.0)]
        alone = predictor.accuracy(merit[:, None] + gain)
        keys.append(self.evaluator.combine(alone, cost[:, None] + price, budgets_ms[:, None]))
        each = max(2, _KEPT_MOVES // len(keys))
        picked = [np.argpartition(-np.where(usable, key, -np.inf), each, axis=1)[:, :each] for key in keys]
        index = np.concatenate(picked, axis=1)
        keep = np.take_along_axis(usable, index, axis=1)
        gain, price = (np.take_along_axis(x, index, axis=1) for x in (gain, price))
        gain, price = np.where(keep, gain, -1e3), np.where(keep, price, 1e6)
        per_layer = LayerCodes(self.costs.space).codes
        return gain, price, index // per_layer, index % per_layer

    def _prices(self, codes: Codes) -> Array:
        """What setting one layer to another code would cost more, shape (n, layers, codes).

        Of another resolution, which is a layer too: what the whole network would.
        """
        table, codec = layer_prices(self.costs), LayerCodes(self.costs.space)
        side = codes[:, -1] if codec.layers > codec.in_units else np.zeros(len(codes), dtype=np.int64)
        layers = codes[:, : codec.in_units]
        each = table[:, np.arange(codec.in_units), layers]  # (resolutions, n, layers)
        prices = table[side] - each[side, np.arange(len(codes))][:, :, None]
        if codec.layers == codec.in_units:
            return prices
        whole = each.sum(axis=2).T + self.costs.resolution_ms  # (n, resolutions)
        further = np.zeros((len(codes), 1, codec.codes))
        further[:, 0, : whole.shape[1]] = whole - np.take_along_axis(whole, side[:, None], axis=1)
        return np.concatenate([prices, further], axis=1)

    def _usable(self, codes: Codes) -> Flags:
        """Which single changes leave a network of the space: the depth of a unit moves by one layer at most."""
        space = self.costs.space
        codec = LayerCodes(space)
        per_layer, sides = codec.codes, codes[:, codec.in_units :]
        by_unit = codes[:, : codec.in_units].reshape(len(codes), space.units, space.layers)
        depth = (by_unit > 0).sum(axis=2)[:, :, None]
        position = np.arange(space.layers)
        shallower, deeper = np.isin(depth - 1, space.depths), np.isin(depth + 1, space.depths)
        last, after = (position == depth - 1) & shallower, (position == depth) & deeper
        usable = np.zeros((*by_unit.shape, per_layer), dtype=bool)
        usable[..., 0] = last
        usable[..., 1 : 1 + len(space.expands) * len(space.kernels)] = ((position < depth) | after)[..., None]
        np.put_along_axis(usable, by_unit[..., None], False, axis=3)
        of_layers = usable.reshape(len(codes), -1, per_layer)
        of_sides = (np.arange(per_layer) < space.resolution_choices) & (np.arange(per_layer) != sides[..., None])
        return np.concatenate([of_layers, of_sides], axis=1)

    def _valid(self, codes: Codes) -> Flags:
        """Whether present layers come first in each unit and are as many as a depth of the space."""
        space = self.costs.space
        present = codes[:, : LayerCodes(space).in_units].reshape(len(codes), space.units, space.layers) > 0
        ordered = (present[:, :, 1:] <= present[:, :, :-1]).all(axis=2)
        return np.asarray((ordered & np.isin(present.sum(axis=2), space.depths)).all(axis=1))


def layer_prices(costs: CostModel) -> Array:
    """Cost in ms of every code of every layer, shape (resolutions, layers, codes); 0 for an absent layer."""
    space, codec = costs.space, LayerCodes(costs.space)
    position = [min(layer, 1) for layer in range(space.layers)]
    table = costs.of_layers[:, :, position].reshape(len(costs.resolution_ms), codec.in_units, -1)
    prices = np.zeros((*table.shape[:2], codec.codes))
    prices[:, :, 1 : 1 + table.shape[2]] = table
    return prices


def cheapest_tokens(costs: CostModel) -> Tokens:
    """The cheapest network of the space, shape (1, length)."""
    space, codec = costs.space, LayerCodes(costs.space)
    depths, found = np.array(space.depths), []
    for side, of_side in enumerate(costs.of_layers):
        flat = of_side.reshape(space.units, 2, -1)
        codes = np.zeros((space.units, space.layers), dtype=np.int64)
        for unit in range(space.units):
            depth = int(depths[(depths * flat[unit, 1].min()).argmin()])
            codes[unit, 0] = flat[unit, 0].argmin() + 1
            codes[unit, 1:depth] = flat[unit, 1].argmin() + 1
        found.append([*codes.reshape(-1).tolist(), *([side] if codec.layers > codec.in_units else [])])
    each = codec.tokens(np.array(found))
    return each[[int(costs(each).argmin())]]
