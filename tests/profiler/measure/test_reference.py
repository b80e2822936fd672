import math

import pytest

from devices.backend import DeviceState, Samples, Slice
from profiler.measure.reference import ReferenceMonitor


class Device:
    """Plays back readings; the last one for ever. `warmups_s` is how long it was warmed up for each."""

    def __init__(self, *readings_ms, throttled=False):
        self.readings_ms, self.throttled, self.warmups_s = list(readings_ms), throttled, []

    def measure(self, how):
        self.warmups_s.append(how.warmup_s)
        return Samples((self.readings_ms.pop(0) if len(self.readings_ms) > 1 else self.readings_ms[0],))

    def state(self):
        return DeviceState(throttled=self.throttled)


def monitor(
    device,
    *,
    max_wait_s=60.0,
    longest_pause_s=8.0,
    deadline_s=math.inf,
    known_ms=(),
    usual_ms=math.inf,
    waiting=lambda: None,
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
    assert watch.wait_until_steady()
    assert slept == []


def test_a_device_that_is_slow_from_the_start_is_known_by_what_is_usual():
    watch, slept = monitor(Device(*7 * [1.3], 1.0), usual_ms=1.0)
    watch.start()
    assert watch.drift == pytest.approx(0.3)
    assert watch.wait_until_steady()
    assert slept == [0.5, 1.0, 2.0]


def test_a_device_that_is_faster_than_usual_is_not_waited_for():
    watch, slept = monitor(Device(0.8), usual_ms=1.0)
    watch.start()
    assert watch.wait_until_steady()
    assert slept == []


def test_it_waits_longer_and_longer_until_the_device_is_back():
    watch, slept = monitor(Device(1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 1.0))
    watch.start()
    assert watch.wait_until_steady()
    assert slept == [0.5, 1.0, 2.0]
    assert watch.waited_s == pytest.approx(3.5)


def test_pauses_are_no_longer_than_asked_for():
    watch, slept = monitor(Device(1.0, 1.0, 1.0, 1.0, *4 * [2.0], 1.0), longest_pause_s=1.0)
    watch.start()
    assert watch.wait_until_steady()
    assert slept == [0.5, 1.0, 1.0, 1.0]


def test_after_a_pause_the_device_works_before_it_is_read_because_an_idle_one_is_slow_at_first():
    device = Device(1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 1.0)
    watch, _ = monitor(device)
    watch.start()
    assert watch.wait_until_steady()
    watch.read()
    assert device.warmups_s == [0.0] * 5 + [1.5, 1.5] + [0.0]


def test_it_says_before_each_pause_that_it_waits():
    said = []
    watch, slept = monitor(Device(1.0, 1.0, 1.0, 1.0, 2.0, 1.5, 1.0), waiting=lambda: said.append(watch.drift))
    watch.start()
    assert watch.wait_until_steady()
    assert said == pytest.approx([1.0, 0.5])
    assert len(slept) == 2


def test_all_waits_together_are_limited():
    watch, slept = monitor(Device(1.0, 1.0, 1.0, 1.0, 1.0, 9.0), max_wait_s=5.0)
    watch.start()
    watch.read()
    assert not watch.wait_until_steady()
    assert sum(slept) == pytest.approx(5.0)
    assert not watch.wait_until_steady()
    assert sum(slept) == pytest.approx(5.0)


def test_a_deadline_ends_the_waiting():
    watch, slept = monitor(Device(1.0, 1.0, 1.0, 1.0, 9.0), deadline_s=2.0)
    watch.start()
    assert not watch.wait_until_steady()
    assert sum(slept) == pytest.approx(2.0)


def test_a_device_that_says_it_is_throttled_is_not_steady():
    watch, _ = monitor(Device(1.0, throttled=True), max_wait_s=1.0)
    watch.start()
    assert watch.throttled
    assert not watch.wait_until_steady()


def test_readings_of_an_earlier_session_count():
    watch, _ = monitor(Device(1.2), known_ms=[1.0] * 20 + [math.nan])
    watch.start()
    assert watch.level_ms == pytest.approx(1.0)
    assert not watch.steady
