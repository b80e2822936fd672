import numpy as np
import pytest

from pnag.errors import BudgetError
from pnag.space.budget import check_budget, interpolation, parse_budget, spaced_budgets


@pytest.mark.parametrize("text", ["140ms", "0.14s", "140", " 140 ms ", "140.0", "1.4e2", "140MS", ".14s"])
def test_a_budget_is_read_in_each_of_its_spellings(text):
    assert parse_budget(text) == pytest.approx(140.0)


@pytest.mark.parametrize("text", ["0", "-5ms", "abc", "nan", "inf", "", "ms", "1,5", "140us", "0s", "1e999", "-inf"])
def test_what_is_not_a_time_above_zero_is_refused_in_one_line(text):
    with pytest.raises(BudgetError) as caught:
        parse_budget(text)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_numbers_are_checked_too(value):
    with pytest.raises(BudgetError):
        check_budget(value)


def test_training_budgets_span_the_range_evenly():
    np.testing.assert_allclose(spaced_budgets(30.0, 120.0, 4), [30, 60, 90, 120])
    np.testing.assert_allclose(spaced_budgets(30.0, 120.0, 1), [75])
    with pytest.raises(BudgetError):
        spaced_budgets(30.0, 120.0, 0)


def test_the_budget_vector_is_interpolated_between_its_two_neighbours():
    anchors = np.array([20.0, 40.0, 80.0])
    weights = interpolation(anchors, [20.0, 25.0, 40.0, 70.0, 80.0])
    expected = [[1, 0, 0], [0.75, 0.25, 0], [0, 1, 0], [0, 0.25, 0.75], [0, 0, 1]]
    np.testing.assert_allclose(weights, expected)


def test_beyond_the_ends_the_nearest_vector_is_used():
    np.testing.assert_allclose(interpolation(np.array([20.0, 40.0]), [5.0, 90.0]), [[1, 0], [0, 1]])
    np.testing.assert_allclose(interpolation(np.array([20.0]), [5.0, 90.0]), [[1], [1]])
