import math
from dataclasses import fields
from functools import partial
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.errors import ProfilerError
from profiler.measure.estimator import ESTIMATORS, relative_ci
from profiler.measure.stopping import (
    RULES,
    PrecisionRule,
    StopRule,
    StopSettings,
    median_interval,
    read_stop,
    stop_rule,
)

values = st.lists(st.floats(0.001, 1000.0), min_size=2, max_size=30)


def relative_interval(medians):
    return relative_ci(ESTIMATORS["median"], [[value] for value in medians])


def median_rule(settings):
    return PrecisionRule(settings, partial(relative_ci, ESTIMATORS["median"]))


def feed(rule, rounds, time_s=0.1):
    for value in rounds:
        rule.add([value], time_s)
    return rule


def test_up_to_five_values_the_interval_is_their_range():
    assert median_interval([3.0, 1.0, 2.0]) == (1.0, 3.0)
    assert median_interval([1.0, 2.0, 3.0, 4.0, 50.0]) == (1.0, 50.0)


def test_ten_values_by_hand():
    # depth 2 covers 1 − 2 · 11/1024 = 0.97852, depth 3 covers 1 − 2 · 56/1024 = 0.890625;
    # share 0.3244, weight 8 · 0.3244 / (2 + 6 · 0.3244) = 0.6577
    low, high = median_interval([float(i) for i in range(1, 11)])
    assert low == pytest.approx(2.6577, abs=1e-4)
    assert high == pytest.approx(8.3423, abs=1e-4)


def test_one_value_has_no_interval():
    assert all(map(math.isnan, median_interval([1.0])))
    assert math.isnan(relative_interval([1.0]))


@given(values)
def test_the_interval_holds_the_median_and_lies_within_the_range(x):
    low, high = median_interval(x)
    assert min(x) <= low <= median(x) + 1e-9
    assert median(x) - 1e-9 <= high <= max(x)


@given(values, st.floats(0.1, 10.0))
def test_the_relative_interval_does_not_depend_on_the_unit(x, factor):
    assert relative_interval([factor * v for v in x]) == pytest.approx(relative_interval(x), rel=1e-6, abs=1e-9)


def test_one_wild_round_does_not_spoil_many_quiet_ones():
    assert relative_interval([1.0] * 11 + [100.0]) == 0.0


def test_it_is_not_finished_before_the_least_rounds_however_quiet():
    rule = median_rule(StopSettings(min_rounds=6, max_rounds=15))
    assert not feed(rule, [1.0] * 5).is_finished()
    assert feed(rule, [1.0]).is_finished()


def test_it_goes_on_until_the_median_is_known():
    rule = median_rule(StopSettings(relative_ci=0.01, min_rounds=6, max_rounds=100))
    assert not feed(rule, [1.0, 1.1, 0.9, 1.2, 1.0, 0.8]).is_finished()
    assert feed(rule, [1.0] * 20).is_finished()
    assert rule.relative_ci <= 0.01


def test_the_most_rounds_end_it_however_noisy():
    rule = median_rule(StopSettings(min_rounds=2, max_rounds=4))
    assert feed(rule, [1.0, 2.0, 3.0, 4.0]).is_finished()
    assert rule.relative_ci > 0.5


def test_the_least_and_the_most_time_are_kept():
    settings = StopSettings(min_rounds=2, min_time_s=1.0, max_time_s=2.0)
    assert not feed(median_rule(settings), [1.0] * 9, 0.1).is_finished()
    assert feed(median_rule(settings), [1.0] * 10, 0.1001).is_finished()
    assert feed(median_rule(settings), [1.0, 9.0], 1.0).is_finished()


def test_initialise_forgets_everything():
    rule = feed(median_rule(StopSettings()), [1.0] * 20)
    rule.initialise()
    assert not rule.is_finished()
    assert math.isnan(rule.relative_ci)


def test_the_rule_judges_the_statistic_that_it_is_given():
    """Half of the rounds are disturbed: the quiet value is known well, the median is not."""
    settings = StopSettings(relative_ci=0.02, min_rounds=8, max_rounds=100)
    rounds = [1.0, 1.001, 1.002, 1.003, 1.004, 1.5, 1.6, 1.7]
    quiet = PrecisionRule(settings, partial(relative_ci, ESTIMATORS["quiet"]))
    assert feed(quiet, rounds).is_finished()
    assert not feed(median_rule(settings), rounds).is_finished()


def rule_of(settings: StopSettings) -> StopRule:
    return stop_rule(settings, partial(relative_ci, ESTIMATORS["median"]))


def test_a_rule_says_why_it_is_finished():
    settings = StopSettings(min_rounds=3, max_rounds=6, max_time_s=100.0)
    assert rule_of(settings).reason == ""
    assert feed(rule_of(settings), [1.0] * 3).reason == "precise"
    assert feed(rule_of(settings), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).reason == "most rounds"
    assert feed(rule_of(settings), [1.0, 2.0], 50.0).reason == "most time"


def test_noise_that_never_settles_ends_when_rounds_are_in_vain():
    noisy = [1.0, 1.4] * 20
    settings = StopSettings(rule="settled", min_rounds=8, max_rounds=40, patience=4, least_gain=0.05)
    settled, rounds = rule_of(settings), 0
    while not settled.is_finished():
        settled.add([noisy[rounds]], 0.1)
        rounds += 1
    assert settled.reason == "settled"
    assert 8 + 4 <= rounds < 40
    assert not feed(rule_of(StopSettings(min_rounds=8, max_rounds=40)), noisy[:rounds]).is_finished()


def test_a_fixed_number_of_rounds_is_kept_however_quiet_or_noisy():
    settings = read_stop("rounds,min_rounds=20")
    for times in ([1.0] * 19, [1.0, 9.0] * 9 + [1.0]):
        rule = feed(rule_of(settings), times)
        assert not rule.is_finished()
        rule.add([1.0], 0.1)
        assert rule.reason == "all rounds"


def test_a_rule_is_given_by_its_name_and_its_own_parameters():
    assert read_stop("precision,relative_ci=0.02,max_rounds=30") == StopSettings(relative_ci=0.02, max_rounds=30)
    assert read_stop("settled, patience=2").patience == 2
    assert {name for rule in RULES.values() for name in rule.parameters} == {
        field.name for field in fields(StopSettings) if field.name != "rule"
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("entropy", "unknown stop rule 'entropy'; known are precision, settled, rounds"),
        ("precision,patience=3", "stop rule precision has no parameter 'patience'; it has relative_ci"),
        ("settled,patience=many", "patience is 'many'; give a whole number from 1 on"),
        ("settled,patience=0", "patience is '0'; give a whole number"),
        ("precision,relative_ci=-1", "relative_ci is '-1'; give a number from 0 on"),
        ("precision,relative_ci=nan", "relative_ci is 'nan'; give a number from 0 on"),
        ("precision,min_rounds=9,max_rounds=3", "max_rounds 3 is below min_rounds 9"),
        ("", "unknown stop rule ''"),
    ],
)
def test_what_is_no_rule_is_refused_in_one_line(text: str, said: str):
    with pytest.raises(ProfilerError, match=said):
        read_stop(text)
