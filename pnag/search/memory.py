"""The best networks met so far, by budget: the generator learns from them, and later searches start from them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pnag.search.prices import cheapest_tokens
from pnag.search.refine import Refiner
from pnag.space.tokens import Tokens

Array = NDArray[np.float64]

_CELLS = 96


class Memory:
    """One network for each of `_CELLS` budgets, evenly spaced between `low_ms` and `high_ms`."""

    def __init__(self, refiner: Refiner, low_ms: float, high_ms: float) -> None:
        self._refiner = refiner
        self._budgets = np.linspace(low_ms, high_ms, _CELLS)
        self._tokens: Tokens = np.repeat(cheapest_tokens(refiner.costs), _CELLS, axis=0)
        self._scores = refiner.evaluator(self._tokens, refiner.costs(self._tokens), self._budgets)

    @property
    def networks(self) -> Tokens:
        """What is remembered, without repeats, shape (n, length)."""
        return np.unique(self._tokens, axis=0)

    def search(self, tokens: Tokens, rng: np.random.Generator) -> None:
        """Take in what is better among drawn architectures, then refine every cell's network.

        Each cell starts from what it or a neighbour holds: a good network for one budget is nearly one for
        the next.
        """
        self.offer(tokens)
        starts = self._tokens[np.clip(np.arange(_CELLS) + rng.integers(-1, 2, _CELLS), 0, _CELLS - 1)]
        self.offer(self._refiner(starts, self._budgets))

    def offer(self, tokens: Tokens) -> None:
        """Keep those of `tokens` (n, length) that are better than what is remembered."""
        evaluator = self._refiner.evaluator
        cost, accuracy = self._refiner.costs(tokens), evaluator.worth(tokens)
        scores = evaluator.combine(accuracy[None], cost[None], self._budgets[:, None])  # (cells, n)
        best = scores.argmax(axis=1)
        score = scores[np.arange(_CELLS), best]
        better = score > self._scores
        self._scores[better], self._tokens[better] = score[better], tokens[best[better]]

    def draw(self, n: int, rng: np.random.Generator, headroom: float) -> tuple[Tokens, Array]:
        """`n` remembered networks with a budget that each is an answer to, (n, length) and (n,).

        The budgets lie above the cells' own by `headroom`, relative, and by up to half a cell.
        """
        cells = rng.permutation(np.arange(n) % _CELLS)
        step = self._budgets[1] - self._budgets[0]
        return self._tokens[cells], self._budgets[cells] * (1 + headroom) + step * 0.5 * rng.random(n)
