"""Plots of `benchmarks.paper_tables`: frontiers of the methods, and latencies of what generators draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.paper_runs import Outcome, Setting

_SHOWN = ("pnag", "nas-mo", "evo", "random")
_HISTOGRAM_BUDGETS = (1, 2)  # the second and third of five, as in the source
_UNIFORM = 10_000


def _new_figure(columns: int) -> tuple[Any, Any]:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    return plt.subplots(1, columns, figsize=(5.2 * columns, 4.2), layout="constrained")


def plot_frontiers(
    path: Path, setting: Setting, outcomes: Sequence[Outcome], reference: tuple[Any, Any], labels: Mapping[str, str]
) -> None:
    """Accuracy over latency: the archive, NSGA-II's front, and the first seed of some methods."""
    figure, axes = _new_figure(1)
    archive = setting.measured
    axes.scatter(setting.costs(archive.tokens), 100 * setting.truth(archive.tokens), s=3, c="0.8", label="archive")
    order = np.argsort(reference[0])
    axes.plot(reference[0][order], 100 * np.asarray(reference[1])[order], c="k", lw=1, label="NSGA-II")
    for method in _SHOWN:
        first = next(o for o in outcomes if o.cell.method == method and o.cell.k == 10)
        axes.plot(first.frontier_ms, 100 * np.array(first.frontier_accuracy), ".", ms=4, label=labels[method])
    axes.set(xlabel="predicted latency (ms)", ylabel="accuracy (%)", title=setting.table.stem)
    axes.legend()
    figure.savefig(path, dpi=120, format="png")


def plot_histograms(path: Path, setting: Setting, outcomes: Sequence[Outcome], labels: Mapping[str, str]) -> None:
    """Latencies of uniform samples, and of bare samples of two generators at two budgets."""
    figure, axes = _new_figure(3)
    uniform = setting.costs(setting.space.sample(_UNIFORM, np.random.default_rng(0)))
    bins = np.linspace(*setting.costs.range_ms, 60)
    axes[0].hist(uniform, bins, density=True, color="0.6")
    axes[0].set(title=f"{_UNIFORM:,} uniform samples", xlabel="predicted latency (ms)", ylabel="density")
    for axis, index in zip(axes[1:], _HISTOGRAM_BUDGETS, strict=True):
        for method in ("nas-mo", "pnag"):
            first = next(o for o in outcomes if o.cell.method == method and o.cell.k == 10)
            axis.hist(first.drawn_ms[index], bins, density=True, alpha=0.6, label=labels[method])
        budget = float(setting.budgets_ms[index])
        axis.axvline(budget, c="k", lw=1)
        axis.set(title=f"1,000 samples for {budget:.1f} ms", xlabel="predicted latency (ms)")
        axis.legend()
    figure.savefig(path, dpi=120, format="png")
