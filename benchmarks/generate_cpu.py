"""How fast networks for budgets come, and whether they keep them: `python -m benchmarks.generate_cpu --from RUN`.

    --from RUN                     answers of this run: one budget from a cold start, 1,000 in one call, 20 measured
    --lut TABLE [--archive FILE]   trains a run first, on 2,000 architectures, and times that

Runs the commands themselves, each in a process of its own. Where --archive is missing, accuracies are made up
(benchmarks/known_optimum.py). Nothing else should run meanwhile: `--measure` is as good as the machine is quiet.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.known_optimum import KnownOptimum
from benchmarks.report import RESULTS, machine, report, versions
from lut.calibration.fit import judge
from lut.files import replacing
from lut.table import LatencyTable
from pnag import Architecture, Generator
from pnag.accuracy.archive import AccuracyArchive
from pnag.errors import InfeasibleBudgetError
from pnag.runs.run import TABLE, Run
from pnag.space.sampling import sample_archive
from pnag.space.search_space import SearchSpace

CONFIDENCE = 0.95
SEED = 0
COLD_GOAL_S, MANY_GOAL_S, TRAINING_GOAL_S = 0.7, 5.0, 120.0
SHARE_GOAL, KEPT_GOAL = 0.97, 0.95


@dataclass(frozen=True)
class Figure:
    """One line of the result; `met` is None where there is no goal."""

    what: str
    measured: str
    goal: str = ""
    met: bool | None = None

    def row(self) -> dict[str, Any]:
        """As the report takes it."""
        return {"what": self.what, "measured": self.measured, "goal": self.goal,
                "met": "" if self.met is None else self.met}  # fmt: skip


def timed(module: str, words: Sequence[str]) -> tuple[float, dict[str, Any]]:
    """Seconds of a whole command, start of Python included, and the document that it prints."""
    started_s = time.perf_counter()
    document = run_command(module, words)
    return time.perf_counter() - started_s, document


def run_command(module: str, words: Sequence[str], *, timeout_s: float | None = None) -> dict[str, Any]:
    """What a command of ours prints with `--json`, also where it ends with 4, as a budget was measured and not kept.

    Raises `CalledProcessError`, `TimeoutExpired`.
    """
    command = [sys.executable, "-c", f"from {module} import main; main()", *words, "--json"]
    # Python keeps what it has compiled, as an installed program has it, also where the environment forbids that.
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True, timeout=timeout_s, env=usual)
    if done.returncode not in (0, InfeasibleBudgetError.exit_code) or not done.stdout:
        done.check_returncode()
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def spread_budgets(run: Path, n: int, confidence: float) -> list[str]:
    """`n` budgets in ms, the middles of equal parts of the range that the run can keep."""
    generator = Generator.load(run)
    low, high = (bound * (1 + generator.margin(confidence)) for bound in generator.range_ms)
    return [f"{low + (high - low) * (i + 0.5) / n:.6f}" for i in range(n)]


# -- learning ---------------------------------------------------------------------------------------------------


def write_accuracies(table: LatencyTable, given: Path | None, n: int, out: Path) -> str:
    """Write accuracies of `n` architectures of the table's space to `out`; what they are, in words."""
    space = SearchSpace.from_dict(table.metadata.space)
    rng = np.random.default_rng(SEED)
    if given is None:
        costs = space.cost_model(table)
        tokens = sample_archive(space, n, costs, rng)
        truth = KnownOptimum(costs, seed=SEED)
        AccuracyArchive(space, tokens, truth.ask(tokens, rng)).save(out)
        return f"made up with {100 * truth.noise:g} % noise (benchmarks/known_optimum.py), not measured"
    archive = AccuracyArchive.load(given, space)
    rows = np.sort(rng.permutation(len(archive))[:n])
    AccuracyArchive(archive.space, archive.tokens[rows], archive.accuracy[rows], split=archive.split).save(out)
    return f"{len(rows):,} of the {len(archive):,} of {given.name}"


def learn(table: Path, given: Path | None, n: int, run: Path, method: str) -> tuple[list[Figure], str]:
    """Train a run on `n` architectures; its figures, and where the accuracies come from."""
    accuracies = run.with_name("accuracies.parquet")
    source = write_accuracies(LatencyTable.load(table), given, n, accuracies)
    words = ["--lut", str(table), "--accuracy", str(accuracies), "--out", str(run), "--method", method]
    seconds, document = timed("pnag.cli_train", words)
    what = f"pnag-train, evaluator and generator on {document['architectures']:,} architectures"
    figures = [
        Figure(what, f"{seconds:.1f} s", f"<= {TRAINING_GOAL_S:g} s", seconds <= TRAINING_GOAL_S),
        Figure("rank correlation of the predictor, architectures held out", f"{document['rank_correlation']:.4f}"),
    ]
    return figures, source


# -- answering --------------------------------------------------------------------------------------------------


def cold_start(run: Path, repeats: int) -> tuple[list[Figure], list[float]]:
    """Times of `pnag-generate B`, after one that does not count: it leaves compiled Python files behind."""
    (budget,) = spread_budgets(run, 1, CONFIDENCE)
    times_s = [timed("pnag.cli_generate", [budget, "--from", str(run)])[0] for _ in range(repeats + 1)][1:]
    median, worst = statistics.median(times_s), max(times_s)
    goal = f"<= {COLD_GOAL_S:g} s"
    figures = [
        Figure(f"pnag-generate, one budget, cold: median of {repeats}", f"{median:.3f} s", goal, median <= COLD_GOAL_S),
        Figure(f"the same, worst of {repeats}", f"{worst:.3f} s", goal, worst <= COLD_GOAL_S),
    ]
    return figures, times_s


def many_budgets(run: Path, n: int) -> list[Figure]:
    """`n` budgets in one call: time, how many are kept by the run's own table, how much of them is used."""
    table = LatencyTable.load(run / TABLE)
    space, margin = SearchSpace.from_dict(table.metadata.space), table.upper_margin(CONFIDENCE)
    budgets = spread_budgets(run, n, CONFIDENCE)
    seconds, document = timed("pnag.cli_generate", [*budgets, "--from", str(run), "--confidence", str(CONFIDENCE)])
    networks = document["networks"]
    costs = [table.cost_ms(space.decompose(Architecture.parse(network["architecture"]))) for network in networks]
    asked = [float(budget) for budget in budgets]
    kept = sum(cost * (1 + margin) <= budget for cost, budget in zip(costs, asked, strict=True))
    of_limit = statistics.mean(cost * (1 + margin) / budget for cost, budget in zip(costs, asked, strict=True))
    of_budget = statistics.mean(cost / budget for cost, budget in zip(costs, asked, strict=True))
    goal = f">= {100 * SHARE_GOAL:g} %"
    return [
        Figure(f"{n:,} budgets in one call", f"{seconds:.2f} s", f"<= {MANY_GOAL_S:g} s", seconds <= MANY_GOAL_S),
        Figure("of them kept as predicted, margin included", f"{kept:,} of {n:,}", "all", kept == n),
        Figure("used of the limit (the budget less the margin), mean", f"{100 * of_limit:.2f} %", goal,
               of_limit >= SHARE_GOAL),
        Figure("used of the budget itself, mean", f"{100 * of_budget:.2f} %", goal, of_budget >= SHARE_GOAL),
    ]  # fmt: skip


def measured(run: Path, n: int, device: str) -> tuple[list[Figure], list[dict[str, Any]]]:
    """Networks for `n` budgets, measured as `--verify` does: how many keep theirs, how well they were predicted."""
    words = [*spread_budgets(run, n, CONFIDENCE), "--from", str(run), "--confidence", str(CONFIDENCE)]
    _, document = timed("pnag.cli_generate", [*words, "--verify", device, "--attempts", "1"])
    networks = document["networks"]
    ran = [network for network in networks if network["measured_ms"] is not None]
    kept = sum(network["kept"] for network in ran)
    figures = [
        Figure(f"networks within budget when measured, confidence {CONFIDENCE:g}", f"{kept} of {n}",
               f">= {KEPT_GOAL * n:g}", kept >= KEPT_GOAL * n)
    ]  # fmt: skip
    fidelity = judge([network["cost_ms"] for network in ran], [network["measured_ms"] for network in ran])
    if fidelity is not None:
        use = statistics.mean(network["measured_ms"] / network["budget_ms"] for network in ran)
        figures += [
            Figure("predicted against measured, MAPE", f"{100 * fidelity.mape:.2f} %"),
            Figure("the same, worst network", f"{100 * fidelity.worst:.2f} %"),
            Figure("used of the budget when measured, mean", f"{100 * use:.2f} %"),
        ]
    return figures, networks


def notes_on(run: Path, source: str) -> list[str]:
    """What the figures are of."""
    table, made = LatencyTable.load(run / TABLE), Run.load(run)
    generator = Generator.load(run)
    low, high = generator.range_ms
    fidelity = table.metadata.fidelity
    judged = f"MAPE {100 * fidelity.mape:.2f} % on {fidelity.n} unseen networks" if fidelity else "no unseen networks"
    return [
        f"The table: {table.metadata.space['name']} at {table.metadata.resolution}, "
        f"{table.metadata.device.get('model')}, {table.metadata.runtime.get('name')}, {judged}; networks of {low:.4g} "
        f"to {high:.4g} ms; the margin at confidence {CONFIDENCE:g} is {100 * generator.margin(CONFIDENCE):.2f} %.",
        f"The run: method {made.asked['method']}, {generator.metadata.get('evaluations')} architectures; "
        f"accuracies: {source}.",
        "Seconds are of whole commands, start of Python included; a cold start is a new process whose files the "
        "system has in memory. Budgets are the middles of equal parts of the range that can be kept.",
    ]


def main() -> None:
    """Measure what is asked for, and write `results/generate_cpu.md` and `.json` (`--folder` for another place)."""
    options = parse()
    before = machine()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as temporary:
        run, source = options.run, "those that it was trained on"
        if options.lut is not None:
            trained = Path(temporary) / "run"
            figures, learnt = learn(options.lut, options.archive, options.architectures, trained, options.method)
            run, source = (trained, learnt) if run is None else (run, source)
        cold, times_s = cold_start(run, options.repeats)
        figures += [*cold, *many_budgets(run, options.budgets)]
        networks: list[dict[str, Any]] = []
        if options.measure:
            kept, networks = measured(run, options.measure, options.device)
            figures += kept
        notes = notes_on(run, source)
    title = f"Networks for budgets, measured on the device {options.device}"
    rows = [figure.row() for figure in figures]
    report(options.name, title, rows, notes, folder=options.folder, measured_on=before)
    with replacing(options.folder / f"{options.name}.json") as path:
        content = {"machine": before, "versions": versions(), "figures": rows, "cold_s": times_s, "networks": networks}
        path.write_text(json.dumps(content, indent=2), encoding="utf-8")


def parse() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="run", type=Path, help="a trained run; the one that --lut trains unless given")
    parser.add_argument("--lut", type=Path, help="a latency table: train on it, and time that")
    parser.add_argument("--archive", type=Path, help="accuracies to train on; made up unless given")
    parser.add_argument("--architectures", type=int, default=2000, help="how many accuracies to train on")
    parser.add_argument("--method", default="pnag", help="how to train")
    parser.add_argument("--repeats", type=int, default=10, help="cold starts")
    parser.add_argument("--budgets", type=int, default=1000, help="in one call")
    parser.add_argument("--measure", type=int, default=20, help="networks to measure; 0 for none")
    parser.add_argument("--device", default="cpu", help="where to measure them")
    parser.add_argument("--name", default="generate_cpu")
    parser.add_argument("--folder", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.run is None and options.lut is None:
        parser.error("nothing to measure; give --from RUN or --lut TABLE")
    if options.archive is not None and options.lut is None:
        parser.error("--archive is what a run is trained on; give the table with --lut")
    return options


if __name__ == "__main__":
    main()
