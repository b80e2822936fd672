import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.known_optimum import KnownOptimum, made_up_costs
from pnag.search.frontier import hypervolume, on_frontier
from tests.pnag.search.learning_cases import TINY, all_tokens

POINTS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=12)


def test_the_frontier_of_hand_worked_points():
    cost, accuracy = [1, 2, 2, 3, 4, 4], [5, 4, 6, 6, 7, 7]
    np.testing.assert_array_equal(on_frontier(cost, accuracy), [True, False, True, False, True, True])


@given(POINTS)
def test_the_frontier_is_what_nothing_beats(points):
    cost, accuracy = np.array(points, dtype=float).T
    beaten = [
        any(c <= x and a >= y and (c < x or a > y) for c, a in zip(cost, accuracy, strict=True))
        for x, y in zip(cost, accuracy, strict=True)
    ]
    np.testing.assert_array_equal(on_frontier(cost, accuracy), ~np.array(beaten))


def test_the_hypervolume_of_hand_worked_points():
    # From the corner (10, 0): a step of 4 from cost 2 to 5, then one of 6 to 10.
    assert hypervolume([2, 5, 6], [4, 6, 5], worst=(10, 0)) == pytest.approx(3 * 4 + 5 * 6)
    assert hypervolume([], [], worst=(10, 0)) == 0
    assert hypervolume([11, 3], [9, -1], worst=(10, 0)) == 0


@given(POINTS)
def test_the_hypervolume_counts_dominated_cells(points):
    cost, accuracy = np.array(points, dtype=float).T
    cells = sum(
        any(c <= x and a >= y + 1 for c, a in zip(cost, accuracy, strict=True)) for x in range(10) for y in range(10)
    )
    assert hypervolume(cost, accuracy, worst=(10, 0)) == pytest.approx(cells)


@pytest.mark.parametrize("seed", range(3))
def test_the_known_optimum_is_the_best_of_all_networks(seed):
    """The dynamic program of the benchmarks against going through every network of a small space."""
    known = KnownOptimum(made_up_costs(TINY, seed=seed, constant_ms=0.2), seed=seed)
    tokens = all_tokens()
    cost, accuracy = known.costs(tokens), known.accuracy(tokens)
    for budget in np.linspace(*known.costs.range_ms, 17)[1:]:
        best = accuracy[cost <= budget].max()
        found = known.best_accuracy(budget)
        assert found >= best - 1e-12
        # The grid lets it spend a little more than the budget, never less.
        slack = 2 * known.costs.range_ms[1] / 20_000 * TINY.units
        assert found <= accuracy[cost <= budget + slack].max() + 1e-12
