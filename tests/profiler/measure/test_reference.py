import math

import pytest

from devices.backend import DeviceState, Samples, Slice
from profiler.measure.reference import ReferenceMonitor


class Device:
    """Plays back readings; the last one for ever. `warmups_s` is how long it was warmed up for each.

    It says that it is throttled at readings from `hot_ms` on.
    """

    def __init__(self, *readings_ms, hot_ms=math.inf):
        self.readings_ms, self.hot_ms, self.warmups_s, self.last_ms = list(readings_ms), hot_ms, [], 0.0

    def measure(self, how):
        self.warmups_s.append(how.warmup_s)
        self.last_ms = self.readings_ms.pop(0) if len(self.readings_ms) > 1 else self.readings_ms[0]
        return Samples((self.last_ms,))

    def state(self):
        return DeviceState(throttled=self.last_ms >= self.hot_ms)


def monitor(
    device,
    *,
    max_wait_s=60.0,
    longest_pause_s=8.0,
    deadline_s=math.inf,
    known_ms=(),
    usual_ms=math.inf,
    waiting=lambda: None,
    heard=lambda *_: None,
):
    slept = []
    return (
        ReferenceMonitor(
            device,
            lambda: device,
            Slice(),
            limit=0.05,
            max_wait_s=max_wait_s,
            longest_pause_s=longest_pause_s,
            warm_up_s=1.5,
            clock=lambda: sum(slept),
            sleep=slept.append,
            deadline_s=deadline_s,
            known_ms=known_ms,
            usual_ms=usual_ms,
            waiting=waiting,
            heard=heard,
        ),
        slept,
    )


def test_the_level_is_that_of_the_faster_readings():
    watch, _ = monitor(Device(1.0, 1.0, 1.01, 1.5, 1.6))
    watch.start()
    assert watch.level_ms == pytest.approx(1.0, rel=0.01)
    assert not watch.steady
    assert watch.drift == pytest.approx(0.6, rel=0.05)


def test_within_the_limit_it_is_steady_either_way():
    watch, slept = monitor(Device(1.0, 1.0, 1.0, 1.0, 1.04))
    watch.start()
    assert watch.steady
    assert watch.cool_down()
    assert slept == []


def test_a_slow_device_is_not_waited_for_unless_it_says_that_it_is_hot():
    watch, slept = monitor(Device(1.0, 1.0, 1.0, 1.0, 1.0, 9.0))
    watch.start()
    watch.read()
    assert not watch.steady
    assert watch.cool_down()
    assert slept == []


def test_a_device_that_is_slow_from_the_start_is_known_by_what_is_usual():
    watch, _ = monitor(Device(*7 * [1.3], 1.0), usual_ms=1.0)
    watch.start()
    assert watch.drift == pytest.approx(0.3)
    assert not watch.steady


def test_a_device_that_is_faster_than_usual_is_steady():
    watch, _ = monitor(Device(0.8), usual_ms=1.0)
    watch.start()
    assert watch.steady


@pytest.mark.parametrize("quiet", [5, 8, 40])
def test_a_slowdown_does_not_become_usual_however_long_it_lasts(quiet):
    watch, _ = monitor(Device(*quiet * [1.0], *1000 * [1.2]))
    watch.start()
    for _ in range(quiet + 900):
        watch.read()
    assert watch.level_ms == pytest.approx(1.0)
    assert watch.drift == pytest.approx(0.2)
    assert not watch.steady


def test_one_reading_that_is_faster_by_chance_is_not_the_level():
    watch, _ = monitor(Device(1.0, 1.01, 0.8, 1.0, 1.02, 1.0))
    watch.start()
    assert watch.level_ms == pytest.approx(1.0, rel=0.011)
    assert watch.steady


def test_a_level_learnt_while_the_device_was_disturbed_gives_way_to_a_faster_one():
    watch, _ = monitor(Device(*5 * [1.3], 1.0, 1.0, 1.3))
    watch.start()
    assert watch.steady
    watch.read()
    watch.read()
    assert watch.level_ms == pytest.approx(1.0)
    watch.read()
    assert not watch.steady


def test_it_waits_longer_and_longer_until_the_device_is_cool():
    watch, slept = monitor(Device(1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 1.0, hot_ms=2.0))
    watch.start()
    assert watch.cool_down()
    assert slept == [0.5, 1.0, 2.0]
    assert watch.waited_s == pytest.approx(3.5)


def test_pauses_are_no_longer_than_asked_for():
    watch, slept = monitor(Device(1.0, 1.0, 1.0, 1.0, *4 * [2.0], 1.0, hot_ms=2.0), longest_pause_s=1.0)
    watch.start()
    assert watch.cool_down()
    assert slept == [0.5, 1.0, 1.0, 1.0]


def test_after_a_pause_the_device_works_before_it_is_read_because_an_idle_one_is_slow_at_first():
    device = Device(1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 1.0, hot_ms=2.0)
    watch, _ = monitor(device)
    watch.start()
    assert watch.cool_down()
    watch.read()
    assert device.warmups_s == [0.0] * 5 + [1.5, 1.5] + [0.0]


def test_it_says_before_each_pause_that_it_waits():
    said = []
    device = Device(1.0, 1.0, 1.0, 1.0, 2.0, 1.5, 1.0, hot_ms=1.5)
    watch, slept = monitor(device, waiting=lambda: said.append(watch.drift))
    watch.start()
    assert watch.cool_down()
    assert said == pytest.approx([1.0, 0.5])
    assert len(slept) == 2


def test_all_waits_together_are_limited():
    watch, slept = monitor(Device(1.0, 1.0, 1.0, 1.0, 1.0, 9.0, hot_ms=9.0), max_wait_s=5.0)
    watch.start()
    watch.read()
    assert not watch.cool_down()
    assert sum(slept) == pytest.approx(5.0)
    assert not watch.cool_down()
    assert sum(slept) == pytest.approx(5.0)


def test_a_deadline_ends_the_waiting():
    watch, slept = monitor(Device(1.0, 1.0, 1.0, 1.0, 9.0, hot_ms=9.0), deadline_s=2.0)
    watch.start()
    assert not watch.cool_down()
    assert sum(slept) == pytest.approx(2.0)


def test_a_device_that_says_it_is_throttled_is_not_steady():
    watch, _ = monitor(Device(1.0, hot_ms=0.0), max_wait_s=1.0)
    watch.start()
    assert watch.throttled
    assert not watch.steady
    assert not watch.cool_down()


def test_readings_of_an_earlier_session_count():
    watch, _ = monitor(Device(1.2), known_ms=[1.0] * 20 + [math.nan])
    watch.start()
    assert watch.level_ms == pytest.approx(1.0)
    assert not watch.steady


def test_each_reading_is_handed_on():
    heard = []
    watch, slept = monitor(Device(1.0, 1.1), heard=lambda samples, s: heard.append((samples.times_ms, s)))
    watch.read()
    watch._program = lambda: slept.append(0.25) or Device(1.1)
    watch.read()
    assert heard == [((1.0,), 0.0), ((1.1,), 0.25)]
