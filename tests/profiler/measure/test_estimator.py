import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.measure.estimator import ESTIMATORS, Quiet, percentile_ms, relative_ci

QUIET, MEDIAN, P90 = (ESTIMATORS[name] for name in ("quiet", "median", "p90"))
rounds = st.lists(st.lists(st.floats(0.001, 1000.0), min_size=1, max_size=6), min_size=2, max_size=20)


def single(*medians_ms):
    return [[value] for value in medians_ms]


def test_eight_rounds_by_hand():
    # the fastest is left aside, ranks 2 to 4 count: (1.01 + 1.02 + 1.03) / 3
    values = single(1.0, 1.01, 1.02, 1.03, 2.0, 2.0, 2.0, 2.0)
    assert QUIET.value_ms(values) == pytest.approx(1.02)
    # winsorised 1.01, 1.01, 1.02, 5 × 1.03: s = 0.009161; · √(7 / (3 · 2)) · t(0.975, 2) = 4.3027 gives 0.04258,
    # and no end lies outside the rounds
    low, high = QUIET.interval_ms(values)
    assert low == 1.0
    assert high == pytest.approx(1.02 + 0.04258, abs=1e-5)


@pytest.mark.parametrize("faster", [0.15, 0.5])
def test_one_round_of_eight_that_is_faster_moves_nothing(faster):
    usual = [1.0 + 0.001 * i for i in range(8)]
    boosted = [1.0 - faster, *usual[1:]]
    assert QUIET.value_ms(single(*boosted)) == QUIET.value_ms(single(*usual))
    assert relative_ci(QUIET, single(*boosted)) < 0.01


@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
@given(rounds)
def test_the_interval_holds_the_value_and_lies_within_the_calls(estimator, values):
    low, high = estimator.interval_ms(values)
    value = estimator.value_ms(values)
    every = [time for times in values for time in times]
    assert min(every) * (1 - 1e-9) <= low <= value * (1 + 1e-9)
    assert value * (1 - 1e-9) <= high <= max(every) * (1 + 1e-9)


@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
@given(rounds, st.floats(0.1, 10.0))
def test_it_does_not_depend_on_the_unit(estimator, values, factor):
    scaled = [[factor * time for time in times] for times in values]
    assert estimator.value_ms(scaled) == pytest.approx(factor * estimator.value_ms(values))
    assert estimator.interval_ms(scaled) == pytest.approx([factor * end for end in estimator.interval_ms(values)])


@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
def test_of_one_round_no_interval_is_known_and_of_none_nothing(estimator):
    assert all(map(math.isnan, estimator.interval_ms([[1.0, 2.0]])))
    assert math.isnan(estimator.value_ms([]))


def test_a_percentile_gives_every_round_the_same_weight():
    assert percentile_ms([[1.0] * 99, [2.0]], 0.25) == 1.0
    assert percentile_ms([[1.0] * 99, [2.0]], 1.0) == 2.0
    assert P90.value_ms([[1.0] * 9 + [9.0]]) == pytest.approx(np.percentile([1.0] * 9 + [9.0], 90))


@pytest.mark.parametrize(("estimator", "least"), [(QUIET, 0.88), (MEDIAN, 0.90), (P90, 0.90)])
def test_intervals_cover_what_they_are_of(estimator, least):
    """Normal rounds, whose values are known: the share of intervals that hold the true one."""
    rng = np.random.default_rng(0)
    sessions = 10 + rng.normal(0, 1, (400, 12, 1)) + rng.normal(0, 0.3, (400, 12, 20))
    true = np.mean([estimator.value_ms(list(session)) for session in sessions])
    ends = [estimator.interval_ms(list(session)) for session in sessions]
    assert np.mean([low <= true <= high for low, high in ends]) >= least


def test_the_names_are_those_that_a_table_holds():
    assert {name: estimator.name for name, estimator in ESTIMATORS.items()} == {
        n: n for n in ("quiet", "median", "p90")
    }
    assert isinstance(QUIET, Quiet)
