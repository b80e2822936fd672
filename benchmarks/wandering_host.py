"""A host whose speed wanders: which latencies predict networks best? `python -m benchmarks.wandering_host TABLE ...`.

Each table, with its visits beside it, is made anew in several ways, and judged by its own unseen networks, whose
latencies are taken in the same way. Nothing is measured: it takes some seconds a table.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import report
from lut.table import LatencyTable
from profiler.measure.measurement import Visit
from profiler.refit import load_visits, refitted, visits_path


def rows_of(path: Path) -> list[dict[str, Any]]:
    """A line for each way."""
    table = LatencyTable.load(path)
    visits = load_visits(visits_path(path), table.metadata.created)
    made = {
        "quiet, wandering taken out": refitted(table, visits, "quiet"),
        "quiet, at moments as usual": refitted(table, visits, "quiet", take_out_wandering=False),
        "median": refitted(table, visits, "median"),
        "p90": refitted(table, visits, "p90"),
    }
    return [row(path.stem, way, anew) for way, anew in made.items()]


def row(name: str, way: str, table: LatencyTable) -> dict[str, Any]:
    """How well the table predicts its unseen networks."""
    fidelity = table.metadata.fidelity
    assert fidelity is not None
    return {
        "table": name,
        "statistic": way,
        "unseen networks": fidelity.n,
        "MAPE (%)": 100 * fidelity.mape,
        "worst (%)": 100 * fidelity.worst,
        "rank correlation": fidelity.rank_correlation,
    }


def note(path: Path) -> str:
    """How the host was, by its reference."""
    table = LatencyTable.load(path)
    readings = _readings(load_visits(visits_path(path), table.metadata.created))
    low, middle, high = np.percentile(readings / readings.min(), [10, 50, 90])
    return (
        f"{path.stem}: {table.metadata.device.get('model')}, made {table.metadata.created}. The reference took "
        f"{low:.2f}, {middle:.2f} and {high:.2f} times its least (10th, 50th and 90th percentile of {len(readings)})."
    )


def _readings(visits: Sequence[Visit]) -> Any:
    return np.array([visit.median_ms for visit in visits if visit.round < 0 and visit.times_ms])


def main() -> int:
    """Compare, report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.wandering_host")
    parser.add_argument("tables", type=Path, nargs="+")
    given = parser.parse_args()
    rows = [row for path in given.tables for row in rows_of(path)]
    report("wandering_host", "Latencies from a host whose speed wanders", rows, [note(path) for path in given.tables])
    return 0


if __name__ == "__main__":
    sys.exit(main())
