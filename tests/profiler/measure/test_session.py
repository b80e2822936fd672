from dataclasses import replace

import pytest

from devices.backend import Slice
from devices.errors import ConnectionLostError
from profiler.errors import ReferenceFailedError
from profiler.measure.journal import Journal
from profiler.measure.plan import Unit
from profiler.measure.session import REFERENCE, Sampling
from profiler.measure.stopping import StopSettings
from profiler.measure.time_share import ENOUGH
from tests.profiler.measure.sessions import BLOCKS, QUICK, SPECS, UNITS, Setup


def rounds_of(result):
    return {name: [visit.round for visit in m.visits] for name, m in result.measurements.items()}


def test_every_unit_is_measured_and_close_to_the_truth():
    setup = Setup()
    result = setup.run()
    assert result.complete
    assert set(result.measurements) == {unit.name for unit in UNITS}
    for name, measurement in result.measurements.items():
        assert measurement.latency_ms == pytest.approx(setup.true_ms(name), rel=0.005)
        assert measurement.failure == ""


def test_quiet_units_take_the_least_rounds():
    assert set(map(tuple, rounds_of(Setup().run()).values())) == {(0, 1, 2, 3)}


def test_noisy_units_take_more_and_end_at_the_most():
    result = Setup(noise=0.4).run(replace(QUICK, block=Slice(min_time_s=0.0, min_runs=1), drift_limit=10.0))
    counts = [len(rounds) for rounds in rounds_of(result).values()]
    assert max(counts) == 8
    assert min(counts) >= 4
    assert result.complete


def test_blocks_and_networks_are_mixed_and_each_round_has_an_order_of_its_own(tmp_path):
    log = tmp_path / "calls"
    Setup(call_log=str(log)).run()
    names = [name for name in log.read_text().splitlines() if name != UNITS[2].name]
    per_round = len(UNITS) - 1
    orders = [names[i : i + per_round] for i in range(0, len(names), per_round)]
    assert len(orders) == 4
    assert all(set(order) == {unit.name for unit in UNITS} - {UNITS[2].name} for order in orders)
    assert len(set(map(tuple, orders))) == 4
    assert {order.index("large") for order in orders} != {per_round - 1}


def test_the_same_seed_gives_the_same_session():
    first, second = Setup().run(), Setup().run()
    assert first == second
    assert first != Setup().run(replace(QUICK, seed=1))


def test_the_reference_is_read_about_every_second():
    setup = Setup()
    sampling = replace(QUICK, block=Slice(min_time_s=0.3), network=Slice(min_time_s=0.3), reference=Slice(0.001, 1))
    result = setup.run(sampling)
    visits = len(UNITS) * 4
    assert setup.backend.calls - visits >= visits * 0.3 / 1.6
    assert result.quality["visits"] == visits


def test_a_burst_of_drift_is_noticed_and_what_it_disturbed_is_kept_flagged_and_made_up_for():
    setup = Setup(drift_at=30, drift_calls=6, drift_factor=1.3)
    result = setup.run()
    assert setup.clock.slept_s == []
    assert result.quality["off_segments"] >= 1
    assert 0 < result.quality["drifted_share"] < 0.5
    for name, measurement in result.measurements.items():
        assert measurement.latency_ms == pytest.approx(setup.true_ms(name), rel=0.005)
        assert max(measurement.round_medians_ms) < 1.1 * setup.true_ms(name)
        assert len(measurement.used) >= QUICK.stop.min_rounds
        assert len(measurement.used) + sum(not visit.steady for visit in measurement.visits) == len(measurement.visits)


def test_a_slowdown_that_lasts_is_neither_waited_for_nor_taken_for_usual():
    setup = Setup(drift_at=36, drift_calls=10_000, drift_factor=1.2)
    result = setup.run()
    assert setup.clock.slept_s == []
    assert result.complete
    slow = [visit for m in result.measurements.values() for visit in m.visits if not visit.steady]
    assert slow
    assert max(visit.round for visit in slow) == QUICK.stop.max_rounds - 1
    for name, measurement in result.measurements.items():
        assert measurement.latency_ms == pytest.approx(setup.true_ms(name), rel=0.005)


def test_a_device_that_was_slow_from_the_start_is_found_out_later():
    """Its reference seemed to be as usual: only when it is right again does the first round turn out to be wrong."""
    setup = Setup(drift_at=0, drift_calls=16, drift_factor=1.3)
    result = setup.run()
    assert result.complete
    assert 0 < result.quality["drifted_share"] < 0.5
    for name, measurement in result.measurements.items():
        assert measurement.latency_ms == pytest.approx(setup.true_ms(name), rel=0.005)
        assert len(measurement.used) >= QUICK.stop.min_rounds


def test_throttling_is_waited_out():
    setup = Setup(drift_at=30, drift_calls=12, drift_factor=1.3, drift_is_told=True)
    result = setup.run()
    assert setup.clock.slept_s
    assert setup.clock.slept_s == sorted(setup.clock.slept_s)
    assert result.quality["waited_s"] == pytest.approx(sum(setup.clock.slept_s), rel=0.1)
    assert 0 < result.quality["throttled_share"] < 0.5  # kept, as everything is, and not used
    assert not any("throttled" in visit.flags for m in result.measurements.values() for visit in m.used)
    assert all("throttled" not in m.entry("block", (), 0.01).flags for m in result.measurements.values())


def test_waiting_has_a_limit_and_what_was_measured_meanwhile_is_flagged():
    setup = Setup(drift_at=20, drift_calls=10_000, drift_factor=1.3, drift_is_told=True)
    result = setup.run(replace(QUICK, max_wait_s=10.0))
    assert 9.0 < sum(setup.clock.slept_s) <= 10.0
    assert result.complete
    assert 0 < result.quality["throttled_share"] < 1
    flagged = [m for m in result.measurements.values() if "throttled" in m.entry("block", (), 0.01).flags]
    assert flagged


def test_a_failing_unit_is_tried_again_and_then_a_failure_among_good_ones():
    setup = Setup(fail_run="se1")
    result = setup.run()
    failed = [name for name, m in result.measurements.items() if m.failure]
    assert failed == [unit.name for unit in UNITS if "se1" in unit.name]
    assert len(result.measurements[failed[0]].visits) == 2
    assert result.complete
    assert result.measurements[failed[0]].entry("block", (), 0.01).reason.startswith("the fake device failed")


def test_a_unit_that_cannot_be_loaded_is_a_failure_too():
    result = Setup(fail_load="^large$").run()
    assert result.measurements["large"].failure == "the fake device refuses large"
    assert result.measurements["small"].failure == ""


def test_without_its_reference_a_session_cannot_be_judged():
    with pytest.raises(ReferenceFailedError, match="the reference block cannot be measured"):
        Setup(fail_run=UNITS[2].name).run()


def test_the_deadline_ends_it_with_what_there_is():
    setup = Setup()
    slow = replace(QUICK, block=Slice(min_time_s=1.0), network=Slice(min_time_s=1.0))
    result = setup.run(slow, deadline_s=12.0)
    assert not result.complete
    assert setup.clock.now_s < 14.0
    assert set(result.measurements) == {unit.name for unit in UNITS}
    assert any(measurement.visits for measurement in result.measurements.values())


def test_what_was_never_reached_says_so():
    result = Setup().run(deadline_s=0.0)
    assert {m.failure for m in result.measurements.values()} == {"the time was up before its turn"}


def test_a_lost_device_loses_nothing_and_the_next_session_goes_on(tmp_path):
    path = tmp_path / "x.journal"
    setup = Setup(lose_at=25)
    with Journal(path, "a") as journal, pytest.raises(ConnectionLostError):
        setup.run(journal=journal)
    with Journal(path, "a") as journal:
        before = journal.visits
        measured = [visit for visit in before if visit.round >= 0]
        assert measured
        result = setup.run(journal=journal)
    assert result.quality["resumed_visits"] == len(measured)
    assert set(map(tuple, rounds_of(result).values())) == {(0, 1, 2, 3)}
    with Journal(path, "a") as journal:
        assert journal.visits[: len(before)] == before
        pairs = [(visit.unit, visit.round) for visit in journal.visits if visit.round >= 0]
        assert len(pairs) == len(set(pairs)) == 4 * len(UNITS)


def test_a_complete_journal_needs_no_further_call(tmp_path):
    with Journal(tmp_path / "x.journal", "a") as journal:
        first = Setup().run(journal=journal)
    again = Setup()
    with Journal(tmp_path / "x.journal", "a") as journal:
        assert again.run(journal=journal).measurements == first.measurements
    assert again.backend.calls == 0


def test_with_little_time_networks_are_given_up_and_blocks_are_not():
    calibration = [Unit("calibration", f"c{i}", SPECS[: 2 + i % 4]) for i in range(40)]
    holdout = [Unit("holdout", f"h{i}", SPECS[: 2 + i % 4]) for i in range(20)]
    setup = Setup(units=(*BLOCKS, *calibration, *holdout))
    slow = replace(QUICK, block=Slice(min_time_s=0.5), network=Slice(min_time_s=1.0))
    result = setup.run(slow, deadline_s=70.0)
    measured = {name for name, m in result.measurements.items() if m.used}
    assert {unit.name for unit in BLOCKS} <= measured
    assert result.left_out
    assert len(measured & {unit.name for unit in calibration}) == ENOUGH["calibration"]
    assert len(measured & {unit.name for unit in holdout}) >= ENOUGH["holdout"]
    assert not measured & result.left_out
    rounds = {name: len(result.measurements[name].visits) for name in measured}
    assert min(rounds.values()) >= 1
    assert max(rounds.values()) - min(rounds.values()) <= 1
    assert setup.clock.now_s < 73.0


def test_readings_of_the_reference_are_in_the_journal_and_known_again(tmp_path):
    path = tmp_path / "x.journal"
    with Journal(path, "a") as journal:
        first = Setup().run(journal=journal)
    with Journal(path, "a") as journal:
        readings = [visit for visit in journal.visits if visit.round < 0]
        assert len(readings) > 5
        assert {visit.unit for visit in readings} == {REFERENCE}
        assert [visit.at_s for visit in readings] == sorted(visit.at_s for visit in readings)
        again = Setup().run(journal=journal)
    assert again.quality["reference_ms"] == pytest.approx(first.quality["reference_ms"])


def test_progress_counts_every_visit():
    setup = Setup()
    setup.run()
    assert setup.watcher.done == 4 * len(UNITS)
    assert setup.watcher.more == 0
    assert setup.watcher.notes[-1].startswith("round 4, reference ")


def test_the_state_of_the_device_is_kept_with_each_visit():
    visits = Setup().run().measurements["large"].visits
    assert {visit.temperature_c for visit in visits} == {40.0}
    assert all(visit.reference_ms > 0 for visit in visits)


def test_the_default_settings_ask_for_the_documented_precision():
    assert Sampling().stop == StopSettings(relative_ci=0.01, min_rounds=8, max_rounds=16)
    assert len(BLOCKS) == 6
