"""At what speed the device was when the zoo was measured, against the time of a table."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lut.table import LatencyTable
from profiler.verification.pairs import speed_of
from profiler.zoo.file import Zoo

_FEWEST = 3  # networks of the table's blocks that tell the device's speed


@dataclass(frozen=True)
class Speed:
    """By how much the device took longer for the zoo than for the table, relative, told by so many networks of it.

    `networks` is 0 where too few of them are made of the table's blocks; then both are taken to be as quick.
    """

    slowdown: float
    networks: int


def device_speed(zoo: Zoo, table: LatencyTable) -> Speed:
    """The device's speed for the zoo against the table's, by the zoo's networks that are made of the table's blocks."""
    costs = table.costs_ms
    logs = [
        math.log(row.latency_ms / table.cost_ms(row.network.blocks))
        for row in zoo.rows
        if row.latency_ms is not None and row.network.blocks and all(spec.key in costs for spec in row.network.blocks)
    ]
    if len(logs) < _FEWEST:
        return Speed(0.0, 0)
    return Speed(math.expm1(speed_of(logs)[0]), len(logs))
