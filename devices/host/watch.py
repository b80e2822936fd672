"""This machine from one look to the next: its state, and whether its processor held itself back meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from devices.backend import DeviceState
from devices.host.computer import allowed_cores, host_state

_CPU = Path("/sys/devices/system/cpu")
# An event is counted once, when it begins. Several parts of a session look one after the other: each must see it.
_HOLDS_S = 2.0


class HostWatch:
    """Looks at the cores that measure (all that may be used, unless named).

    Where the system counts the processor's thermal events (`thermal_throttle`, on Intel's), it is throttled for two
    seconds after a count rose. Other processors say nothing of it: then the clock and the reference block tell.
    """

    def __init__(
        self, cores: Sequence[int] = (), *, cpu: Path = _CPU, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._cores, self._clock = cores, clock
        folders = [cpu / f"cpu{core}" / "thermal_throttle" for core in (cores or allowed_cores())]
        self._files = [folder / f"{of}_throttle_count" for folder in folders for of in ("core", "package")]
        self._events = self._count()
        self._throttled_until_s = -1.0

    def state(self) -> DeviceState:
        """Temperature, clock, load, and whether the processor throttles; what cannot be read is None."""
        state, events, now_s = host_state(self._cores), self._count(), self._clock()
        if events is None:
            return state
        if self._events is not None and events > self._events:
            self._throttled_until_s = now_s + _HOLDS_S
        self._events = events
        details = {**state.details, "throttle_events": events}
        return replace(state, throttled=now_s < self._throttled_until_s, details=details)

    def _count(self) -> int | None:
        """Thermal events since the system's start; None where none are counted."""
        counts = []
        for file in self._files:
            try:
                counts.append(int(file.read_text(encoding="ascii")))
            except (OSError, ValueError):
                continue
        return sum(counts) if counts else None
