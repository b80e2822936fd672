"""Which architectures to ask about next: plausible answers, and those that tell plausible answers apart.

What is not known yet matters only where it decides which network is the best under a budget. So predictors are drawn
from the posterior distribution, and budgets are answered under each of them (Thompson sampling). Some of the
questions are about these answers themselves: where the predictor's form is wrong, nothing else corrects it there.
The others are about networks whose accuracies, together, leave the least posterior variance of how much better the
drawn answers are than the best guesses. These need not be near the frontier themselves: an accuracy far below the
ceiling says more of a merit, so that a unit of a rival is best seen in a small network, and one network may tell many
rivals apart.

Sources: Russo et al., A Tutorial on Thompson Sampling, 2018; Yu et al., Active Learning via Transductive Experimental
Design, 2006; Fiez et al., Sequential Experimental Design for Transductive Linear Bandits, 2019.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pnag.accuracy.predictor import Predictor
from pnag.accuracy.predictor_fit import Posterior
from pnag.search.evaluator import RuleEvaluator
from pnag.search.prices import cheapest_tokens
from pnag.search.refine import Refiner
from pnag.space.cost import CostModel
from pnag.space.sampling import sample_tilted
from pnag.space.tokens import Tokens, unit_tokens

Array = NDArray[np.float64]
Index = NDArray[np.intp]

_DRAWS, _MORE_DRAWS = 8, 3
_BUDGETS_A_QUESTION, _MOST_BUDGETS = 5, 480
_GRID = 400
_ELITES = 180
_CROSSED, _PLANTED, _RANDOM = 1500, 3000, 500
_CONSIDERED = 1500
ANSWERS_SHARE = 0.25


def propose(
    costs: CostModel,
    posterior: Posterior,
    known: tuple[Tokens, Array],
    n: int,
    rng: np.random.Generator,
    *,
    answers_share: float = ANSWERS_SHARE,
) -> Tokens:
    """`n` architectures worth asking about that are not `known` yet; shape (n, length).

    `known` are architectures (m, length) and their accuracies (m,). There are fewer where there are no more
    candidates: in small spaces, or for many thousands.
    """
    tokens = known[0]
    budgets = spread_budgets(costs, known, min(_MOST_BUDGETS, _BUDGETS_A_QUESTION * n), rng)
    starts = _starts(costs, known, rng)
    guesses = answers(costs, posterior.predictor, starts, budgets)
    rivals = rival_answers(costs, posterior, starts, budgets, rng)
    wanted = round(answers_share * n)
    asked = unknown(_alternating(guesses, rivals, rng), tokens)[:wanted]
    for _ in range(_MORE_DRAWS):  # where most answers are known already
        if len(asked) >= wanted:
            break
        further = rng.permutation(np.unique(rival_answers(costs, posterior, starts, budgets, rng), axis=0))
        asked = np.concatenate([asked, unknown(further, np.concatenate([tokens, asked]))])[:wanted]
    plausible = np.unique(np.concatenate([guesses, rivals]), axis=0)
    candidates = unknown(_candidates(plausible, costs, rng), np.concatenate([tokens, asked]))
    if len(candidates) and len(asked) < n:
        informative = candidates[most_informative(posterior, guesses, rivals, candidates, n - len(asked))]
        asked = np.concatenate([asked, informative])
    return asked


def spread_budgets(costs: CostModel, known: tuple[Tokens, Array], n: int, rng: np.random.Generator) -> Array:
    """`n` budgets in ms over the range, in random order, spread evenly along the frontier of what is `known`.

    Half of the way along it is the budget's logarithm, the other half the accuracy that it brings: where accuracies
    rise steeply there is more to find than where they level off.
    """
    tokens, accuracy = known
    low, high = float(costs(cheapest_tokens(costs))[0]), costs.range_ms[1]
    grid = np.linspace(low, high, _GRID)
    cost = costs(tokens)
    order = np.argsort(cost, kind="stable")
    best = np.maximum.accumulate(accuracy[order])
    reached = best[np.clip(np.searchsorted(cost[order], grid, side="right") - 1, 0, len(best) - 1)]
    way = np.log(grid / low) / np.log(high / low) if high > low else np.linspace(0, 1, _GRID)
    if reached[-1] > reached[0]:
        way = (way + (reached - reached[0]) / (reached[-1] - reached[0])) / 2
    budgets: Array = np.interp((rng.permutation(n) + rng.random(n)) / n, way, grid)
    return budgets


def answers(costs: CostModel, predictor: Predictor, starts: Tokens, budgets_ms: Array) -> Tokens:
    """The best networks found for budgets (n,) by local search from the best of `starts` (m, length); (n, length)."""
    evaluator = RuleEvaluator(predictor)
    cost, accuracy = costs(starts), predictor(starts)
    scores = evaluator.combine(accuracy[None], cost[None], budgets_ms[:, None])
    return Refiner(evaluator, costs)(starts[scores.argmax(axis=1)], budgets_ms)


def rival_answers(
    costs: CostModel, posterior: Posterior, starts: Tokens, budgets_ms: Array, rng: np.random.Generator
) -> Tokens:
    """What would be answered to each budget if accuracies were as drawn from the posterior, (n, length)."""
    rivals = np.empty((len(budgets_ms), starts.shape[1]), dtype=np.int8)
    draws = min(_DRAWS, len(budgets_ms))
    for first in range(draws):
        rivals[first::draws] = answers(costs, posterior.draw(rng), starts, budgets_ms[first::draws])
    return rivals


def most_informative(posterior: Posterior, guesses: Tokens, rivals: Tokens, candidates: Tokens, n: int) -> Index:
    """Which `n` of the candidates (m, length) to ask about, as indices (at most n,), the most informative first.

    They are taken one by one, each such that with its accuracy known too, least is left of the variances, summed, of
    how much more accurate each rival is than the guess beside it; both have shape (pairs, length).
    """
    unit = posterior.slope(guesses)[:, None]  # from merits to accuracies
    open_ = unit * (posterior.scaled(rivals) - posterior.scaled(guesses))
    asked = posterior.slope(candidates)[:, None] * posterior.scaled(candidates)
    white_open, white_asked = posterior.whitened(open_), posterior.whitened(asked)
    shared = open_ @ asked.T - white_open.T @ white_asked  # posterior covariances, (pairs, m)
    variance = np.square(asked).sum(axis=1) - np.square(white_asked).sum(axis=0) + np.float32(posterior.unexplained)
    first = np.argsort(-np.square(shared).sum(axis=0) / variance, kind="stable")[: max(n, _CONSIDERED)]
    asked, white_asked, shared, variance = asked[first], white_asked[:, first], shared[:, first], variance[first]
    taken: list[int] = []
    gained = np.empty((min(n, len(first)), len(first)), dtype=np.float32)
    for step in range(len(gained)):
        gain = np.square(shared).sum(axis=0) / variance
        gain[taken] = -1.0
        best = int(np.argmax(gain))
        taken.append(best)
        covariance = asked @ asked[best] - white_asked[:, best] @ white_asked - gained[:step, best] @ gained[:step]
        gained[step] = covariance / np.sqrt(variance[best])
        shared -= np.outer(shared[:, best] / np.sqrt(variance[best]), gained[step])
        variance = np.maximum(variance - np.square(gained[step]), np.float32(posterior.unexplained))
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


def _starts(costs: CostModel, known: tuple[Tokens, Array], rng: np.random.Generator) -> Tokens:
    """What searches start from: known networks, the cheapest one, and crossings of the best known, unit by unit."""
    tokens, accuracy = known
    space, cost = costs.space, costs(tokens)
    budgets = np.linspace(*costs.range_ms, _ELITES // 3)
    within = np.where(cost[None] <= budgets[:, None], accuracy[None], -np.inf)
    best = tokens[np.unique(np.argsort(-within, axis=1, kind="stable")[:, :3])]
    units = unit_tokens(space, best)
    crossed = units[rng.integers(len(units), size=(2 * _CROSSED, space.units)), np.arange(space.units)]
    flat = crossed.reshape(len(crossed), -1)
    sides = best[np.arange(len(flat)) % len(best), flat.shape[1] :]  # of resolutions, where there are several
    both = np.concatenate([flat, sides], axis=1)
    return np.unique(np.concatenate([tokens, cheapest_tokens(costs), both]), axis=0)


def _alternating(guesses: Tokens, rivals: Tokens, rng: np.random.Generator) -> Tokens:
    """Answers without repeats, one in three of them a best guess until there are no more."""
    guesses, rivals = rng.permutation(np.unique(guesses, axis=0)), rng.permutation(np.unique(rivals, axis=0))
    both = np.concatenate([guesses, rivals])
    turn = np.concatenate([3 * np.arange(len(guesses)), 1.5 * np.arange(len(rivals))])
    both = both[np.argsort(turn, kind="stable")]
    _, first = np.unique(both, axis=0, return_index=True)
    return both[np.sort(first)]


def unknown(tokens: Tokens, known: Tokens) -> Tokens:
    """Those of `tokens` (n, length) that are not among `known`, in their order."""
    seen = {row.tobytes() for row in known}
    return tokens[[row.tobytes() not in seen for row in tokens]]
