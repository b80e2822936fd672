"""From bounds on costs to networks: the LSTM proposes, the evaluator ranks, the best are refined.

Proposals beyond a bound are dropped, but may still be refined into networks within. The best of the networks known from
the training are refined too. What is returned keeps all bounds.

With several bounds more networks are refined: what is known from the training is good for its own costs alone, and far
from the best where another bound is the tight one. What was refined from different starts is then crossed, by units,
and the best of the crossings are refined as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pnag.generator.sampler import Policy
from pnag.search.evaluator import Evaluator, RuleEvaluator
from pnag.search.known_networks import Pool
from pnag.search.limits import Bounds, costs_by, loads
from pnag.space.cost import CostModel
from pnag.space.tokens import Tokens, unit_tokens

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Index = NDArray[np.intp]

_STARTS, _KNOWN_STARTS = 3, 2
_STARTS_OF_SEVERAL, _KNOWN_OF_SEVERAL = 16, 10  # where there are several bounds
_PARENTS, _CROSSINGS, _CROSSED = 16, 1500, 8  # the best that were refined, their crossings, and how many are refined
_BEYOND = 1e6  # minus the score of a network that keeps not all bounds, and its load more


@dataclass(frozen=True)
class Origin:
    """How a budget became a network: how many were drawn, how many of these kept all limits, what was refined.

    The answer came by so many `exchanges` of one or two layers from a network that was `drawn`, `known` from the
    training, `crossed` from others that were refined, or the `cheapest`; by none where it is that network itself.
    """

    drawn: int
    kept: int
    exchanges: int
    start: str


class Refines(Protocol):
    """Local search within bounds; `pnag.search.refine.Refiner` is one."""

    def __call__(self, tokens: Tokens, budgets_ms: Array) -> Tokens:
        """Networks at least as good as those given, shape (n, length), within bounds (models, n)."""

    def across(self, tokens: Tokens, budgets_ms: Array) -> tuple[Tokens, NDArray[np.int64]]:
        """The same from every resolution, and how many exchanges each took, (n,)."""


@dataclass(frozen=True)
class Answers:
    """What answers questions: the parts of a generator that take part in it.

    `refiner` makes a local search from an evaluator, the costs, the exchanges it may take and further cost models.
    """

    costs: CostModel
    evaluator: Evaluator
    proposer: Policy | Pool
    steps: int
    known: Tokens | None
    refiner: Callable[[RuleEvaluator, CostModel, int, tuple[CostModel, ...]], Refines]

    def search(
        self, within: Bounds, fallback: Tokens, candidates: int, seed: int
    ) -> tuple[Tokens, list[Origin | None]]:
        """The best network within each column of bounds, (n, length), and how it was found.

        `fallback` (n, length) keeps them, and is the answer where nothing better does. Of a pool of known networks
        nothing is to be told.
        """
        n = len(fallback)
        if isinstance(self.proposer, Pool):
            return self.proposer.best_kept(within.keeps(self.proposer.tokens), fallback), [None] * n
        proposed = [_drawn(self.proposer, told, candidates, seed) for told in within.budgets_told()]
        pool = np.concatenate([*proposed, fallback[:, None]], axis=1)
        order, load = self._rank(pool, within)
        ranked = np.take_along_axis(pool, order[:, :, None], axis=1)
        drawn = pool.shape[1] - 1
        kept = (load[:, :drawn] <= 1).sum(axis=1).tolist()
        unrefined = np.where(order[:, 0] == drawn, "cheapest", "drawn").tolist()
        if not (isinstance(self.evaluator, RuleEvaluator) and (self.steps or self.known is not None)):
            found = [Origin(drawn, kept[row], 0, unrefined[row]) for row in range(n)]
            return ranked[:, 0], [*found]
        several = len(within.models) > 1
        first = _distinct_first(ranked)[:, : _STARTS_OF_SEVERAL if several else _STARTS]
        known = self.known_starts(self.evaluator, within, _KNOWN_OF_SEVERAL if several else _KNOWN_STARTS)
        starts = np.concatenate([first, known], axis=1)
        kinds = ["drawn"] * first.shape[1] + ["known"] * known.shape[1]
        refiner = self.refiner(self.evaluator, self.costs, self.steps, within.models[1:])
        ends, taken = _refined(refiner, starts, within)
        if several:
            crossed = self._crossed(ends, within, seed)
            further, by = _refined(refiner, crossed, within)
            starts, ends = np.concatenate([starts, crossed], axis=1), np.concatenate([ends, further], axis=1)
            taken, kinds = np.concatenate([taken, by], axis=1), [*kinds, *["crossed"] * crossed.shape[1]]
        ends = np.concatenate([ends, ranked[:, :1]], axis=1)
        taken = np.pad(taken, ((0, 0), (0, 1)))
        chosen = self._rank(ends, within)[0][:, 0]
        origins: list[Origin | None] = []
        for row, index in enumerate(chosen.tolist()):
            start = unrefined[row] if index == len(kinds) else kinds[index]
            if start == "drawn" and index < len(kinds) and (starts[row, index] == fallback[row]).all():
                start = "cheapest"
            origins.append(Origin(drawn, kept[row], int(taken[row, index]), start))
        return ends[np.arange(n), chosen], origins

    def _crossed(self, refined: Tokens, within: Bounds, seed: int) -> Tokens:
        """The best crossings of what was refined for each question (n, m, length), (n, `_CROSSED`, length)."""
        space, ranked = self.costs.space, self._ranked(refined, within)[:, :_PARENTS]
        pools = []
        for parents, bounds in zip(ranked, within.bounds.T, strict=True):
            rng = np.random.default_rng([seed, *bounds.copy().view(np.uint64).tolist()])  # of the question alone
            units = unit_tokens(space, parents)
            taken = units[rng.integers(len(units), size=(_CROSSINGS, space.units)), np.arange(space.units)]
            ends = parents[rng.integers(len(parents), size=_CROSSINGS), space.units * space.tokens_per_unit :]
            pools.append(np.concatenate([taken.reshape(_CROSSINGS, -1), ends], axis=1))
        return _distinct_first(self._ranked(np.stack(pools), within))[:, :_CROSSED]

    def _ranked(self, pool: Tokens, within: Bounds) -> Tokens:
        """Each question's networks (n, m, length), the best first."""
        return np.take_along_axis(pool, self._rank(pool, within)[0][:, :, None], axis=1)

    def binding(self, tokens: Tokens, within: Bounds) -> Flags:
        """Which bounds stand in the way of a better network near each answer, (models, n).

        A bound does if an exchange (another known network, of a pool) that only it forbids would be taken. Where no
        bound does so alone but all together do, or where nothing is exchanged, it is the one that the answer comes
        nearest to.
        """
        models, n = within.bounds.shape
        share = costs_by(within.models, tokens) / within.bounds
        nearest: Flags = share == share.max(axis=0)
        freed = np.tile(within.bounds, models + 1)
        for free in range(models):
            freed[free, free * n : (free + 1) * n] = np.inf
        freed[:, models * n :] = np.inf
        starts = np.tile(tokens, (models + 1, 1))
        if isinstance(self.proposer, Pool):
            moved = self.proposer.best_kept(Bounds(within.models, freed).keeps(self.proposer.tokens), starts)
        elif isinstance(self.evaluator, RuleEvaluator) and self.evaluator.rule == "dominance" and self.steps:
            moved = self.refiner(self.evaluator, self.costs, 1, within.models[1:])(starts, freed)
        else:
            return nearest
        better = (moved != starts).any(axis=1).reshape(models + 1, n)
        alone: Flags = better[:models]
        return np.where(alone.any(axis=0), alone, nearest & better[models])

    def known_starts(self, evaluator: RuleEvaluator, within: Bounds, most: int) -> Tokens:
        """The best known networks within each column of bounds, shape (n, at most `most`, length)."""
        if self.known is None:
            return np.empty((within.n, 0, self.costs.space.length), dtype=np.int8)
        cost, worth = self.costs(self.known), evaluator.worth(self.known)
        scores = evaluator.combine(worth[None], cost[None], within.bounds[0][:, None])  # (n, known)
        if len(within.models) > 1:
            load = within.loads(self.known)
            scores = np.where(load <= 1, scores, -_BEYOND - load)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :most]
        starts: Tokens = self.known[best]
        return starts

    def _rank(self, pool: Tokens, within: Bounds) -> tuple[Index, Array]:
        """The order of each question's networks, best first, those beyond a bound last, and their loads; (n, m)."""
        n, m, length = pool.shape
        flat, wide = pool.reshape(-1, length), np.repeat(within.bounds, m, axis=1)
        costs = costs_by(within.models, flat)
        load = loads(costs, wide)
        scores = np.where(load <= 1, self.evaluator(flat, costs[0], wide[0]), -_BEYOND - load).reshape(n, m)
        return np.argsort(-scores, axis=1, kind="stable"), load.reshape(n, m)


def _refined(refiner: Refines, starts: Tokens, within: Bounds) -> tuple[Tokens, NDArray[np.int64]]:
    """What networks (n, m, length) of each question become, and by how many exchanges, (n, m)."""
    n, m, length = starts.shape
    refined, taken = refiner.across(starts.reshape(-1, length), np.repeat(within.bounds, m, axis=1))
    return refined.reshape(starts.shape), taken.reshape(n, m)


def _drawn(policy: Policy, budgets_ms: Array, candidates: int, seed: int) -> Tokens:
    """What the LSTM proposes for budgets (n,), shape (n, candidates, length)."""
    length = policy.space.length
    uniforms = np.stack([_uniforms(seed, budget, candidates, length) for budget in budgets_ms.tolist()])
    drawn = policy.sample(np.repeat(budgets_ms, candidates), uniforms.reshape(-1, length))
    return drawn.reshape(len(budgets_ms), candidates, -1)


def _uniforms(seed: int, limit: float, candidates: int, length: int) -> Array:
    """Random numbers of one budget's own, so that an answer does not depend on what else is asked."""
    rng = np.random.default_rng([seed, int(np.float64(limit).view(np.uint64))])
    return rng.random((candidates, length))


def _distinct_first(ranked: Tokens) -> Tokens:
    """The same networks with repeats of the one before moved to the end, so that the first ones differ."""
    fresh = np.ones(ranked.shape[:2], dtype=bool)
    fresh[:, 1:] = (ranked[:, 1:] != ranked[:, :-1]).any(axis=2)
    order = np.argsort(~fresh, axis=1, kind="stable")
    return np.take_along_axis(ranked, order[:, :, None], axis=1)
