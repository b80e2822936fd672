"""Regularised evolution for one budget: the search that a generator is compared with.

Source: Real et al., Regularized Evolution for Image Classifier Architecture Search, algorithm 1.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pnag.search.prices import cheapest_tokens
from pnag.space.cost import CostModel
from pnag.space.tokens import Tokens, TokenSpace

Array = NDArray[np.float64]
Ask = Callable[[Tokens], Array]
# Cost model, whom to ask, budget (ms), how many evaluations, random draws; all networks evaluated, and their accuracy.
Search = Callable[[CostModel, Ask, float, int, np.random.Generator], tuple[Tokens, Array]]

_POPULATION = 50
_TOURNAMENT = 10
_ATTEMPTS = 200
_GENERATION, _PARENTS, _MUTATED = 100, 0.25, 0.1


def evolve(
    costs: CostModel, ask: Ask, budget_ms: float, evaluations: int, rng: np.random.Generator
) -> tuple[Tokens, Array]:
    """All networks evaluated on the way, (evaluations, length), and what `ask` said of them.

    Only networks within the budget are evaluated: a mutation beyond it is drawn again.
    """
    space = costs.space
    first = min(_POPULATION, evaluations)
    tokens = [_within(costs, budget_ms, rng) for _ in range(first)]
    accuracy = ask(np.stack(tokens)).tolist()
    alive = deque(range(first))
    for _ in range(evaluations - first):
        drawn = rng.choice(len(alive), size=min(_TOURNAMENT, len(alive)), replace=False)
        parent = max((alive[i] for i in drawn.tolist()), key=lambda index: accuracy[index])
        child = _mutated_within(space, costs, tokens[parent], budget_ms, rng)
        alive.append(len(tokens))
        alive.popleft()
        tokens.append(child)
        accuracy.append(float(ask(child[None])[0]))
    return np.stack(tokens), np.array(accuracy)


def evolve_population(
    costs: CostModel, ask: Ask, budget_ms: float, evaluations: int, rng: np.random.Generator
) -> tuple[Tokens, Array]:
    """The same by generations, as once-for-all searches: the best quarter are parents, half of the children mutated.

    The others are crossings of two parents. A population of 100, or a third of the evaluations where that is less.
    Source: Cai et al., Once-for-All, ICLR 2020, and its published code: population 100, parent ratio 0.25, mutation
    probability 0.1, mutation ratio 0.5.
    """
    population = max(2, min(_GENERATION, evaluations // 3))
    tokens = np.stack([_within(costs, budget_ms, rng) for _ in range(min(population, evaluations))])
    accuracy = ask(tokens)
    alive = np.arange(len(tokens))
    while len(tokens) < evaluations:
        parents = alive[np.argsort(-accuracy[alive], kind="stable")][: max(1, int(_PARENTS * population))]
        n = min(population, evaluations - len(tokens))
        children = np.stack([
            _child_within(costs, tokens[rng.choice(parents, 2)], budget_ms, rng, crossed=index >= n // 2)
            for index in range(n)
        ])  # fmt: skip
        alive = np.concatenate([parents, np.arange(len(tokens), len(tokens) + n)])
        tokens, accuracy = np.concatenate([tokens, children]), np.concatenate([accuracy, ask(children)])
    return tokens, accuracy


def _child_within(
    costs: CostModel, parents: Tokens, budget_ms: float, rng: np.random.Generator, *, crossed: bool
) -> Tokens:
    """A crossing of two parents (2, length), or the first one mutated, that keeps the budget; else the first parent."""
    space = costs.space
    for _ in range(_ATTEMPTS):
        fresh = space.sample(1, rng)[0]
        own, other = (np.where(parent > 0, parent, fresh) for parent in parents)
        for row, parent in ((own, parents[0]), (other, parents[1])):
            row[:: space.tokens_per_unit] = parent[:: space.tokens_per_unit]
        changed = rng.random(space.length) < (0.5 if crossed else _MUTATED)
        if not crossed:
            other = np.maximum(fresh, 1)
            other[:: space.tokens_per_unit] = fresh[:: space.tokens_per_unit]
            other = np.where(fresh > 0, other, own)
        child: Tokens = space.canonical(np.where(changed, other, own)[None].astype(np.int8))[0]
        if costs(child[None])[0] <= budget_ms:
            return child
    first: Tokens = parents[0]
    return first


def mutate(space: TokenSpace, tokens: Tokens, rng: np.random.Generator) -> Tokens:
    """One token of one architecture (length,) drawn again; layers that appear are drawn too."""
    fresh = space.sample(1, rng)[0]
    full = np.where(tokens > 0, tokens, fresh)
    full[:: space.tokens_per_unit] = tokens[:: space.tokens_per_unit]
    position = int(rng.integers(space.length))
    offset = 0 if position % space.tokens_per_unit == 0 else 1
    full[position] = rng.integers(space.token_choices[position]) + offset
    child: Tokens = space.canonical(full[None])[0]
    return child


def _within(costs: CostModel, budget_ms: float, rng: np.random.Generator) -> Tokens:
    """A random network within the budget; where random ones never are, a walk upwards from the cheapest."""
    drawn = costs.space.sample(_ATTEMPTS, rng)
    kept = drawn[costs(drawn) <= budget_ms]
    tokens: Tokens = kept[0] if len(kept) else cheapest_tokens(costs)[0]
    if len(kept):
        return tokens
    for _ in range(costs.space.length):
        tokens = _mutated_within(costs.space, costs, tokens, budget_ms, rng)
    return tokens


def _mutated_within(
    space: TokenSpace, costs: CostModel, tokens: Tokens, budget_ms: float, rng: np.random.Generator
) -> Tokens:
    """A mutation that keeps the budget and differs from its parent, or the parent if none is found."""
    for _ in range(_ATTEMPTS):
        child = mutate(space, tokens, rng)
        if (child != tokens).any() and costs(child[None])[0] <= budget_ms:
            return child
    return tokens
