import math
from dataclasses import replace
from statistics import median

import numpy as np
import pytest

from devices.backend import Samples, Slice
from devices.fake import FakeBackend, FakeSettings
from pnag.space.spaces import load_space
from profiler.measure.measurement import Visit
from profiler.measure.plan import block_units
from profiler.measure.session import Sampling
from profiler.measure.stopping import StopSettings
from profiler.measure.wander import level_out, wanders
from tests.phone.wander import Wander
from tests.profiler.measure.sessions import Setup

BLOCKS = block_units(load_space(resolution=96).blocks()[:40])
SAMPLING = Sampling(
    block=Slice(min_time_s=0.4), reference=Slice(min_time_s=0.4), segment_s=6.0, stop=StopSettings(0.01, 8, 16)
)


class Phone(FakeBackend):
    """One time for each visit, as a phone's tool prints it, at whatever speed the phone has at the moment."""

    def __init__(self, slower_now, **options):
        super().__init__(**options)
        self._slower_now = slower_now

    def visit(self, artefact, how):
        factor = self._slower_now()
        samples = super().visit(artefact, how)
        return Samples((factor * median(samples.times_ms),), runs=samples.runs)


class Host(Phone):
    """All calls of each visit, as a runtime in this process gives them."""

    def visit(self, artefact, how):
        factor = self._slower_now()
        samples = FakeBackend.visit(self, artefact, how)
        return Samples(tuple(factor * time for time in samples.times_ms), runs=samples.runs)


class Neighbour:
    """Somebody else's work on the same core: there most of the time, for some seconds; rarely a visit is hit hard."""

    def __init__(self, clock):
        self._clock, self._rng, self._until_s, self._factor = clock, np.random.default_rng(3), 0.0, 1.0

    def __call__(self):
        while self._until_s <= self._clock():
            self._until_s += self._rng.uniform(2.0, 8.0)
            self._factor = 1.3 if self._rng.random() < 0.75 else 1.0
        return self._factor * (2.0 if self._rng.random() < 0.05 else 1.0)


LONG = {"wandering_visit": 1.0, "wandering_rounds": 1.25}  # as phones are visited


def session_of(width):
    setup = Setup(units=BLOCKS)
    return session_on(setup, Phone, Wander(setup.clock, width=width), **LONG)


def session_on(setup, device, slower_now, **sampling):
    settings = FakeSettings(noise=0.01)
    setup.backend = device(slower_now, settings=settings, pass_time=setup.clock.work)
    result = setup.run(replace(SAMPLING, **sampling))
    return (
        result,
        setup,
        {unit.name: result.measurements[unit.name].latency_ms / setup.true_ms(unit.name) for unit in BLOCKS},
    )


def test_a_phone_whose_speed_wanders_takes_little_longer_and_is_nearly_as_well_known():
    steady, steady_setup, _ = session_of(0.0)
    wandering, setup, ratios = session_of(0.15)
    assert (steady.quality["wandering"], wandering.quality["wandering"]) == (False, True)
    assert setup.clock.slept_s == []
    assert setup.clock.now_s < 1.5 * steady_setup.clock.now_s
    middle = median(ratios.values())
    assert 0.85 < middle < 1.0  # at its quieter moments
    apart = [abs(ratio / middle - 1) for ratio in ratios.values()]
    assert np.mean(apart) < 0.01
    assert max(apart) < 0.03
    entry = wandering.measurements[BLOCKS[0].name].entry("block", (), 0.05)
    assert entry.flags == ("levelled",)
    assert entry.ci_low_ms < entry.latency_ms < entry.ci_high_ms
    assert (entry.rounds, entry.reason) == (10, "wandering")


def test_on_a_shared_host_blocks_are_known_beside_one_another_though_most_visits_are_disturbed():
    setup = Setup(units=BLOCKS)
    result, _, ratios = session_on(setup, Host, Neighbour(setup.clock))
    assert result.quality["wandering"]
    middle = median(ratios.values())
    apart = [abs(ratio / middle - 1) for ratio in ratios.values()]
    assert np.mean(apart) < 0.01
    assert max(apart) < 0.03


def test_many_short_visits_say_more_than_few_long_ones():
    apart, took_s, visits = {}, {}, {}
    for name, sampling in (("long", LONG), ("short", {})):
        setup = Setup(units=BLOCKS)
        result, _, ratios = session_on(setup, Host, Wander(setup.clock, width=0.15), **sampling)
        apart[name] = np.std(np.log(list(ratios.values())))
        took_s[name] = setup.clock.now_s
        visits[name] = result.quality["visits"]
    assert visits["short"] > 2 * visits["long"]
    assert apart["short"] < 0.8 * apart["long"]
    assert took_s["short"] < 1.4 * took_s["long"]  # the first rounds are long, until it is known to wander


def test_slow_visits_end_when_the_time_for_wandering_is_over():
    setup = Setup(units=BLOCKS)
    result, _, _ = session_on(setup, Host, Wander(setup.clock, width=0.15), wandering_s=20.0)
    assert result.complete
    assert {len(one.visits) for one in result.measurements.values()} == {10}  # a quarter more than the least


def test_a_fixed_number_of_rounds_is_kept_though_the_device_wanders():
    setup, stop = Setup(units=BLOCKS), StopSettings(min_rounds=5, rule="rounds")
    result, _, _ = session_on(setup, Host, Wander(setup.clock, width=0.15), stop=stop)
    assert result.quality["wandering"]
    assert max(len(one.visits) for one in result.measurements.values()) <= 8  # until it is known to wander


def test_a_visit_that_was_hit_hard_counts_for_little():
    times = [1.0, 1.01, 0.99, 1.0, 1.01, 0.99, 1.0, 1.0]
    b = visits_of([2 * time for time in times], [i + 0.5 for i in range(8)])
    at_s = [float(i) for i in range(8)]
    calm, struck = (level_out({"a": visits_of(a, at_s), "b": b})["a"].latency_ms for a in (times, [*times[:-1], 3.0]))
    assert struck == pytest.approx(calm, rel=0.02)


def visits_of(times, at_s):
    return [Visit("x", index, (time,), at_s=at) for index, (time, at) in enumerate(zip(times, at_s, strict=True))]


def test_units_that_share_each_moment_by_hand():
    """Two units in turn on a device that is twice as slow in its second half: their ratio is 3, whatever it does."""
    speed = [1.0] * 10 + [2.0] * 10
    a = visits_of([factor * 1.0 for factor in speed], [float(i) for i in range(20)])
    b = visits_of([factor * 3.0 for factor in speed], [i + 0.5 for i in range(20)])
    levelled = level_out({"a": a, "b": b})
    assert levelled["b"].latency_ms / levelled["a"].latency_ms == pytest.approx(3.0, rel=0.05)


def test_the_level_is_the_quiet_devices_however_often_it_was_disturbed():
    """Two sessions on a device that is twice as slow while others work: a fifth, and four fifths of the time."""
    rng, levels = np.random.default_rng(0), []
    for busy in (0.2, 0.8):
        slow = np.repeat(rng.permutation(np.arange(40) < 40 * busy), 10)  # for ten visits at a time
        times = np.where(slow, 2.0, 1.0) * np.exp(0.01 * rng.standard_normal(len(slow)))
        units = {name: visits_of(times[first::4], np.arange(400.0)[first::4]) for first, name in enumerate("abcd")}
        levels.append(np.mean([one.latency_ms for one in level_out(units).values()]))
    assert levels == pytest.approx([1.0, 1.0], rel=0.04)


def test_what_cannot_be_told_is_left_out():
    assert level_out({"a": visits_of([1.0], [0.0])}) == {}
    assert level_out({}) == {}
    hot = [replace(visit, flags=("throttled",)) for visit in visits_of([9.0, 9.0], [5.0, 6.0])]
    known = level_out(
        {"a": [*visits_of([1.0, 1.0, 1.0], [0.0, 1.0, 2.0]), *hot], "b": visits_of([2.0, 2.0], [0.5, 1.5])}
    )
    assert known["a"].latency_ms == pytest.approx(1.0, rel=0.01)
    assert all(math.isfinite(value.latency_ms) for value in known.values())


def test_a_device_wanders_if_it_has_no_usual_speed():
    usual = [1.0, 1.01] * 10
    assert not wanders(usual, lambda ms: ms < 1.05)
    assert wanders([1.0, 1.1, 1.2] * 5, lambda ms: ms < 1.05)
    assert not wanders([1.0, 1.1, 1.2], lambda ms: ms < 1.05)
