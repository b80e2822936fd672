"""Additive scores and the exact solver, against going through the whole of a small space."""

import numpy as np
import pytest

from pnag.search.additive import best_sums, fit_additive
from tests.pnag.search.learning_cases import TINY, all_tokens, archive, tiny_costs


@pytest.fixture(scope="module")
def scores():
    return fit_additive(TINY, *archive(tiny_costs(), 150))


def test_the_solver_finds_the_best_sum_under_every_budget(scores):
    costs, every = tiny_costs(), all_tokens()
    found = best_sums(costs, scores)
    cost, score = costs(found), scores(found)
    for budget in np.linspace(*costs.range_ms, 40):
        within = costs(every) <= budget - 0.002 * np.ptp(costs.range_ms)
        if within.any():
            assert score[cost <= budget].max() >= scores(every[within]).max() - 1e-6


def test_what_is_found_are_networks_of_the_space_that_get_better(scores):
    found = best_sums(tiny_costs(), scores)
    TINY.decode(found)
    assert (TINY.canonical(found) == found).all()
    assert (np.diff(scores(found)) > 0).all()


def test_scores_that_add_up_are_learnt():
    tokens = all_tokens()[np.random.default_rng(0).permutation(len(all_tokens()))]
    made_up = fit_additive(TINY, *archive(tiny_costs(), 60))
    accuracy = made_up(tokens)
    learnt = fit_additive(TINY, tokens[:200], accuracy[:200])
    assert learnt(tokens[200:]) == pytest.approx(accuracy[200:], abs=1e-3)
    assert learnt.error < 1e-3


def test_the_error_is_that_of_architectures_left_out():
    tokens, accuracy = archive(tiny_costs(), 60)
    whole = fit_additive(TINY, tokens, accuracy)
    left_out = [fit_additive(TINY, np.delete(tokens, i, 0), np.delete(accuracy, i))(tokens[i : i + 1])[0] - accuracy[i]
                for i in range(len(tokens))]  # fmt: skip
    assert whole.error == pytest.approx(np.sqrt(np.mean(np.square(left_out))), rel=0.1)
