"""Sets of networks on the cost/accuracy plane: which are on the frontier, and how much they dominate."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def on_frontier(cost_ms: ArrayLike, accuracy: ArrayLike) -> NDArray[np.bool_]:
    """Which networks no other one beats: at most their cost, at least their accuracy, and better in one. Shape (n,).

    Of several with the same cost and accuracy all are on the frontier.
    """
    cost, acc = np.asarray(cost_ms, dtype=float), np.asarray(accuracy, dtype=float)
    order = np.lexsort((-acc, cost))
    c, a = cost[order], acc[order]
    before = np.maximum.accumulate(np.concatenate([[-np.inf], a]))[:-1]
    same = np.concatenate([[False], (c[1:] == c[:-1]) & (a[1:] == a[:-1])])
    keep = a > before
    for index in np.flatnonzero(same):  # a copy shares the fate of the network it copies
        keep[index] = keep[index - 1]
    out = np.zeros(len(cost), dtype=bool)
    out[order] = keep
    return out


def behind_frontier(cost_ms: ArrayLike, accuracy: ArrayLike) -> Array:
    """By how much each network is less accurate than the best of at most its cost, shape (n,); 0 on the frontier."""
    cost, acc = np.asarray(cost_ms, dtype=float), np.asarray(accuracy, dtype=float)
    order = np.lexsort((-acc, cost))
    out = np.empty(len(acc))
    out[order] = np.maximum.accumulate(acc[order]) - acc[order]
    return out


def hypervolume(cost_ms: ArrayLike, accuracy: ArrayLike, *, worst: tuple[float, float]) -> float:
    """Area of the plane that a set of networks dominates, in ms times accuracy; 0 for an empty set.

    `worst` is the corner (cost, accuracy) from which the area is measured; what lies beyond it counts for
    nothing. Source: Zitzler and Thiele, Multiobjective Evolutionary Algorithms, 1999, for two objectives.
    """
    cost, acc = np.asarray(cost_ms, dtype=float), np.asarray(accuracy, dtype=float)
    inside = (cost < worst[0]) & (acc > worst[1])
    cost, acc = cost[inside], acc[inside]
    if not len(cost):
        return 0.0
    order = np.argsort(cost, kind="stable")
    cost, best = cost[order], np.maximum.accumulate(acc[order])
    widths = np.diff(np.append(cost, worst[0]))
    return float((widths * (best - worst[1])).sum())
