"""Timing calls on this machine: batches of calls, warm-ups apart, samples that were pre-empted left out."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat

from devices.backend import Samples, Slice

Clock = Callable[[], int]

# A sample lasts at least this long, so that reading the clock (some 50 ns) is below 0.1 % of it.
SAMPLE_NS = 100_000
# A sample is disturbed if the thread was off its core for more than this share of it.
OFF_CORE_SHARE = 0.01
# A visit in which too many samples are disturbed goes on, but not longer than this many times its length.
STRETCH = 3


def time_calls(
    call: Callable[[], object],
    how: Slice,
    *,
    own_thread_only: bool,
    wall_ns: Clock = time.perf_counter_ns,
    cpu_ns: Clock = time.thread_time_ns,
) -> Samples:
    """Time `call` as `how` says; each sample is the mean of as many calls as fill `SAMPLE_NS`.

    With `own_thread_only`, the call does all its work in this thread; then the thread's CPU time tells
    whether another task had the core in the middle of a sample, and such samples are left out. Where too few
    are undisturbed, all are given, less the time that they were off the core, with the flag `disturbed`.
    Garbage collection is off meanwhile.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        warmup_ns = _warm_up(call, how, wall_ns)
        per_call_ns = max(1, min(warmup_ns)) if warmup_ns else _timed(call, 1, wall_ns)
        calls = max(1, math.ceil(SAMPLE_NS / max(1, per_call_ns)))
        clocks = _Clocks(wall_ns, cpu_ns if own_thread_only else None)
        kept_ns, all_ns = _sample(call, how, calls, max(1, per_call_ns), clocks)
    finally:
        if collecting:
            gc.enable()
    enough = len(kept_ns) * calls >= how.min_runs
    times_ns = kept_ns if enough else all_ns
    return Samples(
        times_ms=tuple(t / calls / 1e6 for t in times_ns),
        warmup_ms=tuple(t / 1e6 for t in warmup_ns),
        runs=len(times_ns) * calls,
        flags=() if enough else ("disturbed",),
    )


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
    """Time on the wall and, where it tells something, this thread's time on a core."""

    wall_ns: Clock
    cpu_ns: Clock | None


def _sample(
    call: Callable[[], object], how: Slice, calls: int, per_call_ns: int, clocks: _Clocks
) -> tuple[list[int], list[int]]:
    """Undisturbed samples, and all of them less the time off the core, in nanoseconds for `calls` calls."""
    kept: list[int] = []
    every: list[int] = []
    spent_ns = 0
    limit_ns = STRETCH * max(how.min_time_s * 1e9, how.min_runs * per_call_ns)
    while True:
        cpu_start = clocks.cpu_ns() if clocks.cpu_ns else 0
        passed = _timed(call, calls, clocks.wall_ns)
        on_core = min(passed, clocks.cpu_ns() - cpu_start) if clocks.cpu_ns else passed
        every.append(on_core)
        spent_ns += max(1, passed)
        if passed - on_core <= OFF_CORE_SHARE * passed:
            kept.append(passed)
        if spent_ns >= how.min_time_s * 1e9 and len(kept) * calls >= how.min_runs:
            return kept, every
        if spent_ns >= limit_ns and len(every) * calls >= how.min_runs:
            return kept, every
