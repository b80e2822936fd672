import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pnag.search.dominance import dominance, dominance_without_accuracy, win_rate
from pnag.search.ranking import pairwise_hinge

# Four networks, a budget of 100 ms: two that keep it, two that do not.
COST = np.array([80.0, 95.0, 110.0, 130.0])
ACCURACY = np.array([0.76, 0.78, 0.79, 0.80])


def test_within_the_budget_the_more_accurate_dominates_and_beyond_it_the_cheaper():
    expected = [
        [0, -1, 1, 1],
        [1, 0, 1, 1],
        [-1, -1, 0, 1],
        [-1, -1, -1, 0],
    ]
    np.testing.assert_array_equal(dominance(COST, ACCURACY, 100.0), expected)


def test_a_network_at_the_budget_itself_keeps_it():
    assert dominance([100.0, 90.0], [0.8, 0.7], 100.0)[0, 1] == 1


def test_when_all_keep_the_budget_only_accuracy_counts():
    signs = dominance(COST, ACCURACY, 200.0)
    np.testing.assert_array_equal(signs, np.sign(ACCURACY[:, None] - ACCURACY[None, :]))


def test_when_none_keeps_the_budget_only_cost_counts():
    signs = dominance(COST, ACCURACY, 10.0)
    np.testing.assert_array_equal(signs, np.sign(COST[None, :] - COST[:, None]))


def test_equal_pairs_count_for_nothing():
    assert not dominance([50.0, 60.0], [0.7, 0.7], 100.0).any()
    assert not dominance([150.0, 150.0], [0.7, 0.8], 100.0).any()


@given(
    st.lists(st.tuples(st.floats(1, 200), st.floats(0, 1)), min_size=2, max_size=8),
    st.lists(st.floats(1, 200), min_size=1, max_size=3),
)
def test_dominance_is_antisymmetric(networks, budgets):
    cost, accuracy = (np.array(column) for column in zip(*networks, strict=True))
    signs = dominance(cost, accuracy, budgets)
    assert signs.shape == (len(budgets), len(networks), len(networks))
    np.testing.assert_array_equal(signs, -signs.transpose(0, 2, 1))


def test_without_the_accuracy_constraint_the_cheaper_always_dominates():
    signs = dominance_without_accuracy(COST, [10.0, 100.0, 1000.0])
    assert signs.shape == (3, 4, 4)
    assert (signs == np.sign(COST[None, :] - COST[:, None])).all()


def test_the_win_rate_is_the_mean_over_the_others():
    rate = win_rate(dominance(COST, ACCURACY, 100.0))
    np.testing.assert_allclose(rate, [1 / 3, 1.0, -1 / 3, -1.0])
    assert rate.sum() == pytest.approx(0)


def test_the_hinge_loss_of_hand_worked_scores():
    scores = torch.tensor([[2.0, 0.5]])
    signs = torch.tensor([[[0.0, 1.0], [-1.0, 0.0]]])
    assert float(pairwise_hinge(scores, signs)) == pytest.approx(0.0)  # 1 - 1.5 < 0 for both orders
    assert float(pairwise_hinge(scores, -signs)) == pytest.approx(2.5)  # 1 + 1.5
    close = torch.tensor([[0.75, 0.5]])
    assert float(pairwise_hinge(close, signs)) == pytest.approx(0.75)


def test_undecided_pairs_add_no_loss():
    assert float(pairwise_hinge(torch.tensor([[1.0, 1.0]]), torch.zeros(1, 2, 2))) == 0.0
