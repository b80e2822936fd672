"""PNAG against other searches, as tables and plots beside the source's own: `python -m benchmarks.paper_tables`.

    python -m benchmarks.paper_tables --lut lut/tables/cpu_epyc.parquet --accuracy ARCHIVE [--supernet S --data D]

The source's table 2 (rewards and searches), 3 (joint or independent), 4 (time), 5 (K), figure 4 (frontiers)
and figure 5 (latencies of samples), on measured latency tables, with accuracies of a surrogate learnt from a
measured archive (`benchmarks.paper_runs` says how). With a supernet at hand, the networks of the main
comparison are evaluated on it as well. May be stopped and started again.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.nsga2 import nsga2
from benchmarks.paper_plots import plot_frontiers, plot_histograms
from benchmarks.paper_runs import IN_ROUNDS, SAME, Cell, Outcome, Setting, run_all
from benchmarks.report import RESULTS, machine, markdown_table, report
from lut.calibration.student_t import student_t_quantile
from lut.files import replacing
from pnag.data.load import load_data
from pnag.space.architecture import Architecture
from pnag.space.spaces import load_space
from pnag.supernet.collect import collect_archive
from pnag.supernet.evaluation import EvaluationImages
from pnag.supernet.supernet import Supernet
from profiler.console import Progress, say

METHODS = {
    "pnag": "PNAG",
    IN_ROUNDS: "PNAG, the same number in rounds",
    "pnag-paper": "PNAG in the source's form",
    "random": "random search",
    "evo": "EVO, a search for each budget",
    "nas-mo": "NAS-MO, MnasNet's reward",
    "tunas": "TuNAS' absolute reward",
    "dominance-no-accuracy": "dominance without accuracy",
    "independent": "PNAG anew for each budget",
}
K_VALUES = (1, 2, 5, 10, 30)
OURS = "pnag"

SOURCE = {
    "The source, table 2, ImageNet top-1 on a Snapdragon 821": [
        {"reward": "NAS-MO", "80 ms": 77.0, "110 ms": 78.5, "140 ms": 78.9, "170 ms": 79.3, "200 ms": 79.5},
        {"reward": "absolute", "80 ms": 78.1, "110 ms": 78.9, "140 ms": 79.2, "170 ms": 79.5, "200 ms": 79.9},
        {"reward": "no accuracy", "80 ms": 73.8, "110 ms": 73.6, "140 ms": 74.3, "170 ms": 73.9, "200 ms": 74.0},
        {"reward": "PNAG", "80 ms": 78.4, "110 ms": 79.5, "140 ms": 79.8, "170 ms": 80.3, "200 ms": 80.5},
        {"reward": "independent", "80 ms": 76.7, "110 ms": 78.6, "140 ms": 79.1, "170 ms": 79.4, "200 ms": 79.7},
    ],
    "The source, table 5, at 140 ms": [
        {"K": 1, "top-1 (%)": 78.5},
        {"K": 2, "top-1 (%)": 79.1},
        {"K": 5, "top-1 (%)": 79.4},
        {"K": 10, "top-1 (%)": 79.8},
        {"K": 30, "top-1 (%)": 79.8},
    ],
    "The source, table 4": [{"PNAG": "5 s", "PC-DARTS": "2 h", "ENAS": "12 h", "DARTS": "4 days"}],
}  # fmt: skip


def main() -> None:
    """Run what is missing; write `results/paper_tables.md` and its plots."""
    options = parse()
    before = machine()
    settings = {path.stem: Setting(path, options.accuracy, options.evaluations) for path in options.lut}
    cells = [
        Cell(name, method, k, seed)
        for name in settings
        for seed in range(options.seeds)
        for method, k in [(m, 10) for m in (*METHODS, SAME)] + [(OURS, k) for k in K_VALUES if k != 10]
    ]
    outcomes = run_all(settings, cells, options.out / "outcomes.jsonl", options.workers)
    notes: list[str] = []
    rows: list[dict[str, Any]] = []
    for name, setting in settings.items():
        with Progress(f"NSGA-II, {name}", 1) as progress:
            reference = nsga2(setting.costs, setting.truth, options.reference_evaluations)
            progress.advance(1)
        mine = [outcome for outcome in outcomes if outcome.cell.table == name]
        rows += main_rows(setting, mine)
        notes += [*sections(setting, mine, reference)]
        with replacing(options.folder / f"paper_tables_{name}_frontiers.png") as path:
            plot_frontiers(path, setting, mine, reference, METHODS)
        with replacing(options.folder / f"paper_tables_{name}_histograms.png") as path:
            plot_histograms(path, setting, mine, METHODS)
    if options.supernet:
        notes += measured_section(options, settings, outcomes)
    for title, table in SOURCE.items():
        notes += [f"### {title}", "\n".join(markdown_table(table))]
    title = f"PNAG and other searches, {options.evaluations} accuracies each, {options.seeds} seeds"
    report(
        "paper_tables",
        title,
        rows,
        notes,
        folder=options.folder,
        measured_on=before,
        extra={"archive": f"{options.accuracy.name}, {len(next(iter(settings.values())).measured)} architectures"},
    )


def parse() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lut", type=Path, action="append", required=True, help="latency table; may be repeated")
    parser.add_argument("--accuracy", type=Path, required=True, help="measured archive")
    parser.add_argument("--evaluations", type=int, default=1000, help="accuracies that each method may ask for")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--reference-evaluations", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--supernet", type=Path, help="the archive's supernet, to evaluate the answers for real")
    parser.add_argument("--data", help="the images that it is evaluated on")
    parser.add_argument("--out", type=Path, default=Path("runs/paper-tables"))
    parser.add_argument("--folder", type=Path, default=RESULTS)
    return parser.parse_args()


def by_method(outcomes: Sequence[Outcome], method: str, k: int = 10) -> list[Outcome]:
    """The outcomes of a method, a seed each, in the order of the seeds."""
    return [outcome for outcome in outcomes if outcome.cell.method == method and outcome.cell.k == k]


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half of its 95 % confidence interval, by Student's t; infinite for a single value."""
    n = len(values)
    if n < 2:
        return float(np.mean(values)), math.inf
    return float(np.mean(values)), student_t_quantile(0.975, n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n)


def main_rows(setting: Setting, outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Accuracy (%) of each method at each budget, and how much PNAG is ahead, at once and in rounds, seed by seed."""
    accuracy = {m: 100 * np.array([outcome.accuracy for outcome in by_method(outcomes, m)]) for m in METHODS}
    rows = []
    for method, label in METHODS.items():
        row: dict[str, Any] = {"table": setting.table.stem, "method": label}
        for number, column in enumerate(accuracy[method].T, 1):
            row[f"B{number} (%)"] = f"{column.mean():.2f}"
        mean, half = interval(accuracy[method].mean(axis=1).tolist())
        row["mean (%)"] = f"{mean:.2f} ± {half:.2f}"
        for leader, lead in ((OURS, "PNAG ahead by (points)"), (IN_ROUNDS, "in rounds ahead by (points)")):
            ahead, margin = interval((accuracy[leader] - accuracy[method]).mean(axis=1).tolist())
            row[lead] = f"{ahead:+.3f} ± {margin:.3f}" if method != leader else ""
        rows.append(row)
    return rows


def sections(setting: Setting, outcomes: Sequence[Outcome], reference: tuple[Any, Any]) -> list[str]:
    """The paragraphs and further tables about one latency table."""
    name, volume = setting.table.stem, setting.volume(*reference)
    budgets = ", ".join(f"{budget:.2f}" for budget in setting.budgets_ms)
    truth = setting.truth
    best = [100 * max(a for c, a in zip(*reference, strict=True) if c <= budget) for budget in setting.budgets_ms]
    out = [
        f"## {name}",
        f"Budgets B1 to B5 are {budgets} ms. The surrogate's error on architectures it has not seen is "
        f"{100 * truth.error:.2f} points, rank correlation {truth.rank_correlation:.3f}; its answers carry a noise of "
        f"{100 * truth.noise:.2f} points. NSGA-II's best within the budgets, with all evaluations it wants: "
        + ", ".join(f"{value:.2f}" for value in best)
        + " %. ± are 95 % confidence intervals over the seeds; PNAG's lead is taken seed by seed.",
        "### Frontier: hypervolume against NSGA-II, in %",
    ]
    shares = []
    for method in (SAME, *METHODS):
        values = volumes(setting, by_method(outcomes, method), volume)
        label = "PNAG on NSGA-II's own predictor" if method == SAME else METHODS[method]
        mean, half = interval(values)
        shares.append(
            {"method": label, "hypervolume (%)": f"{mean:.2f} ± {half:.2f}", "least (%)": f"{min(values):.2f}"}
        )
    out += ["\n".join(markdown_table(shares)), "### Time, and bare samples of the generator within the budget"]
    times = []
    for method, label in METHODS.items():
        found = by_method(outcomes, method)
        row: dict[str, Any] = {
            "method": label,
            "training (s)": float(np.median([o.seconds for o in found])),
            "five answers (s)": float(np.median([o.answer_s for o in found])),
        }
        if found and found[0].drawn_ms:
            used = drawn_shares(setting, found)
            row["samples in budget, worst budget (%)"] = f"{worst_kept(used):.1f}"
            row["mean share of the budget (%)"] = f"{100 * used.mean():.1f}"
        times.append(row)
    out += ["\n".join(markdown_table(times)), "### K anchor budgets"]
    ks = []
    for k in K_VALUES:
        found = by_method(outcomes, OURS, k)
        mean, half = interval([100 * float(np.mean(o.accuracy)) for o in found])
        share, spread = interval(volumes(setting, found, volume))
        ks.append(
            {
                "K": k,
                "mean accuracy (%)": f"{mean:.3f} ± {half:.3f}",
                "hypervolume (%)": f"{share:.2f} ± {spread:.2f}",
                "samples in budget, worst budget (%)": f"{worst_kept(drawn_shares(setting, found)):.1f}",
            }
        )
    out.append("\n".join(markdown_table(ks)))
    out += [f"![frontiers](paper_tables_{name}_frontiers.png)", f"![samples](paper_tables_{name}_histograms.png)"]
    return out


def volumes(setting: Setting, outcomes: Sequence[Outcome], reference: float) -> list[float]:
    """Hypervolume of each outcome's frontier, in % of the reference's."""
    return [100 * setting.volume(o.frontier_ms, o.frontier_accuracy) / reference for o in outcomes]


def drawn_shares(setting: Setting, outcomes: Sequence[Outcome]) -> NDArray[np.float64]:
    """Cost of each bare sample as a share of its budget, shape (seeds, budgets, samples)."""
    return np.array([o.drawn_ms for o in outcomes]) / setting.budgets_ms[:, None]


def worst_kept(shares: NDArray[np.float64]) -> float:
    """Samples within their budget, in %, at the budget where they are fewest."""
    return 100 * float((shares <= 1).mean(axis=(0, 2)).min())


def measured_section(
    options: argparse.Namespace, settings: dict[str, Setting], outcomes: Sequence[Outcome]
) -> list[str]:
    """The answers of the main comparison evaluated on the supernet: validation and test accuracy."""
    any_setting = next(iter(settings.values()))
    measured_space = any_setting.measured.space
    data = load_data(options.data, resolution=measured_space.resolution)
    space = load_space(measured_space.name, resolution=data.resolution, classes=data.classes)
    wanted = [o for o in outcomes if o.cell.method in METHODS and o.cell.k == 10]
    texts = sorted({text for outcome in wanted for text in outcome.architectures})
    tokens = space.encode([Architecture.parse(text) for text in texts])
    with Progress("evaluating the answers", len(texts)) as progress:
        archive = collect_archive(
            Supernet.load(options.supernet, space), data, tokens, options.out / "answers.parquet", test=True,
            images=EvaluationImages(data, calibration=512), progress=progress,
        )  # fmt: skip
    assert archive.test_accuracy is not None
    known = {
        str(a): (v, t)
        for a, v, t in zip(
            archive.architectures, archive.accuracy.tolist(), archive.test_accuracy.tolist(), strict=True
        )
    }
    say(f"{len(texts)} answers evaluated")
    out = []
    for name, setting in settings.items():
        mine = [o for o in wanted if o.cell.table == name]
        values = {m: 100 * np.array([[known[a] for a in o.architectures] for o in by_method(mine, m)]) for m in METHODS}
        rows = []
        for method, label in METHODS.items():
            row: dict[str, Any] = {"method": label}
            for index in range(len(setting.budgets_ms)):
                row[f"B{1 + index} (%)"] = f"{values[method][:, index, 1].mean():.2f}"
            for column, split in enumerate(("validation", "test")):
                mean, half = interval(values[method][:, :, column].mean(axis=1).tolist())
                row[f"{split}, mean (%)"] = f"{mean:.2f} ± {half:.2f}"
            if method != OURS:
                ahead, margin = interval((values[OURS] - values[method])[:, :, 1].mean(axis=1).tolist())
                row["PNAG ahead on test (points)"] = f"{ahead:+.2f} ± {margin:.2f}"
            rows.append(row)
        out += [
            f"### {name}: the same networks evaluated on the supernet (B1 to B5: test)",
            "\n".join(markdown_table(rows)),
        ]
    return out


if __name__ == "__main__":
    main()
