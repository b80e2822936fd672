"""A host whose speed wanders: which latencies predict networks best? `python -m benchmarks.wandering_host TABLE ...`.

Each table, with its visits beside it, is made anew in several ways, and judged by its own unseen networks, whose
latencies are taken in the same way. Tables of one device and one set of blocks are also compared with one another: by
how much do they differ as a whole? Nothing is measured: it takes some seconds a table.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import report
from lut.table import LatencyTable
from profiler.measure.measurement import Visit
from profiler.refit import load_visits, refitted, visits_path


def made_anew(path: Path) -> dict[str, LatencyTable]:
    """The table, by the way in which it was made."""
    table = LatencyTable.load(path)
    visits = load_visits(visits_path(path), table.metadata.created)
    return {
        "quiet, wandering taken out": refitted(table, visits, "quiet"),
        "quiet, at moments as usual": refitted(table, visits, "quiet", take_out_wandering=False),
        "median": refitted(table, visits, "median"),
        "p90": refitted(table, visits, "p90"),
    }


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


def spread(tables: Sequence[LatencyTable]) -> float:
    """Standard deviation of the tables' levels: mean logarithms of the blocks that all of them have."""
    common = set.intersection(*({key for key, row in table.blocks.items() if not row.failed} for table in tables))
    return float(np.std([np.mean([np.log(table.blocks[key].latency_ms) for key in common]) for table in tables]))


def alike(tables: Mapping[Path, Mapping[str, LatencyTable]]) -> list[str]:
    """Of each device with several tables of the same blocks, how much these differ as a whole; one sentence a way."""
    groups: dict[tuple[Any, ...], list[Mapping[str, LatencyTable]]] = {}
    for made in tables.values():
        first = next(iter(made.values()))
        key = (first.metadata.device_name, first.metadata.runtime_name, frozenset(first.blocks))
        groups.setdefault(key, []).append(made)
    return [
        f"{len(group)} tables of {device} through {runtime}, as a whole, differ by (standard deviation): "
        + "; ".join(f"{way} {100 * spread([made[way] for made in group]):.1f} %" for way in group[0])
        + "."
        for (device, runtime, _), group in groups.items()
        if len(group) > 1
    ]


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
    tables = {path: made_anew(path) for path in given.tables}
    rows = [row(path.stem, way, table) for path, made in tables.items() for way, table in made.items()]
    notes = [*alike(tables), *map(note, given.tables)]
    report("wandering_host", "Latencies from a host whose speed wanders", rows, notes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
