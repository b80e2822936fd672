"""Predicted accuracies of chosen networks, corrected by answers that were evaluated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pnag.delivery.answer import ranking_of
from pnag.generator.chosen import ChosenError, judge
from pnag.generator.generate import Generator
from pnag.generator.learning import train_generator
from pnag.generator.policy import PolicySettings
from pnag.space.tokens import Tokens
from tests.tables import TINY, made_up_table

COSTS = TINY.cost_model(made_up_table(TINY))
NOISE = 0.03


def truth(tokens: Tokens) -> np.ndarray:
    """Accuracies that level off with cost."""
    low, high = COSTS.range_ms
    share = (COSTS(tokens) - low) / (high - low)
    return 0.8 + 0.05 * np.sqrt(share)


@pytest.fixture(scope="module")
def generator() -> Generator:
    """One that learnt from few accuracies, with much noise."""
    rng = np.random.default_rng(0)
    tokens = TINY.sample(40, rng)
    known = truth(tokens) + rng.normal(0, NOISE, len(tokens))
    return train_generator(TINY, COSTS, tokens, np.clip(known, 0, 1), settings=PolicySettings(k=4, steps=20, hidden=16))


def test_the_mean_is_taken_off_and_the_error_counts_how_well_it_is_known() -> None:
    found = ChosenError.of(np.array([0.9, 0.92, 0.94]), np.array([0.88, 0.91, 0.91]))
    assert found.optimism == pytest.approx(0.02)
    assert found.error == pytest.approx(0.01 * np.sqrt(4 / 3))
    predicted, error = found.corrected(np.array([0.95, 0.7]), np.array([0.001, 0.5]))
    assert predicted == pytest.approx([0.93, 0.68])
    assert error == pytest.approx([found.error, 0.5])
    assert ChosenError.from_dict(found.to_dict()) == found


def test_each_network_is_evaluated_once_and_few_say_nothing() -> None:
    asked: list[Tokens] = []

    def evaluate(tokens: Tokens) -> np.ndarray:
        asked.append(tokens)
        return np.full(len(tokens), 0.5)

    tokens = TINY.sample(5, np.random.default_rng(1))
    twice = np.concatenate([tokens, tokens[::-1]])
    error = judge(twice, np.full(10, 0.6), evaluate)
    assert error is not None
    assert (error.answers, error.optimism) == (5, pytest.approx(0.1))
    assert np.array_equal(asked[0], tokens)
    assert judge(tokens[:3], np.full(3, 0.6), evaluate) is None
    assert len(asked) == 1


def test_what_is_said_of_answers_is_right_on_average_and_nothing_else_changes(
    generator: Generator, tmp_path: Path
) -> None:
    judged = generator.judged_by(truth)
    low, high = judged.range_ms
    budgets = np.linspace(1.02 * low, high, 37).tolist()
    before, after = (one.generate_many(budgets, confidence=0.5) for one in (generator, judged))
    assert [a.architecture for a in before] == [b.architecture for b in after]
    assert [a.score for a in before] == [b.score for b in after]
    true = truth(TINY.encode([one.architecture for one in after]))
    wrong, right = (np.mean([one.accuracy for one in found] - true) for found in (before, after))
    stated = np.mean([one.accuracy_error for one in after])
    assert abs(right) < abs(wrong) / 2
    assert abs(right) < stated
    assert ranking_of(after[0], judged)["answers_evaluated"] == judged.chosen.answers >= 4
    assert ranking_of(before[0], generator)["answers_evaluated"] == 0
    judged.save(tmp_path)
    again = Generator.load(tmp_path)
    assert again.generate_many(budgets, confidence=0.5) == after
    assert again.judged_by(truth).chosen == judged.chosen  # not on top of what was corrected already


def test_networks_that_were_measured_are_not_corrected() -> None:
    tokens = TINY.sample(30, np.random.default_rng(0))
    pool = train_generator(TINY, COSTS, tokens, truth(tokens), method="random")
    assert pool.judged_by(lambda _: pytest.fail("asked")) is pool
