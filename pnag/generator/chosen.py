"""What predicted accuracies of chosen networks are worth: some answers are evaluated, and correct what is said of all.

Of all networks a search takes those whose predictions err upwards (the winner's curse), so an error that is typical of
networks at random says little of the chosen ones. Choosing is not affected by what is found here, only what is said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pnag.space.tokens import Tokens

Array = NDArray[np.float64]

ANSWERS = 12
FEWEST = 4


@dataclass(frozen=True)
class ChosenError:
    """How far predictions of `answers` chosen networks were above what they then reached; all but that in fractions.

    `optimism` is the mean of it, `error` the typical error of a further one once that mean is taken off.
    """

    optimism: float
    error: float
    answers: int

    @classmethod
    def of(cls, predicted: Array, reached: Array) -> Self:
        """From at least two networks, both (n,). The error counts how well the mean itself is known: s √(1 + 1/n)."""
        gap = predicted - reached
        return cls(float(gap.mean()), float(gap.std(ddof=1) * np.sqrt(1 + 1 / len(gap))), len(gap))

    def corrected(self, predicted: Array, error: Array) -> tuple[Array, Array]:
        """Accuracies of chosen networks without the optimism, and their typical errors, which are never less; (n,)."""
        return predicted - self.optimism, np.maximum(error, self.error)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`. Raises `KeyError` or `TypeError` for anything else."""
        return cls(float(values["optimism"]), float(values["error"]), int(values["answers"]))


def judge(tokens: Tokens, predicted: Array, evaluate: Callable[[Tokens], Array]) -> ChosenError | None:
    """Evaluate answers, tokens (n, length) with predicted accuracies (n,), each network once.

    `evaluate` gives accuracies (m,) of architectures (m, length), best on images that nothing was learnt from. None
    where fewer than four networks are different: they would say too little.
    """
    _, first = np.unique(tokens, axis=0, return_index=True)
    if len(first) < FEWEST:
        return None
    first = np.sort(first)
    return ChosenError.of(predicted[first], evaluate(tokens[first]))
