"""How many architectures a second c(a) is computed for, on one core: `python -m benchmarks.cost_model`.

Beside the arrays of `CostModel` stand the plain ways: a loop over a dictionary with the keys of every block
at hand, and the same with the blocks' keys put together for each architecture, as table look-ups usually do.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.report import report
from lut import Entry, LatencyTable, TableMetadata
from pnag.space.search_space import SearchSpace
from pnag.space.spaces import load_space

REPEATS = 7
MS_PER_MAC = 1e-7


def table_by_macs(space: SearchSpace) -> LatencyTable:
    """A table whose costs are in proportion to multiply-accumulates: what it holds does not change the speed."""
    entries = []
    for block in space.blocks():
        ms = MS_PER_MAC * block.macs
        entries.append(Entry("block", block.key, latency_ms=ms, cost_ms=ms))
    metadata = TableMetadata(space.to_dict(), space.resolution, space.classes, 1, {}, {}, {}, "", "")
    return LatencyTable(tuple(entries), metadata)


def seconds(work: Callable[[], Any]) -> float:
    """Median processor time of one call, after one that does not count.

    Processor time, not time on the wall: the work is one thread's, and other programs' share is not its own.
    """
    work()
    times = []
    for _ in range(REPEATS):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return statistics.median(times)


def row(method: str, n: int, work: Callable[[], Any]) -> dict[str, Any]:
    """One line of the result: `work` costs `n` architectures."""
    elapsed_s = seconds(work)
    return {
        "method": method,
        "architectures": n,
        "processor_time_ms": 1000 * elapsed_s,
        "architectures_per_s": n / elapsed_s,
    }


def main() -> None:
    """Measure, check that all ways agree, write `results/cost_model.md`."""
    space = load_space()
    table = table_by_macs(space)
    model = space.cost_model(table)
    tokens = space.sample(1_000_000, np.random.default_rng(0))
    few = space.decode(tokens[:10_000])
    keys = [[block.key for block in space.decompose(architecture)] for architecture in few]
    costs = dict(table.costs_ms)
    by_loop = np.array([sum(costs[key] for key in network) for network in keys])
    difference = float(np.abs(model(tokens[:10_000]) / by_loop - 1).max())

    with threadpool_limits(1):
        rows = [
            row("CostModel, encoded architectures", len(tokens), lambda: model(tokens)),
            row("CostModel, 1,000 at a time", 1000, lambda: model(tokens[:1000])),
            row("dictionary, keys at hand", len(keys), lambda: [sum(costs[k] for k in network) for network in keys]),
            row("dictionary, keys put together", 1000, lambda: [table.cost_ms(space.decompose(a)) for a in few[:1000]]),
        ]
        encode_s = seconds(lambda: space.encode(few))
    report(
        "cost_model",
        "Speed of c(a)",
        rows,
        [
            f"Median of {REPEATS} repetitions, processor time of one thread (BLAS too has one). "
            "The largest relative difference "
            f"between CostModel and the dictionary over {len(few):,} architectures was {difference:.1e}. "
            f"Encoding, where architectures come as objects, runs at {len(few) / encode_s:,.0f} a second; what the "
            "generator samples is encoded already.",
        ],
        packages=("numpy", "pandas", "pyarrow"),
        extra={"space": f"{space.name} at {space.resolution}, {len(space.blocks())} blocks"},
    )


if __name__ == "__main__":
    main()
