"""The loop of measuring and answering again, on a device whose networks take longer or less than predicted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pnag.delivery.closing import ATTEMPTS, Tried, best_of, next_try
from pnag.generator.generate import Candidate, Generator
from pnag.generator.learning import train_generator
from tests.tables import TINY, made_up_table


@pytest.fixture(scope="module")
def generator() -> Generator:
    costs = TINY.cost_model(made_up_table(TINY))
    tokens = TINY.sample(200, np.random.default_rng(0))
    tokens = np.unique(tokens, axis=0)
    accuracy = 0.6 + 0.1 * np.sqrt(costs(tokens) - costs.range_ms[0] + 0.01)
    return train_generator(TINY, costs, tokens, accuracy, method="random", residuals=(-0.02, 0.0, 0.02))


def close(generator: Generator, budget_ms: float, device: Callable[[Candidate], float]) -> list[Tried]:
    candidate = generator.generate(budget_ms)
    tried = [Tried(candidate, device(candidate))]
    while len(tried) < ATTEMPTS and (further := next_try(generator, tried)) is not None:
        tried.append(Tried(further, device(further)))
    return tried


@pytest.mark.parametrize("factor", [0.9, 0.97, 1.0, 1.08, 1.2])
def test_the_loop_ends_within_the_budget_and_near_it(generator: Generator, factor: float) -> None:
    low, high = (bound * max(1.0, factor) for bound in generator.range_ms)
    for budget in np.linspace(low * 1.1, high * 0.98, 7).tolist():
        tried = close(generator, budget, lambda candidate: factor * candidate.cost_ms)
        best = tried[best_of(tried)]
        assert best.kept
        first = tried[0]
        if first.kept and len(tried) > 1:
            assert best.candidate.accuracy >= first.candidate.accuracy


def test_a_network_that_uses_its_budget_up_ends_the_loop(generator: Generator) -> None:
    budget = sum(generator.range_ms) / 2
    tried = close(generator, budget, lambda candidate: 0.99 * budget)
    assert len(tried) == 1


def test_where_nothing_is_fast_enough_the_nearest_is_the_answer(generator: Generator) -> None:
    budget = generator.range_ms[0] * 1.2
    tried = close(generator, budget, lambda candidate: 3 * candidate.cost_ms)
    best = tried[best_of(tried)]
    assert not best.kept
    assert best.measured_ms == min(one.measured_ms for one in tried)
