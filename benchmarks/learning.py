"""How near PNAG comes to the best network there is, where that is known: `python -m benchmarks.learning`.

    python -m benchmarks.learning --lut lut/tables/cpu_epyc.parquet --seeds 6

Accuracies are made up over the costs of a measured table (benchmarks/known_optimum.py), so that a dynamic program
knows the best network under any budget. PNAG sees 2,000 of them with 0.1 % noise, all at once or most in
rounds; its answers are judged without noise. Also timed: learning from 16,000 of them. Runs on all cores;
finished trainings are found again in `--out`.

How much there is to lose is a matter of how far accuracies differ, so the goals are for a spread at which the best of
the 2,000 accuracies themselves would lose 0.3 %, as much as in the trials that the goals come from; the same is shown
for accuracies that differ more, relative to the noise too.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.generate_cpu import Figure
from benchmarks.known_optimum import KnownOptimum
from benchmarks.report import RESULTS, machine, report
from lut.journal import LineJournal, read_lines
from lut.table import LatencyTable
from pnag.generator.generate import Generator
from pnag.generator.learning import ROUNDS, rounds_of, train_generator, train_in_rounds
from pnag.search.known_networks import Pool
from pnag.search.prices import cheapest_tokens
from pnag.space.budget import spaced_budgets
from pnag.space.cost import CostModel
from pnag.space.sampling import sample_archive
from pnag.space.search_space import SearchSpace
from profiler.console import Progress

Array = NDArray[np.float64]

BUDGETS = 20
DRAWN = 1000
MANY = 16_000
AT_ONCE, IN_ROUNDS, LARGE = "at once", "in rounds", "many"
SPREAD, WIDE = 0.045, 0.11  # between the accuracies that networks level off at and the lowest there could be
MEAN_GOAL = {AT_ONCE: 0.08, IN_ROUNDS: 0.05}  # points of accuracy, as all regrets here
WORST_GOAL, SHARE_GOAL, KEPT_GOAL, MANY_GOAL_S = 0.15, 0.98, 0.95, 90.0


@dataclass(frozen=True)
class Judged:
    """One training. Lists follow the budgets: accuracy lost (points), cost / budget, share of bare samples kept.

    `best_seen` is the accuracy lost by the most accurate network within each budget among those evaluated at once.
    """

    way: str
    seed: int
    evaluations: int
    spread: float
    seconds: float
    regret: list[float]
    share: list[float]
    kept: list[float]
    best_seen: list[float]


def main() -> None:
    """Train what is missing, write `results/learning.md`."""
    options = parse()
    before, table = machine(), LatencyTable.load(options.lut)
    space = SearchSpace.from_dict(table.metadata.space)
    costs = space.cost_model(table)
    wanted = [
        (way, seed, options.architectures, spread)
        for spread in (SPREAD, WIDE)
        for way in (AT_ONCE, IN_ROUNDS)
        for seed in range(options.seeds)
    ]
    if options.many:
        wanted.append((LARGE, 0, options.many, SPREAD))
    journal = options.out / f"{table.content_sha256[:12]}.jsonl"
    done = {(row.way, row.seed, row.evaluations, row.spread): row for row in read(journal)}
    with Progress("training", len(wanted)) as progress, LineJournal(journal) as lines:
        for key in wanted:
            if key not in done:
                done[key] = judge(costs, *key)
                lines.append([asdict(done[key])])
            progress.advance(1, f"{key[0]}, seed {key[1]}, spread {key[3]:g}")
    results = [done[key] for key in wanted]
    title = f"PNAG where the best network is known, {options.architectures:,} accuracies, {options.seeds} seeds"
    notes = [
        f"The table: {options.lut.name}, {space.name}; accuracies made up with {100 * KnownOptimum(costs).noise:g} % "
        f"noise. {BUDGETS} budgets evenly inside the range, without a margin. Regret is the accuracy lost against the "
        "best network under the budget, in points of accuracy; the worst budget is the one with the largest mean "
        "over the seeds, and the worst answer the largest of all. Accuracies lie at most "
        f"{100 * SPREAD:g} points below where they level off, for the wider spread {100 * WIDE:g}.",
        f"In rounds: {rounds_of(options.architectures)[0]:,} accuracies at first, the others in {ROUNDS} rounds. "
        f"Bare samples: {DRAWN:,} of the LSTM for each budget, neither filtered nor refined; mean over the seeds at "
        "the budget that fewest of them keep.",
    ]
    rows = [figure.row() for figure in figures(results)]
    report("learning", title, rows, notes, folder=options.folder, measured_on=before)


def parse() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lut", type=Path, default=Path("lut/tables/cpu_epyc.parquet"))
    parser.add_argument("--architectures", type=int, default=2000)
    parser.add_argument("--many", type=int, default=MANY, help="size of the large archive; 0 for none")
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--out", type=Path, default=Path("runs/learning"))
    parser.add_argument("--folder", type=Path, default=RESULTS)
    return parser.parse_args()


def judge(costs: CostModel, way: str, seed: int, evaluations: int, spread: float) -> Judged:
    """Train in one of the ways with so many accuracies, ask for all budgets, compare with the best."""
    truth, rng = made_up(costs, seed, spread), np.random.default_rng([seed, 23])
    first, per_round = rounds_of(evaluations) if way == IN_ROUNDS else (evaluations, 0)
    space = truth.space
    tokens = sample_archive(space, first, costs, rng)
    accuracy = truth.ask(tokens, rng)
    started = time.perf_counter()
    if way == IN_ROUNDS:
        generator, _, _ = train_in_rounds(
            space, costs, lambda asked: truth.ask(asked, rng), tokens=tokens, accuracy=accuracy, rounds=ROUNDS,
            per_round=per_round, seed=seed,
        )  # fmt: skip
    else:
        generator = train_generator(space, costs, tokens, accuracy, seed=seed)
    seconds = time.perf_counter() - started
    budgets = asked_budgets(generator)
    seen = Pool(tokens, costs(tokens), accuracy).best(budgets, fallback=cheapest_tokens(costs)[0])
    best_seen = (100 * truth.regret(seen, budgets)).tolist()
    return Judged(way, seed, evaluations, spread, seconds, *answers(generator, truth, seed), best_seen)


def made_up(costs: CostModel, seed: int, spread: float) -> KnownOptimum:
    """Accuracies that level off at the usual height, `spread` above the lowest there could be."""
    return KnownOptimum(costs, seed=seed, bottom=KnownOptimum.top - spread)


def asked_budgets(generator: Generator) -> Array:
    """Budgets in ms, evenly inside the range."""
    budgets: Array = spaced_budgets(*generator.range_ms, BUDGETS + 2)[1:-1]
    return budgets


def answers(generator: Generator, truth: KnownOptimum, seed: int) -> tuple[list[float], list[float], list[float]]:
    """Regret in points, cost as a share of the budget, and the share of bare samples kept, for each budget."""
    budgets = asked_budgets(generator)
    found = generator.generate_many(budgets.tolist(), confidence=0.5)
    tokens = generator.space.encode([candidate.architecture for candidate in found])
    kept = [float((truth.costs(generator.sample(b, DRAWN, seed)) <= b).mean()) for b in budgets.tolist()]
    return (100 * truth.regret(tokens, budgets)).tolist(), (truth.costs(tokens) / budgets).tolist(), kept


def figures(results: Sequence[Judged]) -> list[Figure]:
    """Lines of the result: those that have goals, then the same for the wider spread."""
    usual, wide = ([row for row in results if row.spread == spread] for spread in (SPREAD, WIDE))
    rows = [Figure("the best of the accuracies themselves, mean regret", f"{_seen(usual):.3f} %")]
    for way, goal in MEAN_GOAL.items():
        mine = [row for row in usual if row.way == way]
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
    for row in (row for row in usual if row.way == LARGE):
        rows += [
            Figure(f"training on {row.evaluations:,} architectures", f"{row.seconds:.1f} s", f"<= {MANY_GOAL_S:g} s",
                 row.seconds <= MANY_GOAL_S),
            Figure("mean regret of it", f"{np.mean(row.regret):.3f} %"),
        ]  # fmt: skip
    rows.append(Figure("wider spread: the best of the accuracies themselves, mean regret", f"{_seen(wide):.3f} %"))
    for way in MEAN_GOAL:
        regret = np.array([row.regret for row in wide if row.way == way])
        shown = f"{regret.mean():.3f} %, worst budget {regret.mean(axis=0).max():.3f} %"
        rows.append(Figure(f"wider spread: mean regret, {way}", shown))
    return rows


def _seen(results: Sequence[Judged]) -> float:
    return float(np.mean([row.best_seen for row in results if row.way == AT_ONCE]))


def read(journal: Path) -> list[Judged]:
    """Trainings that are done already."""
    return [Judged(**row) for row in read_lines(journal)]


if __name__ == "__main__":
    main()
