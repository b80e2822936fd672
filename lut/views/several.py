"""More than two tables side by side: each against the first, and all medians of differences as a matrix."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lut.compare import TableDifference, compare
from lut.errors import LutError
from lut.formats.canonical import plain
from lut.table import LatencyTable
from lut.views.summary import align, difference_document


@dataclass(frozen=True)
class TablesCompared:
    """Tables by name, in order; `against_first` has a difference for each but the first (A is the first).

    `median_difference[i][j]` is the median over the blocks of tables i and j of |latency in j / latency in i - 1|, a
    fraction; NaN where they have no block in common.
    """

    names: tuple[str, ...]
    against_first: tuple[TableDifference, ...]
    median_difference: tuple[tuple[float, ...], ...]

    def differs(self, least: float) -> bool:
        """Whether a block of any table surely differs from the first's, by more than the fraction `least`."""
        return any(difference.significant(least) for difference in self.against_first)


def compare_several(tables: Sequence[tuple[str, LatencyTable]]) -> TablesCompared:
    """Compare tables by name. Raises `LutError` if one has no block in common with the first."""
    (first, reference), *others = tables
    against = []
    for name, table in others:
        try:
            against.append(compare(reference, table))
        except LutError as error:
            raise LutError(f"{first} and {name}: {error}") from error
    latencies = [_latencies(table) for _, table in tables]
    matrix = tuple(tuple(_median_difference(a, b) for b in latencies) for a in latencies)
    return TablesCompared(tuple(name for name, _ in tables), tuple(against), matrix)


def _latencies(table: LatencyTable) -> dict[str, float]:
    return {key: entry.latency_ms for key, entry in table.measured.items() if entry.latency_ms > 0}


def _median_difference(a: Mapping[str, float], b: Mapping[str, float]) -> float:
    apart = [abs(b[key] / value - 1) for key, value in a.items() if key in b]
    return float(np.median(apart)) if apart else math.nan


def describe_several(compared: TablesCompared) -> str:
    """A line for each table against the first, and the matrix."""
    first, *others = compared.names
    rows = [
        (f"against {first}", "blocks", "median ratio", "median difference", "rank correlation", "surely differ", "")
    ]
    for name, difference in zip(others, compared.against_first, strict=True):
        rows.append(
            (
                name,
                str(len(difference.blocks)),
                f"{difference.median_ratio:.4f}",
                f"{100 * difference.median_absolute_difference:.2f} %",
                f"{difference.rank_correlation:.4f}",
                str(len(difference.significant())),
                "another device" if difference.unlike else "",
            )
        )
    numbers = [str(index + 1) for index in range(len(compared.names))]
    grid = [("median difference, %", "", *numbers)]
    for number, name, line in zip(numbers, compared.names, compared.median_difference, strict=True):
        grid.append((name, number, *("-" if math.isnan(value) else f"{100 * value:.2f}" for value in line)))
    columns = range(1, len(grid[0]))
    return "\n".join([*align(rows, right=range(1, 6)), "", *align(grid, right=columns)])


def several_document(compared: TablesCompared) -> dict[str, Any]:
    """The comparison as JSON values."""
    pairs = zip(compared.names[1:], compared.against_first, strict=True)
    return {
        "tables": list(compared.names),
        "against_first": [{"table": name} | difference_document(difference) for name, difference in pairs],
        "median_difference": plain(compared.median_difference),
    }
