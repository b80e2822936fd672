"""Timing by events on a stream: how many calls a pair of events must enclose, and the samples.

Nothing here knows torch: a `Stream` is what a card offers, and the tests bring one of their own with a
clock that they control.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from statistics import median
from typing import Any, Protocol

from devices.backend import Samples, Slice

Work = Callable[[], object]
Clock = Callable[[], float]

# The runtime's documentation: an elapsed time has a resolution of around 0.5 microseconds.
EVENT_RESOLUTION_MS = 0.0005
# A pair of events encloses at least this much work: 400 times the resolution, and longer than it takes
# the host to launch one graph, so that launching hides behind the work before.
PAIR_MS = 0.2
# Calls captured in one graph at most. More make a graph that is slow to capture and no better to measure.
MOST_UNROLLED = 64
_MOST_LAUNCHES = 4096
_MOST_PAIRS = 256
_OVERHEAD_PAIRS = 64


class Stream(Protocol):
    """A queue of work on a card. Work is queued in order and runs asynchronously."""

    def current(self) -> AbstractContextManager[Any]:
        """Inside, whatever the runtime launches is queued on this stream."""

    def capture(self, work: Work) -> Work:
        """Record what `work` launches, without running it; returns one launch of all of it."""

    def record(self) -> Any:
        """Queue an event."""

    def elapsed_ms(self, start: Any, end: Any) -> float:
        """Time on the card between two events that have passed; they may not be used again."""

    def synchronize(self) -> None:
        """Wait until all that is queued has run. Raises what went wrong on the card."""

    def flush_l2(self) -> None:
        """Queue a write of more memory than the L2 cache holds."""

    def close(self) -> None:
        """Give back what the stream holds. Closing twice is harmless."""


def unrolled_calls(call_ms: float) -> int:
    """How many calls to capture in one graph, so that it lasts `PAIR_MS`; 1 … `MOST_UNROLLED`."""
    return min(MOST_UNROLLED, max(1, math.ceil(PAIR_MS / max(call_ms, EVENT_RESOLUTION_MS))))


def event_overhead_ms(stream: Stream) -> float:
    """What a pair of events measures with nothing in between: the median of many, queued behind other work."""
    with stream.current():
        for _ in range(_OVERHEAD_PAIRS):
            stream.flush_l2()
        pairs = [(stream.record(), stream.record()) for _ in range(_OVERHEAD_PAIRS)]
        stream.synchronize()
        return median(stream.elapsed_ms(start, end) for start, end in pairs)


@dataclass(frozen=True)
class EventTimer:
    """Times `launch`, one launch of which is `calls` calls, in pairs of events.

    `overhead_ms` is taken off each pair. `cold`: the cache is flushed before each pair, which then holds
    one launch. Warm pairs hold as many launches as fill `PAIR_MS`; they are queued many at a time behind
    an untimed launch, so that the card never waits for the host while it is timed.
    """

    stream: Stream
    launch: Work
    calls: int
    overhead_ms: float
    clock: Clock
    cold: bool = False

    def sample(self, how: Slice) -> Samples:
        """Samples in ms per call, each the mean of one pair's calls. `min_runs` counts pairs here.

        The flag `below_resolution` says that a pair lasts less than 20 times the events' resolution.
        """
        with self.stream.current():
            warmup, launches = self._warm_up(how)
            times: list[float] = []
            started_s = self.clock()
            pair_s = max(PAIR_MS, warmup[-1] * self.calls * launches) / 1e3
            while True:
                passed_s = self.clock() - started_s
                missing = max(how.min_runs - len(times), math.ceil((how.min_time_s - passed_s) / pair_s))
                if missing <= 0:
                    break
                times += self._queue(min(missing, _MOST_PAIRS), launches)
                pair_s = max(1e-6, (self.clock() - started_s) / len(times))
        per_pair = self.calls * launches
        short = median(times) * per_pair < 20 * EVENT_RESOLUTION_MS
        return Samples(tuple(times), tuple(warmup), len(times) * per_pair, ("below_resolution",) if short else ())

    def _warm_up(self, how: Slice) -> tuple[list[float], int]:
        """Warm-up times per call, and how many launches a pair must hold."""
        started_s = self.clock()
        times = self._queue(max(1, how.warmup_runs), 1)
        while self.clock() - started_s < how.warmup_s:
            times += self._queue(max(1, min(16, math.ceil(PAIR_MS / (times[-1] * self.calls)))), 1)
        if self.cold:
            return times, 1
        launches = 1
        while (pair_ms := min(times) * self.calls * launches) < PAIR_MS and launches < _MOST_LAUNCHES:
            launches = min(_MOST_LAUNCHES, max(2 * launches, math.ceil(PAIR_MS / max(pair_ms / launches, 1e-6))))
            times += self._queue(2, launches)
        return times, launches

    def _queue(self, pairs: int, launches: int) -> list[float]:
        """Queue that many pairs, wait, and return the time per call of each."""
        stream, launch = self.stream, self.launch
        if not self.cold:
            launch()
        events = []
        for _ in range(pairs):
            if self.cold:
                stream.flush_l2()
            start = stream.record()
            for _ in range(launches):
                launch()
            events.append((start, stream.record()))
        stream.synchronize()
        per_pair = self.calls * launches
        floor_ms = EVENT_RESOLUTION_MS / per_pair
        return [max(floor_ms, (stream.elapsed_ms(a, b) - self.overhead_ms) / per_pair) for a, b in events]
