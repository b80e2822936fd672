import gc
from itertools import count

import pytest

from devices import Slice
from devices.timing import SAMPLE_NS, time_calls


class Machine:
    """A clock that only calls move: `wall` and `on_core` nanoseconds each."""

    def __init__(self, *calls):
        self.wall_ns = self.core_ns = 0
        self.calls = 0
        self._calls = calls

    def call(self):
        wall, on_core = self._calls[self.calls % len(self._calls)]
        self.calls += 1
        self.wall_ns += wall
        self.core_ns += on_core

    def measure(self, how, *, own_thread_only=True):
        return time_calls(
            self.call,
            how,
            own_thread_only=own_thread_only,
            wall_ns=lambda: self.wall_ns,
            cpu_ns=lambda: self.core_ns,
            switches=lambda: 0,
        )


def test_a_long_call_is_a_sample_of_its_own():
    samples = Machine((2_000_000, 2_000_000)).measure(Slice(min_time_s=0.01, min_runs=3, warmup_runs=1))
    assert samples.times_ms == (2.0,) * 5
    assert samples.warmup_ms == (2.0,)
    assert samples.runs == 5
    assert samples.flags == ()


def test_short_calls_are_timed_in_batches():
    machine = Machine((1_000, 1_000))
    samples = machine.measure(Slice(min_time_s=0.001, min_runs=3, warmup_runs=2))
    batch = SAMPLE_NS // 1_000
    assert samples.times_ms == (0.001,) * 10
    assert samples.runs == 10 * batch
    assert machine.calls == 2 + samples.runs


def test_both_the_time_and_the_runs_are_minima():
    call = (4_000_000, 4_000_000)
    assert Machine(call).measure(Slice(min_time_s=0.0, min_runs=6)).runs == 6
    assert Machine(call).measure(Slice(min_time_s=0.04, min_runs=1)).runs == 10


def test_warm_ups_last_as_long_and_as_often_as_asked():
    call = (4_000_000, 4_000_000)
    assert len(Machine(call).measure(Slice(warmup_s=0.02, warmup_runs=1)).warmup_ms) == 5
    assert len(Machine(call).measure(Slice(warmup_s=0.0, warmup_runs=3)).warmup_ms) == 3
    assert Machine(call).measure(Slice(warmup_runs=0)).warmup_ms == ()


def test_samples_in_which_another_task_had_the_core_are_left_out():
    calm, disturbed = (1_000_000, 1_000_000), (5_000_000, 1_000_000)
    samples = Machine(calm, calm, disturbed, calm).measure(Slice(min_time_s=0.02, min_runs=5, warmup_runs=0))
    assert set(samples.times_ms) == {1.0}
    assert samples.flags == ()
    assert samples.wall_ms[:4] == (1.0, 5.0, 1.0, 1.0)  # one calm call came before, to learn how long one takes
    assert samples.disturbed == tuple(range(1, len(samples.wall_ms), 4))
    assert len(samples.times_ms) + len(samples.disturbed) == len(samples.wall_ms)


def test_without_a_disturbance_nothing_is_kept_twice():
    samples = Machine((1_000_000, 1_000_000)).measure(Slice(min_time_s=0.02, min_runs=5))
    assert (samples.wall_ms, samples.disturbed) == ((), ())


def test_a_call_during_which_the_thread_lost_its_core_is_left_out_however_short_that_was():
    machine, switched = Machine((1_000_000, 1_000_000)), [0]

    def call():
        machine.call()
        switched[0] += machine.calls % 5 == 0

    samples = time_calls(
        call,
        Slice(min_time_s=0.02, min_runs=5, warmup_runs=0),
        own_thread_only=True,
        wall_ns=lambda: machine.wall_ns,
        cpu_ns=lambda: machine.core_ns,
        switches=lambda: switched[0],
    )
    assert len(samples.disturbed) == len(samples.wall_ms) // 5 > 0


def test_a_visit_without_an_undisturbed_sample_ends_and_gives_the_time_on_the_core():
    machine = Machine((5_000_000, 1_000_000))
    samples = machine.measure(Slice(min_time_s=0.02, min_runs=3, warmup_runs=1))
    assert samples.flags == ("disturbed",)
    assert set(samples.times_ms) == {1.0}
    assert machine.wall_ns <= 3 * 20_000_000 + 2 * 5_000_000


def test_before_each_cold_call_memory_is_overwritten_and_the_input_written_anew():
    machine, happened = Machine((10_000, 10_000)), []
    samples = time_calls(
        lambda: (happened.append("call"), machine.call()),
        Slice(min_time_s=0.0, min_runs=4, warmup_runs=1, cold_mib=1),
        own_thread_only=True,
        renew=lambda: happened.append("input"),
        wall_ns=lambda: machine.wall_ns,
        cpu_ns=lambda: machine.core_ns,
        switches=lambda: 0,
    )
    assert happened == ["call", *4 * ["input", "call"]]
    assert samples.times_ms == (0.01,) * 4
    assert samples.runs == 4


def test_time_off_the_core_means_nothing_where_other_threads_do_the_work():
    samples = Machine((5_000_000, 1_000_000)).measure(Slice(min_time_s=0.02, min_runs=3), own_thread_only=False)
    assert set(samples.times_ms) == {5.0}
    assert samples.flags == ()


@pytest.mark.parametrize("fails", [False, True])
def test_garbage_collection_is_off_meanwhile_and_on_afterwards(fails):
    states = []
    ticks = count(0, 1_000_000)

    def call():
        states.append(gc.isenabled())
        if fails:
            raise RuntimeError

    try:
        time_calls(call, Slice(min_runs=1), own_thread_only=False, wall_ns=lambda: next(ticks))
    except RuntimeError:
        assert fails
    assert states
    assert not any(states)
    assert gc.isenabled()
