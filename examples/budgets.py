"""From a latency table to networks for three budgets, in Python: run it at the root of the repository.

python examples/budgets.py lut/tables/cpu_epyc.parquet
"""

from __future__ import annotations

import sys

import numpy as np

from lut import LatencyTable
from pnag import SearchSpace
from pnag.generator.learning import train_generator


def main(path: str) -> None:
    """Learn from made-up accuracies, where larger networks are better, and print what three budgets buy."""
    table = LatencyTable.load(path)
    space = SearchSpace.from_dict(table.metadata.space)
    costs = space.cost_model(table)  # c(a) in ms, for many architectures at once
    architectures = space.sample(300, np.random.default_rng(0))
    accuracy = 0.70 + 0.02 * np.log(space.macs_model()(architectures) / 1e8)  # in place of measured ones

    generator = train_generator(space, costs, architectures, accuracy, method="random")
    low, high = costs.range_ms
    for budget_ms in np.linspace(low, high, 5)[1:-1]:
        found = generator.generate(float(budget_ms))
        print(f"{budget_ms:6.2f} ms: {found.cost_ms:6.2f} ms predicted, {found.architecture}")


if __name__ == "__main__":
    main(sys.argv[1])
