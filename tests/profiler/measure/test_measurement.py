import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.measure.estimator import ESTIMATORS
from profiler.measure.measurement import Measurement, Visit


def visit(number, *times, **fields):
    return Visit("a", number, times, runs=len(times), **fields)


def test_the_latency_is_the_mean_of_the_faster_half_of_the_rounds_medians():
    measurement = Measurement("a", (visit(0, 1.0, 2.0, 9.0), visit(1, 3.0), visit(2, 4.0, 4.0)))
    assert measurement.round_medians_ms == (2.0, 3.0, 4.0)
    assert measurement.latency_ms == 2.5
    # winsorised 2, 3, 3; standard error √(1/3) · √(2 / 2) = 0.577; t(0.975, 1) = 12.7: cut to the rounds' range
    assert measurement.interval_ms == (2.0, 4.0)
    assert measurement.relative_ci == pytest.approx(1.0 / 2.5)


def test_statistics_come_from_the_raw_samples():
    measurement = Measurement("a", (visit(0, 1.0, 2.0), visit(1, 3.0, 6.0)))
    entry = measurement.entry("block", (), 0.01)
    assert (entry.min_ms, entry.runs, entry.rounds) == (1.0, 4, 2)
    assert entry.std_ms == pytest.approx(math.sqrt(14 / 3))
    assert entry.p95_ms == pytest.approx(5.55)
    assert entry.samples_ms == (1.5, 4.5)


def test_unsteady_visits_do_not_count_where_three_steady_ones_are_there():
    slow = visit(3, 9.0, flags=("throttled",))
    steady = (visit(0, 1.0), visit(1, 1.0), visit(2, 1.0))
    assert Measurement("a", (*steady, slow)).latency_ms == 1.0
    few = Measurement("a", (steady[0], slow, visit(4, 9.0, flags=("drifted",))))
    assert few.latency_ms == 5.0


def test_of_visits_that_are_all_unsteady_the_quarter_counts_at_which_the_reference_was_fastest():
    visits = [visit(i, 1.0 + 0.1 * i, flags=("drifted",), reference_ms=2.0 + 0.1 * i) for i in range(16)]
    measurement = Measurement("a", tuple(reversed(visits)))
    assert sorted(measurement.round_medians_ms) == pytest.approx([1.0, 1.1, 1.2, 1.3])
    assert measurement.latency_ms == pytest.approx(1.05)
    assert measurement.entry("block", (), 0.01).flags == ("noisy", "drifted")
    assert len(Measurement("a", tuple(visits[:2])).used) == 2
    unwatched = Measurement("a", tuple(visit(i, 1.0, flags=("drifted",)) for i in range(16)))
    assert len(unwatched.used) == 16


def test_bursts_in_half_of_the_rounds_do_not_matter():
    quiet, disturbed = (visit(i, 1.0 + 0.001 * i) for i in range(5)), (visit(5 + i, 1.5 + 0.1 * i) for i in range(4))
    # nine rounds: the fastest is left aside, the second to the fifth count
    assert Measurement("a", (*quiet, *disturbed)).latency_ms == pytest.approx(1.0025)


def test_of_disturbed_calls_the_quiet_statistic_knows_nothing_and_the_others_all():
    seen = [visit(i, 1.0, 1.0, wall_ms=(1.0, 3.0, 3.0, 1.0, 3.0), disturbed=(1, 2, 4)) for i in range(3)]
    assert Measurement("a", tuple(seen)).latency_ms == 1.0
    assert Measurement("a", tuple(seen), estimator=ESTIMATORS["median"]).latency_ms == 3.0
    assert Measurement("a", tuple(seen), estimator=ESTIMATORS["p90"]).latency_ms == 3.0
    entry = Measurement("a", tuple(seen)).entry("block", (), 0.01)
    assert (entry.p50_ms, entry.p99_ms, entry.min_ms) == (3.0, 3.0, 1.0)


def test_calls_as_they_happened_count_at_moments_when_the_device_was_slower_but_not_throttled():
    seen = (visit(0, 1.0), visit(1, 2.0, flags=("drifted",)), visit(2, 9.0, flags=("throttled",)))
    assert Measurement("a", seen, estimator=ESTIMATORS["median"]).latency_ms == 1.5
    assert Measurement("a", seen[2:], estimator=ESTIMATORS["median"]).latency_ms == 9.0


def test_flags_say_noisy_and_what_most_visits_suffered():
    drifted = [visit(i, 9.0 + i, flags=("drifted", "disturbed")) for i in range(3)]
    assert Measurement("a", tuple(drifted)).entry("block", (), 0.01).flags == ("noisy", "drifted", "disturbed")
    quiet = Measurement("a", tuple(visit(i, 1.0) for i in range(6))).entry("block", (), 0.01)
    assert quiet.flags == ()


def test_one_round_alone_is_noisy_because_nothing_is_known_of_its_error():
    assert Measurement("a", (visit(0, 1.0),)).entry("block", (), 0.01).flags == ("noisy",)


def test_a_failure_is_a_row_with_its_reason():
    entry = Measurement("a", (Visit("a", 0, failure="no memory"),), "no memory").entry("block", (), 0.01)
    assert entry.failed
    assert entry.flags == ("failed",)
    assert entry.reason == "no memory"
    assert math.isnan(entry.latency_ms)


def test_the_state_of_each_round_is_kept():
    measurement = Measurement("a", (visit(0, 1.0, temperature_c=40.0, reference_ms=0.5), visit(2, 1.0, load=0.25)))
    entry = measurement.entry("block", (), 0.01)
    assert [json.loads(text) for text in entry.round_states] == [
        {"round": 0, "reference_ms": 0.5, "temperature_c": 40.0},
        {"round": 2, "load": 0.25},
    ]
    assert entry.temperature_c == 40.0
    assert math.isnan(entry.clock_mhz)


@given(
    st.builds(
        Visit,
        st.text(),
        st.integers(0, 99),
        st.lists(st.floats(1e-6, 1e6)).map(tuple),
        st.lists(st.floats(1e-6, 1e6)).map(tuple),
        st.integers(0, 10**9),
        st.lists(st.sampled_from(["disturbed", "drifted"])).map(tuple),
        st.just(math.nan) | st.floats(1e-6, 1e6),
        st.none() | st.floats(-40, 150),
        st.none() | st.floats(1, 9000),
        st.none() | st.floats(0, 100),
        st.text(),
    )
)
def test_a_visit_survives_json(original):
    back = Visit.from_json(json.loads(json.dumps(original.to_json(), allow_nan=False)))
    assert repr(back) == repr(original)  # NaN is equal to itself here


def test_what_else_the_device_said_is_kept_with_the_round():
    said = {"power_w": 212.5, "clock_reasons": ["sw_power_cap"]}
    original = visit(0, 1.0, details=said, flags=("gpu_shared",))
    back = Visit.from_json(json.loads(json.dumps(original.to_json(), allow_nan=False)))
    assert back == original
    entry = Measurement("a", (back,)).entry("block", (), 0.01)
    assert json.loads(entry.round_states[0]) == {"round": 0, "flags": ["gpu_shared"], **said}
    assert "gpu_shared" in entry.flags
