import numpy as np
import pytest

from pnag.accuracy.predictor import AccuracyPredictor, LayerCodes
from pnag.accuracy.predictor_fit import fit_predictor
from pnag.search.dominance import dominance
from pnag.search.evaluator import (
    RULES,
    RankingEvaluator,
    RuleEvaluator,
    cheapest_rule,
    dominance_rule,
    mnas_rule,
    tunas_rule,
)
from pnag.search.ranking import train_ranking
from pnag.space.spaces import load_space
from tests.pnag.search.learning_cases import archive, full_costs, tiny_costs

ACCURACY = np.array([0.76, 0.78, 0.79, 0.80, 0.78, 0.70])
COST = np.array([80.0, 95.0, 110.0, 130.0, 95.0, 100.0])


@pytest.mark.parametrize("budget", [10.0, 80.0, 100.0, 120.0, 500.0])
def test_the_default_rule_ranks_as_dominance_does(budget):
    score = dominance_rule(ACCURACY, COST, np.array(budget))
    np.testing.assert_array_equal(np.sign(score[:, None] - score[None, :]), dominance(COST, ACCURACY, budget))


def test_infeasible_ranks_below_feasible_whatever_is_predicted():
    score = dominance_rule(np.array([-0.3, 0.99]), np.array([100.0, 100.1]), np.array(100.0))
    assert score[0] > score[1]


def test_mnas_reward_of_hand_worked_numbers():
    got = mnas_rule(np.array([0.75]), np.array([160.0]), np.array([80.0]))
    assert got[0] == pytest.approx(0.75 * 2**-0.07)


def test_tunas_reward_falls_on_both_sides_of_the_budget():
    got = tunas_rule(np.full(3, 0.75), np.array([90.0, 100.0, 110.0]), np.array(100.0))
    np.testing.assert_allclose(got, [0.74, 0.75, 0.74])


def test_without_the_accuracy_constraint_only_cost_counts():
    score = cheapest_rule(ACCURACY, COST, np.array(100.0))
    assert score.argmax() == 0
    assert score[1] == score[4]


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_scores_each_network_under_its_own_budget(rule):
    costs = tiny_costs()
    tokens, accuracy = archive(costs, 30)
    evaluator = RuleEvaluator(fit_predictor(costs.space, tokens, accuracy), rule)
    cost = costs(tokens)
    budgets = np.linspace(*costs.range_ms, 30)
    together = evaluator(tokens, cost, budgets)
    alone = [evaluator(tokens[i : i + 1], cost[i : i + 1], budgets[i : i + 1])[0] for i in range(30)]
    np.testing.assert_allclose(together, alone, rtol=1e-6)
    assert np.isfinite(together).all()


@pytest.fixture(scope="module")
def ranking():
    costs = full_costs()
    tokens, accuracy = archive(costs, 300)
    size = LayerCodes(costs.space).layers * LayerCodes(costs.space).codes
    nothing = np.zeros(size, dtype=np.float32)
    predictor = AccuracyPredictor(costs.space, 0.7, nothing, np.zeros((size, size), dtype=np.float32), 0.0, 0.0, 0.0)
    return train_ranking(costs, predictor, tokens, accuracy, k=5, epochs=50)


def test_the_sources_form_learns_to_rank_by_dominance(ranking):
    costs = full_costs()
    tokens, accuracy = archive(costs, 400, seed=9)
    cost = costs(tokens)
    for budget in np.percentile(cost, [10, 50, 90]):
        score = ranking(tokens, cost, np.full(len(tokens), budget))
        signs = dominance(cost, accuracy, budget)
        agreement = (np.sign(score[:, None] - score[None, :]) == signs)[signs != 0].mean()
        assert agreement > 0.65


def test_the_sources_form_is_written_and_read(ranking):
    again = RankingEvaluator.from_arrays(ranking.predictor, ranking.arrays())
    tokens = load_space().sample(10, np.random.default_rng(0))
    cost, budgets = full_costs()(tokens), np.linspace(40, 100, 10)
    np.testing.assert_array_equal(again(tokens, cost, budgets), ranking(tokens, cost, budgets))
