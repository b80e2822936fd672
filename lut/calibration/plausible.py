"""Blocks whose times cannot be of the device that the other times are of: a patched file, two devices in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from lut.blocks import BlockSpec, MBConvSpec

# Seen on tables of one device: from the table's median, by work, 0.7 to 14 times (a runtime's slow kernel size);
# from blocks of the same place and kernel size, 0.7 to 1.6 times.
_FAST, _SLOW, _AMONG_PEERS = 1 / 4, 40.0, 4.0
_FEWEST = 3


@dataclass(frozen=True)
class Odd:
    """A block, its time and what would be expected of it by its work, in ms; `others` says by which blocks."""

    block: str
    found_ms: float
    expected_ms: float
    others: str


def odd_blocks(blocks: Sequence[BlockSpec], times_ms: Mapping[str, float]) -> tuple[Odd, ...]:
    """Blocks far off their peers, or off all blocks, both by time and by time for their multiply-accumulates.

    Both, because times follow the work on some devices, and on others are nearly the same for all blocks.
    """
    timed = [block for block in blocks if times_ms.get(block.key, 0.0) > 0.0]
    found = []
    for block in timed:
        peers = [other for other in timed if other is not block and _place(other) == _place(block)]
        others = [other for other in timed if other is not block]
        for group, low, high, words in (
            (peers, 1 / _AMONG_PEERS, _AMONG_PEERS, "blocks of its place and kernel"),
            (others, _FAST, _SLOW, "the other blocks"),
        ):
            if len(group) < (2 if group is peers else _FEWEST):
                continue
            by_work = median(times_ms[other.key] / other.macs for other in group) * block.macs
            plain = median(times_ms[other.key] for other in group)
            ratios = [times_ms[block.key] / by_work, times_ms[block.key] / plain]
            if group is peers:  # of few peers one may be the odd one itself, so it must be off each of them
                ratios += [times_ms[block.key] / times_ms[other.key] for other in group]
            if max(ratios) < low or min(ratios) > high:
                found.append(Odd(block.key, times_ms[block.key], by_work, words))
                break
    return tuple(found)


def _place(block: BlockSpec) -> tuple[object, ...]:
    """Equal for blocks that differ in their expansion alone; a block of another kind is a place of its own."""
    if isinstance(block, MBConvSpec) and block.expand != 1:
        return (block.input_shape, block.output_shape, block.kernel)
    return (block.key,)


def describe_odd(odd: Odd) -> str:
    """Why a block is doubtful."""
    factor = odd.found_ms / odd.expected_ms
    times = f"{factor:.3g} times" if factor >= 1 else f"1/{1 / factor:.3g} of"
    return f"{odd.found_ms:.4g} ms, {times} what {odd.others} take for such work"
