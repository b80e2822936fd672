"""Tables for tests: made up, the same in every run, with costs as plausible as multiply-accumulates give them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lut import BlockSpec, Entry, LatencyTable, TableMetadata
from pnag.space.search_space import SearchSpace
from pnag.space.spaces import load_space

# small enough to go through all of it: 4,624 architectures
TINY = SearchSpace(
    "tiny", 0.5, resolution=32, classes=3, depths=(1, 3), kernels=(3, 5), expands=(2, 6), unit_channels=(16, 24),
    unit_strides=(2, 1), unit_activations=("relu", "hswish"), unit_squeeze_excite=(False, True),
)  # fmt: skip
MS_PER_MAC = 1e-7
MS_PER_BLOCK = 0.05


def made_up_ms(block: BlockSpec) -> float:
    """A latency for a block: so much for each multiply-accumulate, and something for being called."""
    return MS_PER_BLOCK + MS_PER_MAC * block.macs


def made_up_metadata(space: SearchSpace) -> TableMetadata:
    """Metadata of a device that does not exist."""
    return TableMetadata(
        space=space.to_dict(),
        resolution=space.resolution,
        classes=space.classes,
        batch=1,
        device={"name": "made-up", "model": "Abacus 3", "cores": [0, 1], "frequency_mhz": 1200.5},
        runtime={"name": "beads", "version": "1.0", "threads": 1, "options": {"polished": True}},
        sampling={"rounds": 3, "min_time_s": 0.04},
        created="2026-01-01T00:00:00+00:00",
        tool_version="0.1.0",
    )


def made_up_table(
    space: SearchSpace | None = None, *, calibration: int = 12, holdout: int = 8, noise: float = 0.004, seed: int = 0
) -> LatencyTable:
    """A calibrated table of every block of `space`, and of networks that take 1.1 times their sum plus 2 ms."""
    space = space or load_space()
    rng = np.random.default_rng(seed)
    entries = []
    for block in space.blocks():
        ms = made_up_ms(block)
        spread = {"ci_low_ms": 0.99 * ms, "ci_high_ms": 1.01 * ms, "std_ms": 0.02 * ms, "min_ms": 0.98 * ms}
        samples = (0.99 * ms, ms, 1.01 * ms)
        counts = {"runs": 30, "rounds": 3}
        entries.append(Entry("block", block.key, ms, **spread, p95_ms=1.05 * ms, samples_ms=samples, **counts))
    for i, architecture in enumerate(space.decode(space.sample(calibration + holdout, rng))):
        blocks = space.decompose(architecture)
        ms = (1.1 * sum(map(made_up_ms, blocks)) + 2.0) * (1 + noise * rng.standard_normal())
        role = "calibration" if i < calibration else "holdout"
        keys = tuple(block.key for block in blocks)
        entries.append(Entry(role, str(architecture), latency_ms=ms, blocks=keys, runs=10, rounds=3))
    return LatencyTable(tuple(entries), made_up_metadata(space)).calibrated()


def with_entry(table: LatencyTable, key: str, **changes: object) -> LatencyTable:
    """The table with some fields of one row changed."""
    entries = tuple(replace(e, **changes) if e.block == key else e for e in table.entries)
    return LatencyTable(entries, table.metadata)
