"""Blocks by the place they have in a network: stem, first block, units, head."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lut.blocks import BlockSpec, HeadSpec, MBConvSpec


@dataclass(frozen=True)
class Group:
    """Blocks that stand in for each other at one place; `position` is `first` or `later` within a unit."""

    title: str
    position: str
    blocks: tuple[BlockSpec, ...]


def group_blocks(blocks: Iterable[BlockSpec]) -> tuple[Group, ...]:
    """Blocks grouped by place, in network order: inputs from large to small, channels from few to many.

    A unit is what gives one output shape; its first layer takes another shape in, its later layers the
    same. A block that does not expand is a place of its own.
    """
    places: dict[tuple[int, ...], list[BlockSpec]] = {}
    for block in blocks:
        places.setdefault(_place(block), []).append(block)
    outputs = sorted({block.output_shape for block in _layers(places)}, key=lambda shape: (-shape[1], shape[0]))
    return tuple(_group(tuple(places[place]), outputs) for place in sorted(places))


def cost_grid(
    rows: Sequence[Group], costs_ms: Mapping[str, float]
) -> tuple[list[tuple[int, int]], NDArray[np.float64]]:
    """Columns as (expand, kernel) and costs of shape (rows, columns), NaN where there is no block."""
    layers = [[block for block in group.blocks if isinstance(block, MBConvSpec)] for group in rows]
    columns = sorted({(block.expand, block.kernel) for members in layers for block in members})
    cost = np.full((len(rows), len(columns)), np.nan)
    for row, members in enumerate(layers):
        for block in members:
            cost[row, columns.index((block.expand, block.kernel))] = costs_ms[block.key]
    return columns, cost


def shape_text(group: Group) -> str:
    """The shapes that a group's blocks take in and give, in words."""
    block = group.blocks[0]
    taken, given = block.input_shape, block.output_shape
    if taken == given:
        return f"{given[0]} ch, {given[1]} px"
    return f"{taken[0]}→{given[0]} ch, {taken[1]}→{given[1]} px"


def _layers(places: dict[tuple[int, ...], list[BlockSpec]]) -> list[MBConvSpec]:
    return [b for members in places.values() for b in members if isinstance(b, MBConvSpec) and b.expand != 1]


def _group(members: tuple[BlockSpec, ...], outputs: list[tuple[int, ...]]) -> Group:
    block = members[0]
    if not isinstance(block, MBConvSpec):
        return Group("head" if isinstance(block, HeadSpec) else "stem", "", members)
    if block.expand == 1:
        return Group("first block", "", members)
    unit = 1 + outputs.index(block.output_shape)
    return Group(f"unit {unit}", "later" if _is_later(block) else "first", members)


def _is_later(block: MBConvSpec) -> bool:
    return block.input_shape == block.output_shape


def _place(block: BlockSpec) -> tuple[int, ...]:
    """Sorts as a network runs."""
    if isinstance(block, MBConvSpec):
        channels, side = block.output_shape[:2]
        expands = int(block.expand != 1)
        return (1, expands, -side, channels, int(_is_later(block)), block.in_channels)
    return (2 if isinstance(block, HeadSpec) else 0,)
