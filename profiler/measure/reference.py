"""The reference block: one small program measured throughout, to tell whether the device is as usual."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median

import numpy as np

from devices.backend import Backend, Program, Samples, Slice
from devices.errors import MeasurementError
from profiler.errors import ReferenceFailedError

_START_READINGS = 5
_FIRST_PAUSE_S = 0.5
# Readings near one another are a level of the device; so large a share of them, or so many, is not a chance.
_LEVEL_SHARE = 0.1
_LEVEL_READINGS = 8


class Level:
    """What the reference takes when the device is as usual, learnt from readings in order.

    The first readings are taken as they are, later ones only where they lie at most `limit` above the level, on a
    device that is not throttled.
    """

    def __init__(self, limit: float, usual_ms: float = math.inf) -> None:
        self._limit, self._usual_ms = limit, usual_ms
        self._accepted_ms: list[float] = []
        self.level_ms = usual_ms

    def is_usual(self, reading_ms: float) -> bool:
        """Whether a reading is at most the limit above the level; a faster one always is."""
        return reading_ms / self.level_ms - 1 <= self._limit

    def take(self, reading_ms: float, *, throttled: bool = False) -> None:
        """One more reading."""
        learning = len(self._accepted_ms) < _START_READINGS
        if learning or (self.is_usual(reading_ms) and not throttled):
            self._accepted_ms.append(reading_ms)
            self.level_ms = min(level_of(self._accepted_ms, self._limit), self._usual_ms)


class ReferenceMonitor:
    """Reads the reference, remembers its level, and waits while the device says that it is throttled.

    The device is steady while readings lie at most `limit` (relative) above the level and it does not say itself
    that it is throttled. Only readings at which it was steady enter the level, so that a slowdown, however long it
    lasts, does not become usual. Slower than usual, a device goes on being measured, and what was measured is judged
    later: waiting helps against heat alone.

    `max_wait_s` bounds all waits together. They are made of pauses of up to `longest_pause_s`, each followed by
    `warm_up_s` of work, since a device that was idle is slow at first. `usual_ms` is a level known from before: the
    device is not as usual if it is slower than that, however steadily. `known_ms` are readings of an earlier session
    in order. `waiting` is called before each pause, `heard` with what the reference gave at each reading, and
    in how many seconds.
    """

    def __init__(
        self,
        backend: Backend,
        program: Callable[[], Program],
        how: Slice,
        *,
        limit: float,
        max_wait_s: float,
        longest_pause_s: float,
        warm_up_s: float,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        deadline_s: float = math.inf,
        known_ms: Sequence[float] = (),
        usual_ms: float = math.inf,
        waiting: Callable[[], None] = lambda: None,
        heard: Callable[[Samples, float], None] = lambda *_: None,
    ) -> None:
        self._backend, self._program, self._how = backend, program, how
        self._max_wait_s, self._clock, self._sleep, self._deadline_s = max_wait_s, clock, sleep, deadline_s
        self._longest_pause_s, self._after_pause = longest_pause_s, replace(how, warmup_s=warm_up_s)
        self._usual_ms, self._waiting, self._heard = usual_ms, waiting, heard
        self._throttled = False
        self._level = Level(limit, usual_ms)
        self.readings_ms: list[float] = []
        self.waited_s = 0.0
        self.last_ms = math.nan
        for value in known_ms:
            if math.isfinite(value):
                self._take(value)

    @property
    def level_ms(self) -> float:
        """What the reference takes when the device is as usual; infinite before the first reading."""
        return self._level.level_ms

    @property
    def drift(self) -> float:
        """The last reading against the level, relative."""
        return self.last_ms / self.level_ms - 1

    @property
    def steady(self) -> bool:
        """Whether the device was as usual at the last reading."""
        return self.is_usual(self.last_ms) and not self._throttled

    def is_usual(self, reading_ms: float) -> bool:
        """Whether a reading is at most the limit above the level that is known by now; a faster one always is."""
        return self._level.is_usual(reading_ms)

    @property
    def throttled(self) -> bool:
        """Whether the device said itself, at the last reading, that it is throttled."""
        return self._throttled

    def start(self) -> None:
        """The first readings. Raises `ReferenceFailedError` if the reference cannot be measured."""
        for _ in range(_START_READINGS):
            self.read()

    def read(self, *, paused: bool = False) -> float:
        """Measure the reference now, in ms, warmed up if the device has `paused`. Raises `ReferenceFailedError`."""
        started_s = self._clock()
        try:
            samples = self._program().measure(self._after_pause if paused else self._how)
        except MeasurementError as error:
            raise ReferenceFailedError(f"the reference block cannot be measured: {error}") from error
        self.last_ms = median(samples.times_ms)
        self._throttled = self._backend.state().throttled
        self._take(self.last_ms)
        self._heard(samples, self._clock() - started_s)
        return self.last_ms

    def _take(self, reading_ms: float) -> None:
        self.readings_ms.append(reading_ms)
        self._level.take(reading_ms, throttled=self._throttled)

    def cool_down(self) -> bool:
        """Wait while the device says that it is throttled; False when the time for waiting is used up."""
        pause_s = min(_FIRST_PAUSE_S, self._longest_pause_s)
        while self._throttled:
            left_s = min(self._max_wait_s - self.waited_s, self._deadline_s - self._clock())
            if left_s <= 0:
                return False
            started_s = self._clock()
            self._waiting()
            self._sleep(min(pause_s, left_s))
            self.read(paused=True)
            self.waited_s += max(self._clock() - started_s, min(pause_s, left_s))
            pause_s = min(2 * pause_s, self._longest_pause_s)
        return True

    def spread(self) -> float:
        """Half the range between the 5th and 95th percentile of all readings, relative to the level."""
        low, high = np.quantile(self.readings_ms, (0.05, 0.95))
        return float((high - low) / 2 / self.level_ms)


def level_of(readings_ms: Sequence[float], limit: float) -> float:
    """The lowest level that a device shows: the median of the fastest readings that lie within `limit` of each other.

    A tenth of the readings, from two up to eight, make a level; a single one that is faster is an accident.
    """
    ordered = sorted(readings_ms)
    enough = min(len(ordered), max(2, math.ceil(_LEVEL_SHARE * len(ordered))), _LEVEL_READINGS)
    for first, low in enumerate(ordered):
        near = [value for value in ordered[first:] if value <= low * (1 + limit)]
        if len(near) >= enough:
            return median(near)
    return ordered[0]
