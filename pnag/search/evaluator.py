"""How good an architecture is under a budget: the evaluator R(a | B), for training and for generation.

`RuleEvaluator` knows c(a) exactly, from the table, and predicts the accuracy; a rule makes one score of the
two. The default rule is Pareto dominance as a score: whoever keeps the budget is above whoever does not,
among the former accuracy decides, among the latter the cost. Other rules are the rewards of other methods.
`RankingEvaluator` is the form of the source: three fully connected layers over encoding and budget vector.
Both need numpy only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from pnag.accuracy.predictor import Correction, LayerCodes, Predictor
from pnag.arrays import layer_arrays, layers_in
from pnag.space.budget import interpolation
from pnag.space.tokens import Tokens

Array = NDArray[np.float64]
Rule = Callable[[Array, Array, Array], Array]

MNAS_EXPONENT = -0.07
TUNAS_WEIGHT = -0.10
CAUTION = 1.0  # how many typical errors a prediction is discounted by


def dominance_rule(accuracy: Array, cost_ms: Array, budget_ms: Array) -> Array:
    """Accuracy within the budget; beyond it below -1, the more the dearer. Source: PNAG, eq. 4, as an order."""
    return np.where(cost_ms <= budget_ms, np.maximum(accuracy, -1.0), -1.0 - cost_ms / budget_ms)


def mnas_rule(accuracy: Array, cost_ms: Array, budget_ms: Array) -> Array:
    """acc · (T / T₀)^w on both sides of the budget. Source: MnasNet, section 3.1, w = -0.07."""
    return np.asarray(accuracy * (cost_ms / budget_ms) ** MNAS_EXPONENT)


def tunas_rule(accuracy: Array, cost_ms: Array, budget_ms: Array) -> Array:
    """acc + β · |T / T₀ - 1|, the absolute reward. Source: TuNAS, section 3.2; β as in `TUNAS_WEIGHT`."""
    return np.asarray(accuracy + TUNAS_WEIGHT * np.abs(cost_ms / budget_ms - 1))


def cheapest_rule(accuracy: Array, cost_ms: Array, budget_ms: Array) -> Array:
    """Dominance without its accuracy constraint: the cheaper, the better. Source: PNAG, remark 1."""
    return np.asarray(0.0 * accuracy - cost_ms / budget_ms)


RULES: Mapping[str, Rule] = {
    "dominance": dominance_rule,
    "mnas": mnas_rule,
    "tunas": tunas_rule,
    "cheapest": cheapest_rule,
}


class Evaluator(Protocol):
    """R(a | B). `predictor` says what accuracy to expect, whatever the score is made of."""

    @property
    def predictor(self) -> Predictor:
        """What says which accuracy to expect."""

    def __call__(self, tokens: Tokens, cost_ms: Array, budget_ms: Array) -> Array:
        """Scores, shape (n,), of n architectures with their costs, each under its own budget; higher is better."""


@dataclass
class RuleEvaluator:
    """Predicted accuracy and exact cost, made one score by the rule of that name.

    Where `nearby` knows networks, they correct the prediction, and its lower confidence bound counts: a
    network is chosen before a known one only if what it is predicted to gain is more than that.
    """

    predictor: Predictor
    rule: str = "dominance"
    nearby: Correction | None = None

    def expected(self, tokens: Tokens) -> tuple[Array, Array]:
        """Accuracy to expect of architectures and the typical error of that, as fractions, both (n,)."""
        predicted = self.predictor(tokens)
        if self.nearby is None:
            return predicted, np.full(len(tokens), self.predictor.error)
        correction, deviation = self.nearby(tokens)
        return predicted + correction, deviation

    def worth(self, tokens: Tokens) -> Array:
        """Accuracy that counts in a comparison, (n,): the lower confidence bound of what is expected."""
        if self.nearby is None:
            return self.predictor(tokens)
        expected, deviation = self.expected(tokens)
        return expected - CAUTION * deviation

    def combine(self, accuracy: Array, cost_ms: Array, budget_ms: Array) -> Array:
        """The rule, elementwise with broadcasting."""
        return RULES[self.rule](accuracy, cost_ms, budget_ms)

    def __call__(self, tokens: Tokens, cost_ms: Array, budget_ms: Array) -> Array:
        """Scores, shape (n,)."""
        return self.combine(self.worth(tokens), cost_ms, budget_ms)


@dataclass
class RankingEvaluator:
    """Three fully connected layers over one-hot layer codes and the budget's interpolated vector.

    `anchors_ms` (k,), `vectors` (k, width); each of `layers` is a weight (in, out) and a bias (out,).
    """

    predictor: Predictor
    anchors_ms: Array
    vectors: NDArray[np.float32]
    layers: tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...]

    def __call__(self, tokens: Tokens, cost_ms: Array, budget_ms: Array) -> Array:
        """Scores, shape (n,); c(a) is not among the inputs."""
        codec = LayerCodes(self.predictor.space)
        budget = interpolation(self.anchors_ms, budget_ms).astype(np.float32) @ self.vectors
        x = np.concatenate([codec.one_hot(codec.of(tokens)), budget], axis=1)
        for index, (weight, bias) in enumerate(self.layers):
            x = x @ weight + bias
            if index < len(self.layers) - 1:
                x = np.maximum(x, 0)
        return np.asarray(x[:, 0], dtype=np.float64)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The weights, for a file."""
        return {"anchors_ms": self.anchors_ms, "vectors": self.vectors, **layer_arrays(self.layers)}

    @classmethod
    def from_arrays(cls, predictor: Predictor, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The inverse of `arrays`."""
        return cls(predictor, arrays["anchors_ms"], arrays["vectors"], layers_in(arrays))
