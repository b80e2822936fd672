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
from pnag.accuracy.remembered import Remembered
from pnag.search.evaluator import RuleEvaluator
from pnag.search.limits import costs_by, loads
from pnag.search.prices import layer_prices
from pnag.space.cost import CostModel
from pnag.space.tokens import Tokens

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]

_CHUNK = 64
_TRIED = 12
_KEPT_MOVES = 40
_RATES = (0.25, 0.5, 1.0, 2.0, 4.0)  # exchange rates of merit for cost, relative to that of the largest changes
_FEWEST_BY_KEY = 4
_NEVER = 1e12  # the price of what cannot be done, in any unit
_LEAST_GAIN = 1e-9


@dataclass(frozen=True)
class Refiner:
    """Local search under an evaluator and a cost model; `steps` exchanges at most.

    Where there are `further` cost models, of other devices or of sizes, what counts is the largest of the costs, each
    as a share of its own budget; budgets then have a first axis of models, in the order of `models`.
    """

    evaluator: RuleEvaluator
    costs: CostModel
    steps: int = 30
    further: tuple[CostModel, ...] = ()

    @property
    def models(self) -> tuple[CostModel, ...]:
        """All cost models."""
        return (self.costs, *self.further)

    def __call__(self, tokens: Tokens, budgets_ms: Array) -> Tokens:
        """Networks at least as good as those given, shape (n, length), each under its own budget: (n,) or (models, n).

        A network within its budgets stays within them under the dominance rule, since leaving one lowers the score.
        """
        return self.counted(tokens, budgets_ms)[0]

    def counted(self, tokens: Tokens, budgets_ms: Array) -> tuple[Tokens, Counts]:
        """The same, and how many exchanges each network took, (n,)."""
        codec, budgets_ms = LayerCodes(self.costs.space), np.atleast_2d(budgets_ms)
        questions = np.concatenate([codec.of(tokens), budgets_ms.T], axis=1)
        _, first, same = np.unique(questions, axis=0, return_index=True, return_inverse=True)
        codes, budgets_ms, asked = codec.of(tokens[first]), budgets_ms[:, first], _Asked(self.evaluator)
        taken = np.zeros(len(codes), dtype=np.int64)
        score = self._score(asked, codes, budgets_ms)
        active = np.arange(len(codes))
        for _ in range(self.steps):
            if not len(active):
                break
            better, gained = codes[active], score[active]
            for start in range(0, len(active), _CHUNK):
                part = slice(start, start + _CHUNK)
                better[part], gained[part] = self._step(asked, better[part], gained[part], budgets_ms[:, active[part]])
            improved = gained > score[active] + _LEAST_GAIN
            codes[active[improved]], score[active[improved]] = better[improved], gained[improved]
            active = active[improved]
            taken[active] += 1
        same = same.reshape(-1)  # numpy 2.0 gives it another shape
        return codec.tokens(codes)[same], taken[same]

    def across(self, tokens: Tokens, budgets_ms: Array) -> tuple[Tokens, Counts]:
        """As `counted`, each network refined from every resolution of the space, if it has several; the best of these.

        Another resolution changes the cost of all layers at once, so that exchanges of two seldom lead to it.
        """
        sides = self.costs.space.resolution_choices
        if sides == 1:
            return self.counted(tokens, budgets_ms)
        starts = np.repeat(tokens, sides, axis=0)
        starts[:, -1] = np.tile(np.arange(sides), len(tokens))
        wide = np.repeat(np.atleast_2d(budgets_ms), sides, axis=1)
        refined, taken = self.counted(starts, wide)
        best = self.score(refined, wide).reshape(-1, sides).argmax(axis=1)
        chosen = np.arange(len(tokens)) * sides + best
        return refined[chosen], taken[chosen]

    def score(self, tokens: Tokens, budgets_ms: Array) -> Array:
        """Scores of networks (n, length), each under its own budgets (models, n); shape (n,)."""
        return self._combine(self.evaluator.worth(tokens), self._costs(tokens), budgets_ms)

    def _combine(self, accuracy: Array, costs: Array, budgets_ms: Array) -> Array:
        """The rule, elementwise with broadcasting; costs and budgets have a first axis of models."""
        if len(costs) == 1:
            return self.evaluator.combine(accuracy, costs[0], budgets_ms[0])
        return self.evaluator.combine(accuracy, loads(costs, budgets_ms), np.ones(1))

    def _costs(self, tokens: Tokens) -> Array:
        return costs_by(self.models, tokens)

    def _score(self, asked: _Asked, codes: Codes, budgets_ms: Array) -> Array:
        tokens = LayerCodes(self.costs.space).tokens(codes)
        return self._combine(asked.worth(tokens), self._costs(tokens), budgets_ms)

    def _step(self, asked: _Asked, codes: Codes, score: Array, budgets_ms: Array) -> tuple[Codes, Array]:
        """The best of the most promising exchanges of each network, and its score."""
        n, layers = codes.shape
        tokens = LayerCodes(self.costs.space).tokens(codes)
        predictor, cost = self.evaluator.predictor, self._costs(tokens)
        merit = asked.merit(tokens)
        gain, price, layer, code = self._moves(codes, asked.changes(codes), merit, cost, budgets_ms)  # (n, moves)
        total = self._combine(
            predictor.accuracy(merit[:, None, None] + gain[:, :, None] + gain[:, None, :]),
            cost[:, :, None, None] + price[:, :, :, None] + price[:, :, None, :],
            budgets_ms[:, :, None, None],
        )
        total[layer[:, :, None] == layer[:, None, :]] = -np.inf
        moves = gain.shape[1]
        alone = predictor.accuracy(merit[:, None] + gain)
        singles = self._combine(alone, cost[:, :, None] + price, budgets_ms[:, :, None])
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
        scores = self._score(asked, tried, budgets_ms[:, network]).reshape(n, _TRIED)
        top = scores.argmax(axis=1)
        value = np.maximum(scores[np.arange(n), top], score)
        chosen = tried.reshape(n, _TRIED, layers)[np.arange(n), top]
        return np.where((scores[np.arange(n), top] > score)[:, None], chosen, codes), value

    def _moves(
        self, codes: Codes, changes: Array, merit: Array, cost: Array, budgets_ms: Array
    ) -> tuple[Array, Array, Codes, Codes]:
        """The changes worth pairing: what they add to merit and costs, their layer and new code, (n, kept).

        The best by score alone, and those that bring the most for their price at several exchange rates. What is added
        to costs has a first axis of models.
        """
        n, predictor = len(codes), self.evaluator.predictor
        gain = changes.reshape(n, -1)
        price = np.stack([self._prices(model, codes).reshape(n, -1) for model in self.models])
        usable = self._usable(codes).reshape(n, -1)
        rate = np.maximum(gain.max(axis=1), 1e-6) / np.maximum(price.max(axis=2), 1e-6)
        keys = [gain - rate[:, :, None][i] * factor * price[i] for i in range(len(price)) for factor in _RATES]
        alone = predictor.accuracy(merit[:, None] + gain)
        keys.append(self._combine(alone, cost[:, :, None] + price, budgets_ms[:, :, None]))
        each = max(_FEWEST_BY_KEY, _KEPT_MOVES // len(keys))
        picked = [np.argpartition(-np.where(usable, key, -np.inf), each, axis=1)[:, :each] for key in keys]
        index = np.concatenate(picked, axis=1)
        keep = np.take_along_axis(usable, index, axis=1)
        gain, price = np.take_along_axis(gain, index, axis=1), np.take_along_axis(price, index[None], axis=2)
        gain, price = np.where(keep, gain, -1e3), np.where(keep, price, _NEVER)
        per_layer = LayerCodes(self.costs.space).codes
        return gain, price, index // per_layer, index % per_layer

    def _prices(self, costs: CostModel, codes: Codes) -> Array:
        """What setting one layer to another code would cost more by a model, shape (n, layers, codes).

        Of another resolution, which is a layer too: what the whole network would.
        """
        table, codec = layer_prices(costs), LayerCodes(costs.space)
        side = codes[:, -1] if codec.layers > codec.in_units else np.zeros(len(codes), dtype=np.int64)
        layers = codes[:, : codec.in_units]
        each = table[:, np.arange(codec.in_units), layers]  # (resolutions, n, layers)
        prices = table[side] - each[side, np.arange(len(codes))][:, :, None]
        if codec.layers == codec.in_units:
            return prices
        whole = each.sum(axis=2).T + costs.resolution_ms  # (n, resolutions)
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


class _Asked:
    """What an evaluator says of networks, asked once for each: those of near budgets take the same way."""

    def __init__(self, evaluator: RuleEvaluator) -> None:
        self.worth = Remembered(evaluator.worth)  # of tokens
        self.merit = Remembered(evaluator.predictor.merit)  # of tokens
        self.changes = Remembered(evaluator.predictor.changes)  # of codes
