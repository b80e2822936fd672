import numpy as np
import pytest

from pnag.accuracy.predictor import LayerCodes
from pnag.accuracy.predictor_fit import fit_predictor
from pnag.search.evaluator import RuleEvaluator
from pnag.search.prices import cheapest_tokens, layer_prices
from pnag.search.refine import Refiner
from pnag.space.spaces import load_space
from tests.pnag.search.learning_cases import (
    TWO_SIDES,
    all_tokens,
    archive,
    full_costs,
    tiny_costs,
    two_sided_archive,
    two_sided_costs,
)

BUDGETS = 12


@pytest.fixture(scope="module")
def tiny():
    costs = tiny_costs()
    return Refiner(RuleEvaluator(fit_predictor(costs.space, *archive(costs, 150))), costs)


@pytest.fixture(scope="module")
def full():
    costs = full_costs()
    return Refiner(RuleEvaluator(fit_predictor(costs.space, *archive(costs, 400))), costs)


def budgets_of(refiner):
    low, high = refiner.costs.range_ms
    return np.linspace(low, high, BUDGETS)


def score(refiner, tokens, budgets):
    return refiner.evaluator(tokens, refiner.costs(tokens), budgets)


def test_the_cheapest_network_is_the_cheapest():
    costs, tokens = tiny_costs(), all_tokens()
    assert costs(cheapest_tokens(costs))[0] == costs(tokens).min() == pytest.approx(costs.range_ms[0])


def test_prices_of_layers_sum_to_the_cost():
    costs = full_costs()
    tokens = costs.space.sample(50, np.random.default_rng(0))
    codes = LayerCodes(costs.space).of(tokens)
    (table,) = layer_prices(costs)
    summed = costs.constant_ms + table[np.arange(codes.shape[1]), codes].sum(axis=1)
    np.testing.assert_allclose(summed, costs(tokens))


def test_in_a_small_space_refinement_finds_the_best_network_there_is(tiny):
    budgets = budgets_of(tiny)
    tokens = all_tokens()
    cost, accuracy = tiny.costs(tokens), tiny.evaluator.predictor(tokens)
    best = np.array([accuracy[cost <= budget + 1e-9].max() for budget in budgets])
    starts = np.repeat(cheapest_tokens(tiny.costs), BUDGETS, axis=0)
    refined = tiny(starts, budgets + 1e-9)
    gap = best - tiny.evaluator.predictor(refined)
    assert (gap > 1e-5).mean() <= 0.2  # exchanges of two layers cannot leave every trap
    assert gap.max() < 0.003


def test_nothing_gets_worse_and_no_budget_is_left(full):
    rng = np.random.default_rng(4)
    budgets = budgets_of(full)
    starts = full.costs.space.sample(BUDGETS, rng)
    refined = full(starts, budgets)
    assert (score(full, refined, budgets) >= score(full, starts, budgets)).all()
    kept = full.costs(starts) <= budgets
    assert (full.costs(refined)[kept] <= budgets[kept]).all()


def test_a_network_beyond_its_budget_is_brought_within(full):
    dearest = full.costs.space.encode([full.costs.space.extremes()[1]] * 3)
    budgets = np.array([60.0, 80.0, 100.0])
    refined = full(dearest, budgets)
    assert (full.costs(refined) <= budgets).all()


def test_refined_networks_are_of_the_space(full):
    space = load_space()
    refined = full(space.sample(40, np.random.default_rng(8)), np.full(40, 70.0))
    np.testing.assert_array_equal(space.canonical(refined), refined)
    for architecture in space.decode(refined):
        space.check(architecture)


def test_refinement_beats_the_best_of_many_random_networks(full):
    tokens = full.costs.space.sample(5000, np.random.default_rng(3))
    cost, accuracy = full.costs(tokens), full.evaluator.predictor(tokens)
    for budget in (55.0, 70.0, 85.0):
        best = int(np.where(cost <= budget, accuracy, -1).argmax())
        refined = full(tokens[best : best + 1], np.array([budget]))
        assert full.evaluator.predictor(refined)[0] > accuracy[best] + 0.0005


def test_its_arguments_are_left_as_they_were(full):
    starts = full.costs.space.sample(3, np.random.default_rng(1))
    before = starts.copy()
    full(starts, np.full(3, 70.0))
    np.testing.assert_array_equal(starts, before)


# -- several resolutions ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_sided():
    return Refiner(RuleEvaluator(fit_predictor(TWO_SIDES, *two_sided_archive(300))), two_sided_costs())


def test_with_a_choice_of_resolutions_the_cheapest_network_is_the_cheapest():
    costs, tokens = two_sided_costs(), all_tokens(TWO_SIDES)
    assert costs(cheapest_tokens(costs))[0] == costs(tokens).min() == pytest.approx(costs.range_ms[0])
    assert costs(tokens).max() == pytest.approx(costs.range_ms[1])


def test_codes_hold_the_resolution_too():
    codec, tokens = LayerCodes(TWO_SIDES), all_tokens(TWO_SIDES)
    assert (codec.tokens(codec.of(tokens)) == tokens).all()


def test_what_a_change_gains_and_costs_is_exact_for_layers_and_resolutions(two_sided):
    tokens = TWO_SIDES.sample(20, np.random.default_rng(0))
    codec, predictor, costs = LayerCodes(TWO_SIDES), two_sided.evaluator.predictor, two_sided.costs
    codes = codec.of(tokens)
    usable, prices, gains = two_sided._usable(codes), two_sided._prices(costs, codes), predictor.changes(codes)
    assert usable[:, -1].sum() == len(tokens)  # the other of two resolutions
    for network, layer, code in zip(*np.nonzero(usable), strict=True):
        changed = codes[[network]].copy()
        changed[0, layer] = code
        after, before = codec.tokens(changed), tokens[[network]]
        assert two_sided._valid(changed).all()
        assert prices[network, layer, code] == pytest.approx(costs(after)[0] - costs(before)[0], abs=1e-9)
        gain = predictor.merit(after)[0] - predictor.merit(before)[0]
        assert gains[network, layer, code] == pytest.approx(gain, abs=1e-5)


def test_refinement_chooses_the_resolution_too(two_sided):
    budgets, tokens = budgets_of(two_sided), all_tokens(TWO_SIDES)
    cost, accuracy = two_sided.costs(tokens), two_sided.evaluator.predictor(tokens)
    best = np.array([accuracy[cost <= budget + 1e-9].max() for budget in budgets])
    starts = np.repeat(cheapest_tokens(two_sided.costs), BUDGETS, axis=0)
    refined, _ = two_sided.across(starts, budgets + 1e-9)
    assert (two_sided.costs(refined) <= budgets + 1e-9).all()
    assert set(refined[:, -1].tolist()) == {0, 1}
    gap = best - two_sided.evaluator.predictor(refined)
    assert (gap > 1e-5).mean() <= 0.2
    assert gap.max() < 0.003


def test_networks_of_many_budgets_are_each_asked_about_once(full, monkeypatch):
    space, budgets = full.costs.space, np.linspace(55, 85, 60)
    starts = np.repeat(space.sample(3, np.random.default_rng(2)), 20, axis=0)
    alone = np.concatenate([full(starts[[row]], budgets[[row]]) for row in range(0, 60, 6)])
    asked, predictor = [], full.evaluator.predictor
    changes = type(predictor).changes
    monkeypatch.setattr(type(predictor), "changes", lambda self, codes: asked.append(codes) or changes(self, codes))
    together = full(starts, budgets)
    np.testing.assert_array_equal(together[::6], alone)
    codes = np.concatenate(asked)
    assert len(np.unique(codes, axis=0)) == len(codes)
