"""Which architectures to ask about next: those whose accuracies would best tell what to answer.

What is not known yet matters only where it decides which network is the best under a budget. So predictors are drawn
from what the known accuracies leave open, and the generator answers budgets under each of them: rivals of what it
answers by the best guess. Asked about are then the networks that, together, leave least open of how much better the
rivals are. These need not be near the frontier themselves: an accuracy far below the ceiling says more of a merit, so
that a unit of a rival is best seen in a small network, and one network may tell many rivals apart.

Sources: Yu et al., Active Learning via Transductive Experimental Design, 2006; Fiez et al., Sequential Experimental
Design for Transductive Linear Bandits, 2019; Russo et al., A Tutorial on Thompson Sampling, 2018.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pnag.accuracy.predictor_fit import Posterior
from pnag.generator.generate import Generator
from pnag.search.evaluator import RuleEvaluator
from pnag.space.cost import CostModel
from pnag.space.sampling import sample_tilted
from pnag.space.tokens import Tokens, unit_tokens

Array = NDArray[np.float64]
Index = NDArray[np.intp]

_DRAWS, _BUDGETS_A_DRAW = 30, 20
_CROSSED, _PLANTED, _RANDOM = 1500, 3000, 500
_CONSIDERED = 1500


def propose(generator: Generator, posterior: Posterior, known: Tokens, n: int, rng: np.random.Generator) -> Tokens:
    """`n` architectures worth asking about that are not known yet, the most telling first; shape (n, length).

    There are fewer where there are no more candidates: in small spaces, or for many thousands.
    """
    budgets = spread_budgets(generator, _DRAWS * _BUDGETS_A_DRAW, rng)
    rivals = rival_answers(generator, posterior, budgets, rng)
    guesses = _answers(generator, budgets)
    plausible = np.unique(np.concatenate([guesses, rivals]), axis=0)
    candidates = unknown(_candidates(plausible, generator.costs, rng), known)
    if not len(candidates):
        return candidates
    return candidates[most_telling(posterior, guesses, rivals, candidates, n)]


def spread_budgets(generator: Generator, n: int, rng: np.random.Generator) -> Array:
    """`n` budgets in ms, one anywhere in each n-th of the range, in random order."""
    low, high = generator.range_ms
    return low + (high - low) * (rng.permutation(n) + rng.random(n)) / n


def rival_answers(generator: Generator, posterior: Posterior, budgets_ms: Array, rng: np.random.Generator) -> Tokens:
    """What the generator would answer to each budget if accuracies were as drawn from what is open, (n, length)."""
    rivals = np.empty((len(budgets_ms), generator.space.length), dtype=np.int8)
    draws = min(_DRAWS, len(budgets_ms))
    for first in range(draws):
        imagined = replace(generator, evaluator=RuleEvaluator(posterior.draw(rng)))
        rivals[first::draws] = _answers(imagined, budgets_ms[first::draws], seed=int(rng.integers(2**31)))
    return rivals


def most_telling(posterior: Posterior, guesses: Tokens, rivals: Tokens, candidates: Tokens, n: int) -> Index:
    """Which `n` of the candidates (m, length) to ask about, as indices (at most n,), the most telling first.

    They are taken one by one, each such that with its accuracy known too, least is left of the variances, summed, of
    how much more accurate each rival is than the guess beside it; both have shape (pairs, length).
    """
    unit = posterior.sharpness(guesses)[:, None]  # from merits to accuracies
    open_ = unit * (posterior.scaled(rivals) - posterior.scaled(guesses))
    asked = posterior.sharpness(candidates)[:, None] * posterior.scaled(candidates)
    told_open, told_asked = posterior.told(open_), posterior.told(asked)
    shared = open_ @ asked.T - told_open.T @ told_asked  # covariances of what is open, (pairs, m)
    variance = np.square(asked).sum(axis=1) - np.square(told_asked).sum(axis=0) + np.float32(posterior.strengths.noise)
    first = np.argsort(-np.square(shared).sum(axis=0) / variance, kind="stable")[: max(n, _CONSIDERED)]
    asked, told_asked, shared, variance = asked[first], told_asked[:, first], shared[:, first], variance[first]
    taken: list[int] = []
    gained = np.empty((min(n, len(first)), len(first)), dtype=np.float32)
    for step in range(len(gained)):
        gain = np.square(shared).sum(axis=0) / variance
        gain[taken] = -1.0
        best = int(np.argmax(gain))
        taken.append(best)
        told = asked @ asked[best] - told_asked[:, best] @ told_asked - gained[:step, best] @ gained[:step]
        gained[step] = told / np.sqrt(variance[best])
        shared -= np.outer(shared[:, best] / np.sqrt(variance[best]), gained[step])
        variance = np.maximum(variance - np.square(gained[step]), np.float32(posterior.strengths.noise))
    return first[taken]


def _candidates(plausible: Tokens, costs: CostModel, rng: np.random.Generator) -> Tokens:
    """Plausible answers, crossings of them, small networks with some of their units, and random ones; distinct."""
    space = costs.space
    units, every = unit_tokens(space, plausible), np.arange(space.units)
    crossed = units[rng.integers(len(units), size=(_CROSSED, space.units)), every]
    small = sample_tilted(space, 2 * _PLANTED, rng)
    small = rng.permutation(small[np.argsort(costs(small))[:_PLANTED]], axis=0)
    of_small = unit_tokens(space, small)
    planted = units[rng.integers(len(units), size=(_PLANTED, space.units)), every]
    rank = rng.permuted(np.tile(every, (_PLANTED, 1)), axis=1)
    few = rank < rng.integers(1, max(2, space.units), size=(_PLANTED, 1))
    mixed = np.where(few[:, :, None], planted, of_small)
    # a crossing's resolution, where that is a choice, is one of the plausible ones'
    whole = [
        np.concatenate([rows.reshape(len(rows), -1), sides], axis=1)
        for rows, sides in (
            (crossed, plausible[np.arange(_CROSSED) % len(plausible), crossed[0].size :]),
            (mixed, small[:, mixed[0].size :]),
        )
    ]
    return np.unique(np.concatenate([plausible, *whole, space.sample(_RANDOM, rng)]), axis=0)


def _answers(generator: Generator, budgets_ms: Array, seed: int = 0) -> Tokens:
    found = generator.generate_many(budgets_ms.tolist(), confidence=0.5, seed=seed)
    return generator.space.encode([candidate.architecture for candidate in found])


def unknown(tokens: Tokens, known: Tokens) -> Tokens:
    """Those of `tokens` (n, length) that are not among `known`, in their order."""
    seen = {row.tobytes() for row in known}
    return tokens[[row.tobytes() not in seen for row in tokens]]
