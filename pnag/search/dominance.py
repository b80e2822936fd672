"""Which of two architectures is better under a budget: the Pareto dominance rule, for all pairs at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Signs = NDArray[np.int8]


def dominance(cost_ms: ArrayLike, accuracy: ArrayLike, budget_ms: ArrayLike) -> Signs:
    """d(aᵢ, aⱼ, B) for all pairs under all budgets.

    `cost_ms` and `accuracy` have shape (n,), `budget_ms` has shape (k,) or is a number; the result has shape
    (k, n, n) or (n, n). If both networks satisfy c ≤ B, the more accurate one dominates. If at least one
    violates the budget, the cheaper one does. 1: i dominates j; -1: j dominates i; 0: neither, because they
    are equal in what decides. Antisymmetric: d(aᵢ, aⱼ, B) = -d(aⱼ, aᵢ, B).

    Source: PNAG, eq. 4.
    """
    cost, acc = np.asarray(cost_ms, dtype=float), np.asarray(accuracy, dtype=float)
    budget = np.asarray(budget_ms, dtype=float)
    feasible = cost <= budget[..., None]  # (k, n)
    both = feasible[..., :, None] & feasible[..., None, :]  # (k, n, n)
    by_accuracy = np.sign(acc[:, None] - acc[None, :])
    by_cost = np.sign(cost[None, :] - cost[:, None])
    signs: Signs = np.where(both, by_accuracy, by_cost).astype(np.int8)
    return signs


def dominance_without_accuracy(cost_ms: ArrayLike, budget_ms: ArrayLike) -> Signs:
    """The rule without its accuracy constraint: the cheaper network dominates, whatever the budget.

    Shapes and values as for `dominance`. A network within the budget is cheaper than one beyond it, so all
    three of the rule's cases come to the same. Source: PNAG, remark 1 and table 2.
    """
    cost, budget = np.asarray(cost_ms, dtype=float), np.asarray(budget_ms, dtype=float)
    signs: Signs = np.sign(cost[None, :] - cost[:, None]).astype(np.int8)
    return np.broadcast_to(signs, (*budget.shape, *signs.shape)).copy()


def win_rate(signs: Signs) -> NDArray[np.float64]:
    """Mean of d(aᵢ, aⱼ, B) over all other j, shape (..., n) from (..., n, n); between -1 and 1.

    The mean over a group is 0, so it is its own baseline: each network is judged against all others.
    """
    n = signs.shape[-1]
    rate: NDArray[np.float64] = signs.sum(axis=-1, dtype=np.int64) / max(1, n - 1)
    return rate
