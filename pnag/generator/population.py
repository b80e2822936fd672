"""A search of all budgets at once: a population along the cost axis, whose neighbours are crossed.

Local search from single networks ends where no exchange of two layers helps. Networks that are good at neighbouring
costs differ in more than that, and what is good in one often is in the other. So the cost axis is cut into cells, each
of which keeps its best few networks. Children are crossings of networks of near cells, by units or by layers, with some
tokens drawn again. A child enters the cell that its own cost falls in: one search serves all budgets, and no child is
lost for being too dear. Now and then some networks are refined (`pnag.search.refine`).

Sources: Mouret and Clune, Illuminating Search Spaces by Mapping Elites, 2015; crossing and mutating architectures as
once-for-all does (Cai et al., ICLR 2020).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pnag.accuracy.predictor import Predictor
from pnag.search.evaluator import RuleEvaluator
from pnag.search.evolution import Ask
from pnag.search.refine import Refiner
from pnag.space.cost import CostModel
from pnag.space.sampling import sample_tilted
from pnag.space.tokens import Tokens, TokenSpace
from profiler.progress import Share

Array = NDArray[np.float64]
Index = NDArray[np.intp]

_CELLS, _KEPT = 192, 4
_FIRST, _CHILDREN = 4000, 768
_ISLANDS, _ALONE = 3, 0.9  # populations, of which the last takes in the others; nine tenths are shared out evenly
_FAR = 6.0  # cells to the other parent, as a standard deviation; the first one is of the cell or beside it
_BY_UNITS, _BY_LAYERS = 0.4, 0.3  # of the children; the others are mutations of one parent
_UNITS_TAKEN, _LAYERS_TAKEN = 0.4, 0.3  # from the other parent
_REFINE_EVERY, _REFINED, _STEPS = 20, 48, 3  # generations, networks, exchanges
_DRAWN_AGAIN = (0.0, 1.0, 2.0, 4.0)  # tokens of a child, on average; at least one where nothing is crossed


class Population:
    """The best few networks of each cell of the cost axis, as `predictor` sees them.

    A network of a cell costs at most the cell's upper bound. A cell whose own networks are no better takes in the best
    one of the cell below. Networks are kept with choices for absent layers too, so that a layer which appears brings
    what a parent had there.
    """

    def __init__(self, predictor: Ask, costs: CostModel, rng: np.random.Generator) -> None:
        self._predictor, self._costs, self._rng = predictor, costs, rng
        self._space: TokenSpace = costs.space
        length = self._space.length
        self._limits = np.linspace(*costs.range_ms, _CELLS + 1)[1:]
        self._limits[-1] = np.inf  # rounding leaves nothing out
        self._genomes = np.ones((_CELLS, _KEPT, length), dtype=np.int8)
        self._accuracy = np.full((_CELLS, _KEPT), -np.inf)
        in_unit, self._unit = (
            np.arange(length) % self._space.tokens_per_unit,
            np.arange(length) // self._space.tokens_per_unit,
        )
        self._layer = np.cumsum((in_unit == 0) | (in_unit % 2 == 1)) - 1  # a depth by itself, ratio and kernel together
        self.offer(sample_tilted(self._space, _FIRST, rng))

    @property
    def best(self) -> Tokens:
        """The best network of each cell, without repeats, shape (n, length)."""
        some = np.isfinite(self._accuracy[:, 0])
        found: Tokens = np.unique(self._space.canonical(self._genomes[some, 0]), axis=0)
        return found

    def offer(self, tokens: Tokens) -> None:
        """Take in canonical networks (n, length) that are among the best of the cell that their cost falls in."""
        self._enter(self._complete(tokens))

    def advance(self) -> None:
        """One generation: as many children from each cell."""
        self._enter(self._children(_CHILDREN))

    def refine(self, refiner: Refiner) -> None:
        """Some of the networks, refined under the upper bounds of their cells, are offered."""
        filled = np.flatnonzero(np.isfinite(self._accuracy[:, 0]))
        place = self._rng.integers(0, len(filled), _REFINED)
        limits = np.minimum(self._limits[filled[place]], self._costs.range_ms[1])
        self.offer(refiner(self._space.canonical(self._parents(filled, place)), limits))

    def _enter(self, genomes: Tokens) -> None:
        tokens = self._space.canonical(genomes)
        accuracy, cell = self._predictor(tokens), np.searchsorted(self._limits, self._costs(tokens))
        above = np.minimum(np.arange(_CELLS) + 1, _CELLS - 1)
        genomes = np.concatenate([genomes, self._genomes.reshape(-1, genomes.shape[1]), self._genomes[:, 0]])
        accuracy = np.concatenate([accuracy, self._accuracy.reshape(-1), self._accuracy[:, 0]])
        cell = np.concatenate([cell, np.repeat(np.arange(_CELLS), _KEPT), above])
        order = np.lexsort((-accuracy, cell))
        repeated = np.zeros(len(order), dtype=bool)  # the same accuracy in a cell: all but always the same network
        repeated[1:] = (cell[order][1:] == cell[order][:-1]) & (accuracy[order][1:] == accuracy[order][:-1])
        order = order[~repeated & np.isfinite(accuracy[order])]
        rank = np.arange(len(order)) - np.searchsorted(cell[order], cell[order])
        order, rank = order[rank < _KEPT], rank[rank < _KEPT]
        self._genomes[cell[order], rank], self._accuracy[cell[order], rank] = genomes[order], accuracy[order]

    def _children(self, n: int) -> Tokens:
        """Crossings and mutations, with choices for absent layers too, (n, length)."""
        rng, length = self._rng, self._space.length
        filled = np.flatnonzero(np.isfinite(self._accuracy[:, 0]))
        cell = rng.permutation(np.arange(n) % len(filled))
        one = self._parents(filled, cell + np.rint(rng.standard_normal(n)).astype(np.intp))
        other = self._parents(filled, cell + np.rint(_FAR * rng.standard_normal(n)).astype(np.intp))
        kind = rng.random((n, 1))
        by_units = (rng.random((n, self._unit[-1] + 1)) < _UNITS_TAKEN)[:, self._unit]
        by_layers = (rng.random((n, self._layer[-1] + 1)) < _LAYERS_TAKEN)[:, self._layer]
        crossed = kind < _BY_UNITS + _BY_LAYERS
        taken = np.where(kind < _BY_UNITS, by_units, by_layers) & crossed
        again = rng.choice(_DRAWN_AGAIN, size=(n, 1))
        again = rng.random((n, length)) < np.where(crossed, again, np.maximum(again, 1.0)) / length
        fresh = self._complete(self._space.sample(n, rng))
        return np.where(again, fresh, np.where(taken, other, one))

    def _parents(self, filled: Index, place: Index) -> Tokens:
        """One of the networks of each of these cells, counted along those that have any."""
        cell = filled[np.clip(place, 0, len(filled) - 1)]
        which = self._rng.integers(0, _KEPT, len(cell))
        which = np.where(np.isfinite(self._accuracy[cell, which]), which, 0)
        parents: Tokens = self._genomes[cell, which]
        return parents

    def _complete(self, tokens: Tokens) -> Tokens:
        """The same with random choices where a layer is absent."""
        drawn = (self._rng.random(tokens.shape) * np.array(self._space.token_choices)).astype(np.int8) + 1
        counts_from_0 = np.arange(self._space.length) % self._space.tokens_per_unit == 0
        return np.where((tokens > 0) | counts_from_0, tokens, drawn)


def search_budgets(
    predictor: Predictor,
    costs: CostModel,
    rng: np.random.Generator,
    *,
    generations: int,
    known: Tokens | None = None,
    report: Share | None = None,
) -> Tokens:
    """The best networks found over the whole cost range, shape (n, length), for a predictor that can be asked at will.

    Two populations are searched apart before a third one takes in what they found, and the `known` networks, shape
    (m, length): a single one may end where all of its networks are alike. A generation asks for 768 accuracies;
    `report` is called with the share done after each.
    """
    refiner = Refiner(RuleEvaluator(predictor), costs, _STEPS)
    alone = round(_ALONE * generations / _ISLANDS)
    *apart, last = (Population(predictor, costs, rng) for _ in range(_ISLANDS))

    def run(population: Population, begin: int, end: int) -> None:
        for done in range(begin + 1, end + 1):
            population.advance()
            if (done - begin) % _REFINE_EVERY == 0:
                population.refine(refiner)
            if report is not None:
                report(done / generations)

    for index, population in enumerate(apart):
        run(population, index * alone, (index + 1) * alone)
    for start in (*(population.best for population in apart), *(() if known is None else (known,))):
        last.offer(start)
    run(last, len(apart) * alone, generations)
    return last.best
