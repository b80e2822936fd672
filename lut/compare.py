"""Is a table whole, and how do two tables differ?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from lut.blocks import BlockSpec
from lut.calibration.plausible import describe_odd, odd_blocks
from lut.calibration.ranks import rank_correlation
from lut.entry import Entry
from lut.errors import LutError
from lut.formats.canonical import plain
from lut.identity import Unlike, unlike
from lut.table import LatencyTable

DOUBTFUL_FLAGS = (
    "noisy", "throttled", "drifted", "disturbed", "gpu_shared", "output_not_finite", "below_resolution",
    "partly_delegated", "batch_norm_not_folded",
)  # fmt: skip
# Where all is measured well, sums of blocks predict networks within 1 to 3 %; margins of budgets grow with the error.
POOR_MAPE = 0.05


@dataclass(frozen=True)
class Problem:
    """What is wrong with one block: `missing`, `failed`, `unlike_others`, or one of `DOUBTFUL_FLAGS`.

    `poor_fidelity` is of the whole table: it has no block.
    """

    block: str
    problem: str
    detail: str


def find_problems(table: LatencyTable, blocks: Iterable[BlockSpec]) -> tuple[Problem, ...]:
    """What keeps the table from being a good one of those blocks, in their order; empty if nothing does."""
    found, blocks = [], tuple(blocks)
    for block in blocks:
        entry = table.blocks.get(block.key)
        if entry is None:
            found.append(Problem(block.key, "missing", "not in the table"))
        elif entry.failed:
            found.append(Problem(block.key, "failed", entry.reason or "no reason given"))
        else:
            width = entry.relative_ci
            detail = f"{entry.latency_ms:.4g} ms" + (f" ± {100 * width:.1f} %" if math.isfinite(width) else "")
            found += [Problem(block.key, flag, detail) for flag in DOUBTFUL_FLAGS if flag in entry.flags]
    times = {key: entry.latency_ms for key, entry in table.measured.items()}
    found += [Problem(odd.block, "unlike_others", describe_odd(odd)) for odd in odd_blocks(blocks, times)]
    fidelity = table.metadata.fidelity
    if fidelity is not None and not fidelity.mape <= POOR_MAPE:
        detail = f"predictions of {fidelity.n} unseen networks err by {100 * fidelity.mape:.1f} % on average"
        found.append(Problem("", "poor_fidelity", detail))
    return tuple(found)


@dataclass(frozen=True)
class BlockDifference:
    """One block in two tables; `ratio` is the second latency over the first.

    `low` to `high` is its confidence interval (95 %) from those of both latencies; NaN where one is not known.
    `significant`: it does not hold 1 even when it is widened so that, of all blocks together, none is called
    different by chance in 95 % of comparisons (Bonferroni).
    """

    block: str
    a_ms: float
    b_ms: float
    low: float = math.nan
    high: float = math.nan
    significant: bool = False

    @property
    def ratio(self) -> float:
        """How many times as long it takes in the second table."""
        return self.b_ms / self.a_ms


@dataclass(frozen=True)
class TableDifference:
    """Two tables side by side. Blocks that only one of them has (measured well) are listed apart.

    `metadata` maps what differs, for instance `device.model`, to both values. `unlike` is in what B's device is not
    A's (`here` is B's): then the latencies differ by more than how they were measured.
    """

    blocks: tuple[BlockDifference, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    metadata: Mapping[str, tuple[Any, Any]]
    unlike: tuple[Unlike, ...] = ()

    @property
    def median_ratio(self) -> float:
        """Median over blocks of second latency over first."""
        return float(np.median([block.ratio for block in self.blocks]))

    @property
    def median_absolute_difference(self) -> float:
        """Median over blocks of |second / first − 1|, a fraction."""
        return float(np.median([abs(block.ratio - 1) for block in self.blocks]))

    @property
    def rank_correlation(self) -> float:
        """Spearman's correlation of the latencies; NaN for fewer than two blocks."""
        return rank_correlation([block.a_ms for block in self.blocks], [block.b_ms for block in self.blocks])

    def significant(self, least: float = 0.0) -> tuple[BlockDifference, ...]:
        """Blocks that surely differ, by more than the fraction `least`."""
        return tuple(block for block in self.blocks if block.significant and abs(block.ratio - 1) > least)

    def worst(self, n: int) -> tuple[BlockDifference, ...]:
        """The `n` blocks whose ratio lies furthest from 1, either way."""
        return tuple(sorted(self.blocks, key=lambda block: -abs(math.log(block.ratio)))[:n])


def compare(a: LatencyTable, b: LatencyTable) -> TableDifference:
    """Compare the isolated latencies of two tables. Raises `LutError` if they have no block in common."""
    in_a, in_b = a.measured, b.measured
    shared = [key for key in in_a if key in in_b]
    both = [_difference(in_a[key], in_b[key], len(shared)) for key in shared]
    if not both:
        raise LutError("the two tables have no block in common; compare tables of one space and resolution")
    return TableDifference(
        blocks=tuple(both),
        only_a=tuple(key for key in in_a if key not in in_b),
        only_b=tuple(key for key in in_b if key not in in_a),
        metadata=_metadata_differences(a, b),
        unlike=unlike(b.metadata.device, a.metadata.device),
    )


def _difference(a: Entry, b: Entry, compared: int) -> BlockDifference:
    """One of so many blocks that are compared."""
    if not (a.latency_ms > 0 and b.latency_ms > 0):
        return BlockDifference(a.block, a.latency_ms, b.latency_ms)
    ratio, reach = b.latency_ms / a.latency_ms, math.hypot(a.relative_ci, b.relative_ci)
    normal = NormalDist()
    widened = reach * normal.inv_cdf(1 - 0.025 / compared) / normal.inv_cdf(0.975)
    significant = abs(math.log(ratio)) > widened
    low, high = ratio * math.exp(-reach), ratio * math.exp(reach)
    return BlockDifference(a.block, a.latency_ms, b.latency_ms, low, high, significant)


def _metadata_differences(a: LatencyTable, b: LatencyTable) -> dict[str, tuple[Any, Any]]:
    left, right = (flatten(plain(asdict(table.metadata))) for table in (a, b))
    skipped = ("calibration", "fidelity", "notes")
    names = [name for name in dict.fromkeys((*left, *right)) if name.partition(".")[0] not in skipped]
    return {name: (left.get(name), right.get(name)) for name in names if left.get(name) != right.get(name)}


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted names."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
