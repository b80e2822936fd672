"""How a session shares out a time limit: each block and enough networks first, then precision.

Where the time does not suffice for all, networks for calibration are given up first, then those that judge; blocks
never.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import pairwise

from lut.entry import Role
from profiler.measure.plan import Unit

# So many networks are not given up, as far as there are so many.
ENOUGH: dict[Role, int] = {"calibration": 12, "holdout": 10}
# The first visit to every unit may take this share of the time: it loads programs, later rounds are quicker.
_FIRST_ROUND = 0.4


def networks_by_need(units: Iterable[Unit]) -> list[Unit]:
    """Networks in the order in which they are worth having: enough to calibrate with, all that judge, the others.

    Within each, every further network lies far from those before, so that any beginning is spread over the sizes.
    """
    by_role: dict[Role, list[Unit]] = {role: [] for role in ENOUGH}
    for unit in units:
        if unit.role in by_role:
            by_role[unit.role].append(unit)
    calibration, holdout = (_spread_out(by_role[role]) for role in ("calibration", "holdout"))
    enough = ENOUGH["calibration"]
    return [*calibration[:enough], *holdout, *calibration[enough:]]


def _spread_out(units: Sequence[Unit]) -> list[Unit]:
    """Smallest, largest, middle, and so on: each the middle of the widest gap that is left, by position in size."""
    ordered = sorted(units, key=lambda unit: (unit.macs, unit.name))
    chosen = sorted({0, len(ordered) - 1}) if ordered else []
    order = list(chosen)
    while len(order) < len(ordered):
        gap, low = max((after - before, -before) for before, after in pairwise(chosen))
        middle = -low + gap // 2
        order.append(middle)
        chosen = sorted([*chosen, middle])
    return [ordered[index] for index in order]


class TimeShare:
    """Decides, while a session goes on, which networks it can no longer afford. `left_out` are their names."""

    def __init__(self, units: Sequence[Unit], *, started_s: float, deadline_s: float) -> None:
        self._started_s, self._deadline_s = started_s, deadline_s
        self._by_need = networks_by_need(units)
        self._sure = {unit.name for role in ENOUGH for unit in self._first(role)}
        self.left_out: set[str] = set()

    def _first(self, role: Role) -> list[Unit]:
        return [unit for unit in self._by_need if unit.role == role][: ENOUGH[role]]

    def in_order(self, queue: deque[Unit], number: int) -> deque[Unit]:
        """The first round where time is limited: blocks, then networks by need. Otherwise as it is."""
        if number > 0 or math.isinf(self._deadline_s):
            return queue
        place = {unit.name: index for index, unit in enumerate(self._by_need, 1)}
        return deque(sorted(queue, key=lambda unit: place.get(unit.name, 0)))

    def spent(self, now_s: float, queue: deque[Unit], number: int) -> None:
        """A segment is done: give up the networks that the first round has no time for, and take them off `queue`."""
        if number > 0 or math.isinf(self._deadline_s):
            return
        if now_s - self._started_s < _FIRST_ROUND * (self._deadline_s - self._started_s):
            return
        self.left_out |= {unit.name for unit in queue if unit.role != "block" and unit.name not in self._sure}
        kept = [unit for unit in queue if unit.name not in self.left_out]
        queue.clear()
        queue.extend(kept)
