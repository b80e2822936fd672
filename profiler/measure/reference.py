"""The reference block: one small program measured throughout, to tell whether the device is as usual."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median

import numpy as np

from devices.backend import Backend, Program, Slice
from devices.errors import MeasurementError
from profiler.errors import ReferenceFailedError

_START_READINGS = 5
_FIRST_PAUSE_S = 0.5
# Disturbances only make it slower, so the level is taken from the faster quarter of the readings.
_LEVEL_QUANTILE = 0.25


class ReferenceMonitor:
    """Reads the reference, knows its level, and waits when it is off.

    The device is steady while readings lie at most `limit` (relative) above the level and it does not say itself
    that it is throttled. `max_wait_s` bounds all waits together. They are made of pauses of up to
    `longest_pause_s`, each followed by `warm_up_s` of work, since a device that was idle is slow at first.
    `usual_ms` is a level known from before: the device is not as usual if it is slower than that, however
    steadily. `waiting` is called before each pause.
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
    ) -> None:
        self._backend, self._program, self._how, self._limit = backend, program, how, limit
        self._max_wait_s, self._clock, self._sleep, self._deadline_s = max_wait_s, clock, sleep, deadline_s
        self.readings_ms = [value for value in known_ms if math.isfinite(value)]
        self.waited_s = 0.0
        self.last_ms = math.nan
        self._longest_pause_s, self._after_pause = longest_pause_s, replace(how, warmup_s=warm_up_s)
        self._usual_ms, self._waiting = usual_ms, waiting
        self._throttled = False

    @property
    def level_ms(self) -> float:
        """What the reference takes when the device is as usual."""
        return min(float(np.quantile(self.readings_ms, _LEVEL_QUANTILE)), self._usual_ms)

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
        return reading_ms / self.level_ms - 1 <= self._limit

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
        try:
            samples = self._program().measure(self._after_pause if paused else self._how)
        except MeasurementError as error:
            raise ReferenceFailedError(f"the reference block cannot be measured: {error}") from error
        self.last_ms = median(samples.times_ms)
        self.readings_ms.append(self.last_ms)
        self._throttled = self._backend.state().throttled
        return self.last_ms

    def wait_until_steady(self) -> bool:
        """Wait while the device is off, reading in between; False when the time for waiting is used up."""
        pause_s = min(_FIRST_PAUSE_S, self._longest_pause_s)
        while not self.steady:
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
