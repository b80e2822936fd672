"""Spend accuracy evaluations in rounds: learn, ask where the answers are, learn again.

Two forms of the predictor are learnt side by side. One takes all accuracies alike. For the other, accuracies count less
the further they are below the best of their cost: a quadratic form that need not explain poor networks may fit the
good ones better. Before a round's accuracies join the others, both forms are judged by how well they predicted them;
the one that did better proposes the next round, and is what is returned.

Where the plain form does better, and near networks have nothing in common that it does not explain, most questions go
to what tells plausible answers apart. Otherwise its posterior is not to be trusted with that, and all go to the answers
themselves. Many small rounds are better than few large ones then: each begins where the last one came to. So the
strengths of features are searched anew only once there are enough more accuracies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pnag.accuracy.predictor_fit import DUAL_ROWS, Posterior, Start, fit_posterior
from pnag.generator.proposals import ANSWERS_SHARE, propose
from pnag.search.evolution import Ask
from pnag.search.frontier import behind_frontier
from pnag.space.cost import CostModel
from pnag.space.tokens import Tokens
from profiler.progress import Share

Array = NDArray[np.float64]

_NEAR = 0.07  # of the range of the accuracies: so far behind the best, a row has twice the noise variance
_BETTER = 0.85  # of the plain form's squared error: noise alone does not make the other one better
_HALF = 100.0  # accuracies after which what was predicted before them counts half
_ENOUGH_MORE = 1.15  # times as many accuracies: strengths are searched anew


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
    forms = [_Form(costs, near=False, seed=seed), _Form(costs, near=True, seed=seed)]
    if done.random_state is not None:
        rng.bit_generator.state = done.random_state["draws"]
        for form, state in zip(forms, done.random_state["forms"], strict=True):
            form.restore(state, tokens, accuracy)
    for number in range(min(done.number, rounds), rounds + 1):
        for form in forms:
            form.learn(tokens, accuracy, last=number == rounds)
        plain, near = forms
        best = near if near.squared_error < _BETTER * plain.squared_error else plain
        if report is not None:
            report((number + 1) / (rounds + 1))
        if number == rounds:
            break
        share = 1.0 if best is near or best.posterior.has_local_part else ANSWERS_SHARE
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

    def __init__(self, costs: CostModel, *, near: bool, seed: int) -> None:
        self._costs, self._near, self._seed = costs, near, seed
        self._start: Start | None = None
        self._before: Start | None = None  # where the last search for strengths began
        self._sizes: list[int] = []  # how many accuracies were known then, and in each round since
        self._predicted: Array = np.empty(0)
        self.squared_error = 0.0

    def learn(self, tokens: Tokens, accuracy: Array, *, last: bool) -> None:
        """Judge what was predicted of the last rows, each over its spread; then learn from all.

        Strengths are searched anew where there are enough more accuracies, or no further ones will come.
        """
        spread = near_frontier_spread(self._costs(tokens), accuracy)
        if n := len(self._predicted):
            error = float(np.average(np.square(self._predicted - accuracy[-n:]), weights=1 / spread[-n:]))
            kept = 0.5 ** (n / _HALF)
            self.squared_error = kept * self.squared_error + (1 - kept) * error
        if last or self._is_due(len(tokens)):
            self._before, self._sizes = self._start, []
        self._learn(tokens, accuracy, spread)

    def predict(self, tokens: Tokens) -> None:
        """Say what these will be, to be judged when they are known."""
        self._predicted = self.posterior.predictor(tokens)

    def state(self) -> dict[str, Any]:
        """Plain JSON values of all that the next round needs."""
        return {
            "squared_error": self.squared_error,
            "predicted": self._predicted.tolist(),
            "start": _plain(self._start),
            "before": _plain(self._before),
            "sizes": list(self._sizes),
        }

    def restore(self, state: Mapping[str, Any], tokens: Tokens, accuracy: Array) -> None:
        """Go on where `state` was taken, from the architectures and accuracies that are known now.

        Raises `KeyError`, `TypeError` or `ValueError` for what none was.
        """
        self._start, self._before = _start(state["start"]), _start(state["before"])
        self._predicted, self.squared_error = np.array(state["predicted"]), state["squared_error"]
        sizes = state["sizes"]
        if not sizes:
            raise ValueError("nothing was learnt from")
        self._sizes = sizes[:1]
        if self._is_due(len(tokens)):
            return
        self._sizes = []
        for n in sizes:
            self._learn(tokens[:n], accuracy[:n], near_frontier_spread(self._costs(tokens[:n]), accuracy[:n]))

    def _is_due(self, n: int) -> bool:
        """Whether strengths are to be searched anew with `n` accuracies."""
        return not self._sizes or n >= _ENOUGH_MORE * self._sizes[0] or n > DUAL_ROWS

    def _learn(self, tokens: Tokens, accuracy: Array, spread: Array) -> None:
        """From all of these: strengths too where none were found since they were due."""
        counted = spread if self._near else None
        if self._sizes:
            self.posterior = self.posterior.grown(tokens, accuracy, counted)
        else:
            self.posterior = fit_posterior(
                self._costs.space, tokens, accuracy, spread=counted, start=self._before, seed=self._seed
            )
        self._sizes.append(len(tokens))
        self._start = self.posterior.end


def _plain(start: Start | None) -> dict[str, Any] | None:
    """Plain JSON values of it."""
    if start is None:
        return None
    return {"end": start.end.tolist(), "ceiling": None if np.isinf(start.ceiling) else start.ceiling}


def _start(plain: Mapping[str, Any] | None) -> Start | None:
    """The inverse of `_plain`."""
    if plain is None:
        return None
    return Start(np.array(plain["end"]), np.inf if plain["ceiling"] is None else plain["ceiling"])
