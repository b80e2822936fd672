"""Which architectures to evaluate: random ones spread over the whole cost range, not heaped in its middle."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pnag.space.search_space import SearchSpace
from pnag.space.tokens import Tokens, TokenSpace

Cost = Callable[[Tokens], NDArray[np.float64]]

_CANDIDATES_EACH = 20
_BINS = 40
_TILT = 4.0
_SPREAD_ONE_IN = 6


def sample_tilted(space: TokenSpace, n: int, rng: np.random.Generator) -> Tokens:
    """`n` random architectures, each leaning as a whole to small or to large choices; shape (n, length).

    An architecture draws a tilt b uniformly, then choice i out of m of each token with probability
    proportional to exp(b · i / (m - 1)). Uniform choices alone (b = 0) hardly ever give a small or a large
    network: the sum of many choices is near its mean.
    """
    tilt = rng.uniform(-_TILT, _TILT, n)
    most = max(space.token_choices)
    choices = np.array(space.token_choices)  # (length,)
    position = np.arange(most) / np.maximum(choices - 1, 1)[:, None]  # (length, most)
    weights = np.where(np.arange(most) < choices[:, None], np.exp(tilt[:, None, None] * position), 0.0)
    upto = weights.cumsum(2) / weights.sum(2, keepdims=True)  # (n, length, most)
    drawn = (rng.random((n, space.length, 1)) >= upto[:, :, :-1]).sum(2)
    offset = np.ones(space.length, dtype=np.int64)
    offset[:: space.tokens_per_unit] = 0
    return space.canonical((drawn + offset).astype(np.int8))


def stratified(cost: NDArray[np.float64], n: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Indices of `n` of the costs (m,), as evenly spread over their range as they allow, in random order.

    The range is cut into equal bins, which take turns giving one of theirs at random.
    """
    edges = np.linspace(cost.min(), cost.max(), _BINS + 1)
    bins = np.clip(np.searchsorted(edges, cost, side="right") - 1, 0, _BINS - 1)
    order = rng.permutation(len(cost))
    turn = np.empty(len(cost), dtype=np.int64)
    for number in range(_BINS):
        members = order[bins[order] == number]
        turn[members] = np.arange(len(members))
    chosen = np.lexsort((rng.random(len(cost)), turn))[:n]
    return rng.permutation(chosen)


def sample_spread(space: SearchSpace, n: int, cost: Cost, rng: np.random.Generator) -> Tokens:
    """`n` distinct architectures whose costs are spread over the whole range, in random order; (n, length).

    The smallest and the largest network are always among them, if `n` is 2 or more.
    """
    extremes = space.encode(space.extremes())
    found = np.unique(np.concatenate([sample_tilted(space, n * _CANDIDATES_EACH, rng), extremes]), axis=0)
    ends = (found[:, None] == extremes[None]).all(2).any(1)
    middle = found[~ends]
    picked = middle[stratified(cost(middle), max(0, n - len(extremes)), rng)]
    return rng.permutation(np.concatenate([picked, extremes]), axis=0)[:n]


def sample_archive(space: SearchSpace, n: int, cost: Cost, rng: np.random.Generator) -> Tokens:
    """`n` distinct architectures to learn accuracies from, in random order; shape (n, length).

    One in six is of those spread over the whole cost range, the rest drawn plainly: there choices are
    independent of each other, which tells their effects apart. Measured where the best network is known, a
    predictor learnt from plain samples loses a third less accuracy than one learnt from spread ones.
    """
    both = np.concatenate([sample_spread(space, max(2, n // _SPREAD_ONE_IN), cost, rng), space.sample(2 * n, rng)])
    _, first = np.unique(both, axis=0, return_index=True)
    return _of_every_resolution(space, rng.permutation(both[np.sort(first)[:n]], axis=0))


def _of_every_resolution(space: SearchSpace, tokens: Tokens) -> Tokens:
    """The architectures, some of them moved to resolutions that none has, so that accuracies are known at each."""
    tokens = tokens.copy()
    for missing in sorted(set(range(len(space.resolutions))) - set(tokens[:, -1].tolist())):
        of_each = np.bincount(tokens[:, -1], minlength=len(space.resolutions))
        if of_each.max() > 1:
            tokens[np.flatnonzero(tokens[:, -1] == of_each.argmax())[0], -1] = missing
    return tokens
