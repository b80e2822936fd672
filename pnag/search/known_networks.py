"""A fixed set of known networks that answers a budget with the best of them that keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pnag.space.tokens import Tokens, TokenSpace

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Pool:
    """What a search without a generator leaves behind: networks (n, length), their costs and accuracies (n,)."""

    tokens: Tokens
    cost_ms: Array
    accuracy: Array

    def best(self, limits_ms: Array, fallback: Tokens) -> Tokens:
        """The most accurate network within each limit, shape (n, length); `fallback` where there is none."""
        kept: NDArray[np.bool_] = np.less_equal(self.cost_ms, np.asarray(limits_ms)[:, None])
        return self.best_kept(kept, np.atleast_2d(fallback))

    def best_kept(self, kept: NDArray[np.bool_], fallback: Tokens) -> Tokens:
        """The most accurate network of those that a question keeps, shape (n, length), `kept` being (n, networks).

        `fallback` (n or 1, length) where it keeps none.
        """
        within = np.where(kept, self.accuracy, -np.inf)
        best = within.argmax(axis=1)
        known = np.isfinite(within[np.arange(len(kept)), best])
        return np.where(known[:, None], self.tokens[best], fallback)

    def measured(self, tokens: Tokens, otherwise: Array) -> Array:
        """The accuracies known for architectures, shape (n,); `otherwise` for those not in the pool."""
        known = {row.tobytes(): value for row, value in zip(self.tokens, self.accuracy.tolist(), strict=True)}
        return np.array([known.get(row.tobytes(), other) for row, other in zip(tokens, otherwise, strict=True)])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All of it, for a file."""
        return {"tokens": self.tokens, "cost_ms": self.cost_ms, "accuracy": self.accuracy}

    @classmethod
    def from_arrays(cls, space: TokenSpace, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The inverse of `arrays`. Raises `KeyError` or `ValueError` if they do not fit the space."""
        pool = cls(arrays["tokens"], arrays["cost_ms"], arrays["accuracy"])
        if pool.tokens.ndim != 2 or pool.tokens.shape[1] != space.length or len(pool.tokens) != len(pool.cost_ms):
            raise ValueError(f"a pool of shape {pool.tokens.shape} does not fit {space.name}")
        return pool
