"""Timing calls on this machine: batches of calls, warm-ups apart, samples that were pre-empted told apart."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat

import numpy as np

from devices.backend import Samples, Slice

try:
    import resource
except ImportError:  # no such thing on this system
    _THREAD_USAGE = None
else:
    _THREAD_USAGE = getattr(resource, "RUSAGE_THREAD", None)

Clock = Callable[[], int]

# A sample lasts at least this long, so that reading the clock (some 50 ns) is below 0.1 % of it.
SAMPLE_NS = 100_000
# A sample is disturbed if the thread was off its core for more than this share of it.
OFF_CORE_SHARE = 0.01
# A visit in which too many samples are disturbed goes on, but not longer than this many times its length.
STRETCH = 3


def involuntary_switches() -> int:
    """How often this thread was taken off its core against its will; always 0 where the system does not count."""
    return resource.getrusage(_THREAD_USAGE).ru_nivcsw if _THREAD_USAGE is not None else 0


def time_calls(
    call: Callable[[], object],
    how: Slice,
    *,
    own_thread_only: bool,
    renew: Callable[[], object] | None = None,
    wall_ns: Clock = time.perf_counter_ns,
    cpu_ns: Clock = time.thread_time_ns,
    switches: Clock = involuntary_switches,
) -> Samples:
    """Time `call` as `how` says; each sample is the mean of as many calls as fill `SAMPLE_NS`.

    With `own_thread_only`, the call does all its work in this thread; then the thread's CPU time and the count of
    its involuntary switches tell whether another task had the core in the middle of a sample, and such samples are
    left out. Where too few are undisturbed, all are given, less the time that they were off the core, with the
    flag `disturbed`. Either way all samples as they happened are kept beside. Garbage collection is off meanwhile.

    Where `how` asks for cold calls, each sample is one call, before which memory is overwritten and `renew` called: it
    writes the input anew, which inside a network is warm.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        warmup_ns = _warm_up(call, how, wall_ns)
        per_call_ns = max(1, min(warmup_ns)) if warmup_ns else _timed(call, 1, wall_ns)
        calls = 1 if how.cold_mib else max(1, math.ceil(SAMPLE_NS / max(1, per_call_ns)))
        before = _cooling(how.cold_mib, renew) if how.cold_mib else None
        clocks = _Clocks(wall_ns, cpu_ns, switches, before) if own_thread_only else _Clocks(wall_ns, before=before)
        taken = _sample(call, how, calls, max(1, per_call_ns), clocks)
    finally:
        if collecting:
            gc.enable()
    return to_samples(taken, warmup_ns, calls, how.min_runs)


@dataclass(frozen=True)
class Sample:
    """One sample in nanoseconds: on the wall, on the core, and whether another task came between."""

    wall_ns: int
    core_ns: int
    disturbed: bool


def to_samples(taken: list[Sample], warmup_ns: list[int], calls: int, min_runs: int) -> Samples:
    """What a visit gives: undisturbed samples if they hold `min_runs` calls, else all by their time on the core."""
    kept = [sample.wall_ns for sample in taken if not sample.disturbed]
    enough = len(kept) * calls >= min_runs
    times_ns = kept if enough else [sample.core_ns for sample in taken]
    disturbed = tuple(index for index, sample in enumerate(taken) if sample.disturbed)
    return Samples(
        times_ms=tuple(t / calls / 1e6 for t in times_ns),
        warmup_ms=tuple(t / 1e6 for t in warmup_ns),
        runs=len(times_ns) * calls,
        flags=() if enough else ("disturbed",),
        wall_ms=tuple(sample.wall_ns / calls / 1e6 for sample in taken) if disturbed else (),
        disturbed=disturbed,
    )


def _cooling(mib: int, renew: Callable[[], object] | None) -> Callable[[], None]:
    """A function that overwrites `mib` MiB of memory, then has a call's input written anew."""
    memory = np.zeros((mib << 20) // 8)

    def cool() -> None:
        np.add(memory, 1.0, out=memory)
        if renew is not None:
            renew()

    return cool


def _timed(call: Callable[[], object], calls: int, wall_ns: Clock) -> int:
    start = wall_ns()
    for _ in repeat(None, calls):
        call()
    return wall_ns() - start


def _warm_up(call: Callable[[], object], how: Slice, wall_ns: Clock) -> list[int]:
    times: list[int] = []
    spent_ns = 0
    while len(times) < how.warmup_runs or spent_ns < how.warmup_s * 1e9:
        times.append(_timed(call, 1, wall_ns))
        spent_ns += max(1, times[-1])
    return times


@dataclass(frozen=True)
class _Clocks:
    """Time on the wall and, where they tell something, this thread's time on a core and its switches."""

    wall_ns: Clock
    cpu_ns: Clock | None = None
    switches: Clock | None = None
    before: Callable[[], object] | None = None

    def sample(self, call: Callable[[], object], calls: int) -> Sample:
        """Time so many calls."""
        if self.before is not None:
            self.before()
        if self.cpu_ns is None or self.switches is None:
            wall_ns = _timed(call, calls, self.wall_ns)
            return Sample(wall_ns, wall_ns, disturbed=False)
        switched, on_core = self.switches(), self.cpu_ns()
        wall_ns = _timed(call, calls, self.wall_ns)
        core_ns = min(wall_ns, self.cpu_ns() - on_core)
        disturbed = wall_ns - core_ns > OFF_CORE_SHARE * wall_ns or self.switches() != switched
        return Sample(wall_ns, core_ns, disturbed)


def _sample(call: Callable[[], object], how: Slice, calls: int, per_call_ns: int, clocks: _Clocks) -> list[Sample]:
    """Samples until time and undisturbed calls are enough, or the visit was stretched as far as it may be."""
    taken: list[Sample] = []
    kept = spent_ns = 0
    limit_ns = STRETCH * max(how.min_time_s * 1e9, how.min_runs * per_call_ns)
    while True:
        started_ns = clocks.wall_ns()
        sample = clocks.sample(call, calls)
        taken.append(sample)
        kept += not sample.disturbed
        spent_ns += max(1, sample.wall_ns, clocks.wall_ns() - started_ns)  # overwriting memory takes time too
        if spent_ns >= how.min_time_s * 1e9 and kept * calls >= how.min_runs:
            return taken
        if spent_ns >= limit_ns and len(taken) * calls >= how.min_runs:
            return taken
