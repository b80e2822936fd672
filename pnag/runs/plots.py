"""Pictures of what was learnt: generated networks on the plane of latency and accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lut.files import replacing

Array = NDArray[np.float64]

# Okabe and Ito's palette: told apart by every kind of colour vision.
_GREY, _BLUE, _ORANGE, _GREEN = "#9a9a9a", "#0072b2", "#d55e00", "#009e73"


@dataclass(frozen=True)
class PlottedNetwork:
    """A network to mark: its budget, predicted and, where known, measured latency in ms; accuracy in 0 to 1."""

    budget_ms: float
    cost_ms: float
    accuracy: float
    measured_ms: float | None = None


def plot_networks(
    path: str | Path,
    *,
    archive_ms: Array,
    archive_accuracy: Array,
    frontier: Sequence[PlottedNetwork] = (),
    networks: Sequence[PlottedNetwork] = (),
    title: str = "",
) -> None:
    """Draw the evaluated architectures, the generator's frontier and chosen networks; the suffix decides the format.

    `archive_ms` and `archive_accuracy` have shape (n,). A chosen network is drawn at its measured latency
    where there is one, with a line to its budget: the gap is what the budget left unused.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    axes.scatter(
        archive_ms, 100 * archive_accuracy, s=10, c=_GREY, alpha=0.5, linewidths=0, label="evaluated architectures"
    )
    if frontier:
        line = [(f.cost_ms, 100 * f.accuracy) for f in frontier]
        axes.plot(*zip(*line, strict=True), c=_BLUE, lw=2, label="generated for each budget (predicted accuracy)")
    for index, network in enumerate(networks):
        at = network.measured_ms if network.measured_ms is not None else network.cost_ms
        y = 100 * network.accuracy
        label = "asked budget" if index == 0 else None
        axes.plot([at, network.budget_ms], [y, y], c=_GREEN, lw=1)
        axes.plot(network.budget_ms, y, "|", c=_GREEN, ms=14, mew=2, label=label)
        kind = "measured" if network.measured_ms is not None else "predicted"
        axes.plot(at, y, "o", c=_ORANGE, ms=7, label=f"returned, at its {kind} latency" if index == 0 else None)
    axes.set_xlabel("latency (ms)")
    axes.set_ylabel("accuracy (%)")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)
    plt.close(figure)
