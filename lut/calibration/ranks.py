"""Rank correlation, the measure that counts for choosing: does the table order networks as the device does?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def rank_correlation(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's correlation of two sequences of shape (n,), ties at their mean rank.

    NaN where it is undefined: fewer than two values, or all values of one sequence equal.
    """
    x, y = _mean_ranks(a), _mean_ranks(b)
    if x.size < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def _mean_ranks(values: ArrayLike) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(np.asarray(values, dtype=float), return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (counts.cumsum() - (counts - 1) / 2)[inverse]
    return ranks
