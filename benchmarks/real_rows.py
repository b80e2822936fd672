"""Choosing among networks whose accuracies were really measured: `python -m benchmarks.real_rows --seeds 5`.

No surrogate stands in for the truth here. Each way of predicting learns from 1,000 random rows of the CIFAR-10 archive,
and chooses under each budget the best of all other rows as it sees them; what these rows were measured to have is
compared. Measured accuracies carry noise, the best of many the most, so that no way can lose nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.paper_tables import interval
from benchmarks.report import RESULTS, machine, report
from benchmarks.rival_truths import BUDGETS, TABLE, Trees
from lut.calibration.threads import one_thread
from lut.table import LatencyTable
from pnag.accuracy.archive import SHIPPED, AccuracyArchive
from pnag.accuracy.predictor_fit import fit_predictor
from pnag.search.additive import fit_additive
from pnag.space.cost import CostModel
from pnag.space.search_space import SearchSpace
from pnag.space.tokens import Tokens

Array = NDArray[np.float64]
Learner = Callable[[SearchSpace, Tokens, Array], Callable[[Tokens], Array]]

LEARNT_FROM = 1000

LEARNERS: Mapping[str, Learner] = {
    "PNAG's predictor": fit_predictor,
    "additive scores": fit_additive,
    "extremely randomised trees": Trees,
    "the dearest": lambda space, tokens, accuracy: lambda asked: np.zeros(len(asked)),
}


def main() -> None:
    """Write `results/real_rows.md`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=RESULTS)
    options = parser.parse_args()
    before, table = machine(), LatencyTable.load(TABLE)
    costs = SearchSpace.from_dict(table.metadata.space).cost_model(table)
    archive = AccuracyArchive.load(SHIPPED["cifar10"], costs.space)
    budgets = np.linspace(*costs.range_ms, BUDGETS + 2)[1:-1]
    with one_thread():
        lost = {
            name: np.array([lost_points(costs, archive, learner, budgets, seed) for seed in range(options.seeds)])
            for name, learner in LEARNERS.items()
        }
    notes = [
        f"Points lost against the best measured of the rows that took no part ({len(archive) - LEARNT_FROM:,} of "
        f"{len(archive):,}), mean over {options.seeds} seeds; ± are 95 % intervals. {LEARNT_FROM:,} random rows are "
        f"learnt from. Costs are those of {TABLE.name}. `the dearest`: the row that comes nearest to the budget, "
        "whatever its accuracy."
    ]
    rows = [row_of(name, values, budgets, lost["PNAG's predictor"]) for name, values in lost.items()]
    report("real_rows", f"Choosing among measured networks, {options.seeds} seeds", rows, notes,
           folder=options.folder, measured_on=before)  # fmt: skip


def lost_points(costs: CostModel, archive: AccuracyArchive, learner: Learner, budgets: Array, seed: int) -> Array:
    """What the chosen rows lose against the best, (budgets,), in points."""
    space = costs.space
    assert isinstance(space, SearchSpace)
    order = np.random.default_rng([seed, 83]).permutation(len(archive))
    learnt, others = order[:LEARNT_FROM], order[LEARNT_FROM:]
    predicted = learner(space, archive.tokens[learnt], archive.accuracy[learnt])(archive.tokens[others])
    cost, true = costs(archive.tokens[others]), archive.accuracy[others]
    within = cost[None] <= budgets[:, None]
    ranked = np.lexsort((cost, predicted))  # of equal ones the dearest is last
    rank = np.empty(len(others))
    rank[ranked] = np.arange(len(others))
    chosen = np.where(within, rank, -1).argmax(axis=1)
    return np.asarray(100 * (np.where(within, true, 0).max(axis=1) - true[chosen]))


def row_of(name: str, lost: Array, budgets: Array, ours: Array) -> dict[str, Any]:
    """A line of the table; `lost` and `ours` are (seeds, budgets)."""
    row: dict[str, Any] = {"chosen by": name}
    row |= {f"{b:.3g} ms": f"{v:.2f}" for b, v in zip(budgets.tolist(), lost.mean(axis=0).tolist(), strict=True)}
    mean, half = interval(lost.mean(axis=1).tolist())
    row["mean lost"] = f"{mean:.3f} ± {half:.3f}"
    if lost is not ours:
        mean, half = interval((lost - ours).mean(axis=1).tolist())
        row["PNAG's predictor ahead by"] = f"{mean:+.3f} ± {half:.3f}"
    return row


if __name__ == "__main__":
    main()
