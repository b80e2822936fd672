"""What is measured: every block alone, some networks whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from lut.blocks import BlockSpec
from lut.entry import Role


@dataclass(frozen=True)
class Unit:
    """One thing to measure: a block, or a network given by its name and its blocks in order."""

    role: Role
    name: str
    specs: tuple[BlockSpec, ...]

    @property
    def blocks(self) -> tuple[str, ...]:
        """A network's block keys in order; () for a block."""
        return () if self.role == "block" else tuple(spec.key for spec in self.specs)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return sum(spec.macs for spec in self.specs)


def block_units(specs: Iterable[BlockSpec]) -> tuple[Unit, ...]:
    """A unit for each block."""
    return tuple(Unit("block", spec.key, (spec,)) for spec in specs)


def reference_unit(blocks: Sequence[Unit]) -> Unit:
    """The block to watch the device by: the one with the median number of MACs."""
    return sorted(blocks, key=lambda unit: (unit.macs, unit.name))[len(blocks) // 2]


def spread(sizes: Sequence[float], n: int) -> list[int]:
    """Indices of `n` of `sizes` that lie evenly between the smallest and the largest, both among them.

    At each of `n` evenly spaced sizes the nearest that is not yet taken. All indices if there are fewer.
    """
    values = np.asarray(sizes, dtype=float)
    if n >= len(values):
        return list(range(len(values)))
    if n <= 0:
        return []
    free = np.ones(len(values), dtype=bool)
    chosen: list[int] = []
    targets = np.linspace(values.min(), values.max(), n) if n > 1 else np.array([np.median(values)])
    # The ends first: they must not be taken as the neighbours of another size.
    for target in sorted(targets, key=lambda t: -abs(t - (values.min() + values.max()) / 2)):
        distance = np.where(free, np.abs(values - target), np.inf)
        index = int(distance.argmin())
        free[index] = False
        chosen.append(index)
    return sorted(chosen, key=lambda index: values[index])
