"""The search of all budgets at once: against every network of a small space, and where local search is misled."""

import numpy as np
import pytest

from pnag.generator.population import Population, search_budgets
from pnag.search.additive import best_sums, fit_additive
from tests.pnag.search.learning_cases import (
    TINY,
    TWO_SIDES,
    all_tokens,
    archive,
    full_costs,
    tiny_costs,
    two_sided_costs,
)


class Rugged:
    """Accuracies without any order among like networks: nothing but trying helps, and two networks never tie."""

    error, rank_correlation = 0.0, 1.0

    def __init__(self, space):
        every = all_tokens(space)
        self.values = {
            row.tobytes(): value for row, value in zip(every, np.random.default_rng(1).random(len(every)), strict=True)
        }

    def __call__(self, tokens):
        return np.array([self.values[row.tobytes()] for row in tokens])


def lost(predictor, costs, found, budgets):
    """Against the best network of the space under each budget, a share of all accuracies' range."""
    every = all_tokens(costs.space)
    best = [predictor(every[costs(every) <= budget]).max() for budget in budgets]
    reached = [predictor(found[costs(found) <= budget]).max() for budget in budgets]
    return np.array(best) - np.array(reached)


@pytest.mark.parametrize("costs", [tiny_costs(), two_sided_costs()], ids=["one resolution", "two"])
def test_the_best_network_of_each_budget_is_found(costs):
    predictor, budgets = Rugged(costs.space), np.linspace(*costs.range_ms, 12)[2:]
    found = search_budgets(predictor, costs, np.random.default_rng(0), generations=4)
    assert (lost(predictor, costs, found, budgets) <= 0.01).all()


def test_known_networks_are_kept_if_they_are_the_best():
    costs, predictor = tiny_costs(), Rugged(TINY)
    every = all_tokens()
    best = every[predictor(every).argmax()][None]
    found = search_budgets(predictor, costs, np.random.default_rng(0), generations=0, known=best)
    assert (found == best).all(axis=1).any()


def test_the_same_seed_finds_the_same():
    costs, predictor = two_sided_costs(), Rugged(TWO_SIDES)
    one, other = (search_budgets(predictor, costs, np.random.default_rng(5), generations=2) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_what_is_kept_is_of_the_space_and_progress_is_told():
    costs, told = two_sided_costs(), []
    found = search_budgets(Rugged(TWO_SIDES), costs, np.random.default_rng(0), generations=3, report=told.append)
    assert {row.tobytes() for row in found} <= {row.tobytes() for row in all_tokens(TWO_SIDES)}
    assert told == pytest.approx([1 / 3, 2 / 3, 1.0])


def test_a_cell_without_networks_of_its_own_holds_the_best_of_the_one_below():
    costs = tiny_costs()
    population = Population(Rugged(TINY), costs, np.random.default_rng(0))
    before = population.best
    for _ in range(3):
        population.advance()
    budgets = np.linspace(*costs.range_ms, 12)[2:]
    worse = lost(Rugged(TINY), costs, population.best, budgets) - lost(Rugged(TINY), costs, before, budgets)
    assert (worse <= 0).all()


def test_in_a_large_space_it_comes_near_the_exact_solver():
    costs = full_costs()
    scores = fit_additive(costs.space, *archive(costs, 300))
    exact, budgets = best_sums(costs, scores), np.linspace(*costs.range_ms, 14)[2:-1]
    rng = np.random.default_rng

    def reached(found):
        return np.array([scores(found[costs(found) <= budget]).max() for budget in budgets])

    at_first = reached(exact) - reached(search_budgets(scores, costs, rng(0), generations=0))
    found = reached(exact) - reached(search_budgets(scores, costs, rng(0), generations=90))
    assert found.mean() < 0.05 * at_first.mean()
