"""The comparison of searches: what is asked is counted, leads are over common seeds, other searches keep to a truth."""

import numpy as np
import pytest

from benchmarks.nsga2 import nsga2
from benchmarks.rival_truths import Truth
from benchmarks.rival_ways import OURS, WAYS, Asked, Lessons, by_macs
from benchmarks.rivals import Judged, judge, rows_of
from tests.pnag.search.learning_cases import archive, full_costs


@pytest.fixture(scope="module")
def lessons() -> Lessons:
    costs = full_costs()
    low, high = costs.range_ms
    budgets = (low + 0.3 * (high - low), low + 0.6 * (high - low))

    def accuracy(tokens: np.ndarray) -> np.ndarray:
        return 0.6 + 0.1 * tokens.sum(axis=1) / tokens.shape[1]

    return Lessons(Truth("made-up", "made up", "", costs, accuracy, budgets, (0.9, 0.9)), seed=0, questions=48)


@pytest.mark.parametrize("name", ["random search", "once-for-all's evolution, 250 a budget"])
def test_a_way_asks_as_often_as_it_says_and_its_answers_keep_the_budgets(lessons: Lessons, name: str) -> None:
    way = next(way for way in WAYS if way.name == name)
    judged = judge(lessons, way)
    assert judged.questions == pytest.approx(48, abs=4)
    assert (np.array(judged.cost_ms) <= lessons.truth.budgets_ms).all()
    assert (np.array(judged.accuracy) <= np.array(judged.best_asked) + 1e-9).all()


def test_what_is_asked_is_remembered_with_its_answers() -> None:
    costs = full_costs()
    tokens, accuracy = archive(costs, 20)
    known = {row.tobytes(): value for row, value in zip(tokens, accuracy.tolist(), strict=True)}
    asked = Asked(lambda some: np.array([known[row.tobytes()] for row in some]))
    asked(tokens[:5])
    asked(tokens[5:])
    pool = asked.pool(costs)
    np.testing.assert_array_equal(pool.tokens, tokens)
    np.testing.assert_array_equal(pool.accuracy, accuracy)


def test_nsga2_improves_on_what_it_starts_from(lessons: Lessons) -> None:
    asked = Asked(lessons.truth.ask)
    cost, accuracy = nsga2(lessons.truth.costs, asked, 400, population=40)
    first = asked.accuracy[0]
    budget = float(np.median(lessons.truth.costs(asked.tokens[0])))
    before = first[lessons.truth.costs(asked.tokens[0]) <= budget].max()
    assert sum(map(len, asked.accuracy)) == 400
    assert accuracy[cost <= budget].max() > before


def test_a_line_through_multiply_accumulates_has_the_residuals_of_the_networks_it_is_drawn_through(
    lessons: Lessons,
) -> None:
    straight, residuals = by_macs(lessons, lessons.at_random)
    true = lessons.truth.costs(lessons.at_random.tokens[: len(residuals)])
    np.testing.assert_allclose(straight(lessons.at_random.tokens[: len(residuals)]) * (1 + np.array(residuals)), true)


def test_leads_are_taken_over_the_seeds_that_both_have(lessons: Lessons) -> None:
    def judged(way: str, seed: int, accuracy: float) -> Judged:
        return Judged("made-up", way, seed, 48, 1.0, [accuracy] * 2, [0.0] * 2, [1.0] * 2, [accuracy] * 2)

    ours = [judged(OURS, seed, 80.0 + seed) for seed in range(2)]
    other = [judged("random search", seed, 79.0 + seed) for seed in range(1, 3)]
    row = rows_of(lessons.truth, [other, ours])[0]
    assert row["PNAG in rounds ahead by"] == "+1.000"
    assert row["mean lost"].startswith("9.500 ± ")
    assert row["seeds"] == 2
