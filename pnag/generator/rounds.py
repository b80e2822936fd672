"""Spend accuracy evaluations in rounds: learn, ask where the answers are, learn again.

Two forms of the predictor are learnt side by side. One takes all accuracies alike. For the other, accuracies count less
the further they are below the best of their cost: a quadratic form that need not explain poor networks may fit the
good ones better. Before a round's accuracies join the others, both forms are judged by how well they predicted them;
the one that did better proposes the next round, and is what is returned. As long as the plain form does, most
questions go to what tells plausible answers apart; where it does not, its posterior is not to be trusted with that, and
all go to the answers themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pnag.accuracy.predictor_fit import Posterior, Start, fit_posterior
from pnag.generator.proposals import ANSWERS_SHARE, propose
from pnag.search.evolution import Ask
from pnag.search.frontier import behind_frontier
from pnag.space.cost import CostModel
from pnag.space.tokens import Tokens
from profiler.progress import Share

Array = NDArray[np.float64]

_NEAR = 0.07  # of the range of the accuracies: so far behind the best, a row has twice the noise variance
_BETTER = 0.85  # of the plain form's squared error: noise alone does not make the other one better
_FORGOTTEN = 0.5  # of what earlier rounds say of a form, each round


@dataclass(frozen=True)
class RoundsDone:
    """How far rounds have come: so many have made their proposals, and the next one starts from this state.

    `random_state` holds plain JSON values: what draws proposals, and what each form of the predictor needs.
    """

    number: int = 0
    random_state: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Learnt:
    """What rounds end with: all architectures (n, length), their accuracies (n,), and what they taught."""

    tokens: Tokens
    accuracy: Array
    posterior: Posterior


def near_frontier_spread(cost_ms: Array, accuracy: Array) -> Array:
    """By how much the noise variance of each row is to be multiplied, (n,): 1 on the frontier, more behind it."""
    near = _NEAR * float(np.ptp(accuracy))
    if near == 0:
        return np.ones(len(accuracy))
    return 1 + np.square(behind_frontier(cost_ms, accuracy) / near)


def ask_in_rounds(
    costs: CostModel,
    ask: Ask,
    tokens: Tokens,
    accuracy: Array,
    *,
    rounds: int,
    per_round: int,
    seed: int = 0,
    report: Share | None = None,
    done: RoundsDone | None = None,
    remember: Callable[[Tokens, RoundsDone], None] | None = None,
) -> Learnt:
    """Starting from these architectures (n, length) and accuracies (n,), ask `rounds` times for `per_round` more.

    Fewer are asked for where the whole space is known. `report` is called with the share done, between 0 and 1.
    `remember` is told what a round proposes, before it is asked, and how far the rounds have come then; given the last
    of these as `done`, and architectures that have grown by all proposals until then, the call goes on to the same end.
    """
    rng, done = np.random.default_rng([seed, 7]), done or RoundsDone()
    forms = [_Form(costs, near=False), _Form(costs, near=True)]
    if done.random_state is not None:
        rng.bit_generator.state = done.random_state["draws"]
        for form, state in zip(forms, done.random_state["forms"], strict=True):
            form.restore(state)
    for number in range(min(done.number, rounds), rounds + 1):
        spread = near_frontier_spread(costs(tokens), accuracy)
        for form in forms:
            form.learn(tokens, accuracy, spread, seed)
        plain, near = forms
        best = near if near.squared_error < _BETTER * plain.squared_error else plain
        if report is not None:
            report((number + 1) / (rounds + 1))
        if number == rounds:
            break
        share = 1.0 if best is near else ANSWERS_SHARE
        proposed = propose(costs, best.posterior, (tokens, accuracy), per_round, rng, answers_share=share)
        if not len(proposed):
            break
        for form in forms:
            form.predict(proposed)
        if remember is not None:
            state = {"draws": rng.bit_generator.state, "forms": [form.state() for form in forms]}
            remember(proposed, RoundsDone(number + 1, state))
        tokens, accuracy = np.concatenate([tokens, proposed]), np.concatenate([accuracy, ask(proposed)])
    return Learnt(tokens, accuracy, best.posterior)


class _Form:
    """One form of the predictor, learnt anew in each round from where it was; `squared_error` is of its predictions."""

    posterior: Posterior

    def __init__(self, costs: CostModel, *, near: bool) -> None:
        self._costs, self._near = costs, near
        self._start: Start | None = None
        self._predicted: Array = np.empty(0)
        self.squared_error = 0.0

    def learn(self, tokens: Tokens, accuracy: Array, spread: Array, seed: int) -> None:
        """Judge what was predicted of the last rows, each over its spread; then learn from all."""
        if len(self._predicted):
            last = slice(-len(self._predicted), None)
            squared = np.square(self._predicted - accuracy[last])
            self.squared_error = _FORGOTTEN * self.squared_error + float(np.average(squared, weights=1 / spread[last]))
        self.posterior = fit_posterior(
            self._costs.space, tokens, accuracy, spread=spread if self._near else None, start=self._start, seed=seed
        )
        self._start = self.posterior.end

    def predict(self, tokens: Tokens) -> None:
        """Say what these will be, to be judged when they are known."""
        self._predicted = self.posterior.predictor(tokens)

    def state(self) -> dict[str, Any]:
        """Plain JSON values of all that the next round needs."""
        assert self._start is not None
        ceiling = self._start.ceiling
        return {
            "squared_error": self.squared_error,
            "predicted": self._predicted.tolist(),
            "end": self._start.end.tolist(),
            "ceiling": None if np.isinf(ceiling) else ceiling,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken. Raises `KeyError`, `TypeError` or `ValueError` for what none was."""
        ceiling = np.inf if state["ceiling"] is None else state["ceiling"]
        self._start = Start(np.array(state["end"]), ceiling)
        self._predicted, self.squared_error = np.array(state["predicted"]), state["squared_error"]
