"""How near PNAG comes to the best network there is, where that is known: `python -m benchmarks.learning`.

    python -m benchmarks.learning --lut lut/tables/cpu_epyc.parquet --seeds 3

Accuracies are made up over the costs of a measured table (benchmarks/known_optimum.py), so that a dynamic program
knows the best network under any budget. PNAG sees 2,000 of them with 0.1 % noise, all at once or the last in
rounds; its answers are judged without noise. Also timed: learning from 16,000 of them. Runs on all cores;
finished trainings are found again in `--out`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.generate_cpu import Figure
from benchmarks.known_optimum import KnownOptimum
from benchmarks.report import RESULTS, machine, report
from lut.table import LatencyTable
from pnag.budget import spaced_budgets
from pnag.generate import Generator
from pnag.learning import train_generator, train_in_rounds
from pnag.sampling import sample_archive
from pnag.space import SearchSpace
from pnag.training_files import read_curve
from profiler.console import Progress

BUDGETS = 20
DRAWN = 1000
ROUNDS, FIRST_SHARE = 3, 0.55
MANY = 16_000
AT_ONCE, IN_ROUNDS, LARGE = "at once", "in rounds", "many"
MEAN_GOAL = {AT_ONCE: 0.08, IN_ROUNDS: 0.05}  # points of accuracy, as all regrets here
WORST_GOAL, SHARE_GOAL, KEPT_GOAL, MANY_GOAL_S = 0.15, 0.98, 0.95, 90.0


@dataclass(frozen=True)
class Judged:
    """One training. Lists follow the budgets: accuracy lost (points), cost / budget, share of bare samples kept."""

    way: str
    seed: int
    evaluations: int
    seconds: float
    regret: list[float]
    share: list[float]
    kept: list[float]


def main() -> None:
    """Train what is missing, write `results/learning.md`."""
    options = parse()
    before, table = machine(), LatencyTable.load(options.lut)
    space = SearchSpace.from_dict(table.metadata.space)
    costs = space.cost_model(table)
    wanted = [(way, seed, options.architectures) for way in (AT_ONCE, IN_ROUNDS) for seed in range(options.seeds)]
    if options.many:
        wanted.append((LARGE, 0, options.many))
    journal = options.out / f"{table.content_sha256[:12]}.jsonl"
    journal.parent.mkdir(parents=True, exist_ok=True)
    done = {(row.way, row.seed, row.evaluations): row for row in read(journal)}
    with Progress("training", len(wanted)) as progress, journal.open("a", encoding="utf-8") as file:
        for key in wanted:
            if key not in done:
                done[key] = judge(KnownOptimum(costs, seed=key[1]), *key)
                file.write(json.dumps(asdict(done[key])) + "\n")
                file.flush()
            progress.advance(1, f"{key[0]}, seed {key[1]}")
    results = [done[key] for key in wanted]
    title = f"PNAG where the best network is known, {options.architectures:,} accuracies, {options.seeds} seeds"
    notes = [
        f"The table: {options.lut.name}, {space.name}; accuracies made up with {100 * KnownOptimum(costs).noise:g} % "
        f"noise. {BUDGETS} budgets evenly inside the range, without a margin. Regret is the accuracy lost against the "
        "best network under the budget, in points of accuracy; the worst budget is the one with the largest mean "
        "over the seeds, and the worst answer the largest of all.",
        f"In rounds: {100 * FIRST_SHARE:g} % of the accuracies at first, the others in {ROUNDS} rounds. Bare samples: "
        f"{DRAWN:,} of the LSTM for each budget, neither filtered nor refined; mean over the seeds at the budget that "
        "fewest of them keep.",
    ]
    rows = [figure.row() for figure in figures(results)]
    report("learning", title, rows, notes, folder=options.folder, measured_on=before)


def parse() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lut", type=Path, default=Path("lut/tables/cpu_epyc.parquet"))
    parser.add_argument("--architectures", type=int, default=2000)
    parser.add_argument("--many", type=int, default=MANY, help="size of the large archive; 0 for none")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/learning"))
    parser.add_argument("--folder", type=Path, default=RESULTS)
    return parser.parse_args()


def judge(truth: KnownOptimum, way: str, seed: int, evaluations: int) -> Judged:
    """Train in one of the ways with so many accuracies, ask for all budgets, compare with the best."""
    rng = np.random.default_rng([seed, 23])
    first = round(FIRST_SHARE * evaluations) if way == IN_ROUNDS else evaluations
    space, costs = truth.space, truth.costs
    tokens = sample_archive(space, first, costs, rng)
    accuracy = truth.ask(tokens, rng)
    started = time.perf_counter()
    if way == IN_ROUNDS:
        generator, _, _ = train_in_rounds(
            space, costs, lambda asked: truth.ask(asked, rng), tokens=tokens, accuracy=accuracy, rounds=ROUNDS,
            per_round=(evaluations - first) // ROUNDS, seed=seed,
        )  # fmt: skip
    else:
        generator = train_generator(space, costs, tokens, accuracy, seed=seed)
    seconds = time.perf_counter() - started
    return Judged(way, seed, evaluations, seconds, *answers(generator, truth, seed))


def answers(generator: Generator, truth: KnownOptimum, seed: int) -> tuple[list[float], list[float], list[float]]:
    """Regret in points, cost as a share of the budget, and the share of bare samples kept, for each budget."""
    budgets = spaced_budgets(*generator.range_ms, BUDGETS + 2)[1:-1]
    found = generator.generate_many(budgets.tolist(), confidence=0.5)
    tokens = generator.space.encode([candidate.architecture for candidate in found])
    kept = [float((truth.costs(generator.sample(b, DRAWN, seed)) <= b).mean()) for b in budgets.tolist()]
    return (100 * truth.regret(tokens, budgets)).tolist(), (truth.costs(tokens) / budgets).tolist(), kept


def figures(results: Sequence[Judged]) -> list[Figure]:
    """Lines of the result."""
    rows: list[Figure] = []
    for way, goal in MEAN_GOAL.items():
        mine = [row for row in results if row.way == way]
        regret, share, kept = (np.array([getattr(r, name) for r in mine]) for name in ("regret", "share", "kept"))
        worst, used, least = regret.mean(axis=0).max(), share.mean(), kept.mean(axis=0).min()
        rows += [
            Figure(f"mean regret, {way}", f"{regret.mean():.3f} %", f"<= {goal} %", bool(regret.mean() <= goal)),
            Figure(f"the same, worst budget, {way}", f"{worst:.3f} %", f"<= {WORST_GOAL} %", bool(worst <= WORST_GOAL)),
            Figure(f"the same, worst answer, {way}", f"{regret.max():.3f} %"),
            Figure(f"used of the budget, mean, {way}", f"{100 * used:.2f} %", f">= {100 * SHARE_GOAL:g} %",
                 bool(used >= SHARE_GOAL)),
            Figure(f"bare samples that keep the budget, worst budget, {way}", f"{100 * least:.1f} %",
                 f">= {100 * KEPT_GOAL:g} %", bool(least >= KEPT_GOAL)),
            Figure(f"training, {way}, median", f"{np.median([row.seconds for row in mine]):.1f} s"),
        ]  # fmt: skip
    for row in (row for row in results if row.way == LARGE):
        rows += [
            Figure(f"training on {row.evaluations:,} architectures", f"{row.seconds:.1f} s", f"<= {MANY_GOAL_S:g} s",
                 row.seconds <= MANY_GOAL_S),
            Figure("mean regret of it", f"{np.mean(row.regret):.3f} %"),
        ]  # fmt: skip
    return rows


def read(journal: Path) -> list[Judged]:
    """Trainings that are done already."""
    if not journal.is_file():
        return []
    return [Judged(**row) for row in read_curve(journal)]


if __name__ == "__main__":
    main()
