"""PNAG beside other searches, and without parts of itself: `python -m benchmarks.rivals --truth imagenet --seeds 5`.

Every way asks the same truth about networks and answers eight budgets; its answers are judged by the truth, without
noise. All ways but one ask the same number of questions in all; they are counted. Truths (`benchmarks.rival_truths`):
`imagenet`, once-for-all's published predictor over its Note10 table; `cifar10-trees`, trees that were fitted to a
measured archive, over a table of ours. One process, one thread; what is finished is found again in `--out`, so that it
may be stopped at any time.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.paper_tables import interval
from benchmarks.report import RESULTS, machine, report
from benchmarks.rival_truths import TRUTHS, Truth
from benchmarks.rival_ways import OURS, WAYS, Lessons, Way
from lut.journal import LineJournal, read_lines
from profiler.console import Progress

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """One training. Lists follow the budgets: true accuracies and predicted - true in %, what the answers cost in ms.

    `best_asked` are the true accuracies of the best networks that were asked about.
    """

    truth: str
    way: str
    seed: int
    questions: int
    seconds: float
    accuracy: list[float]
    optimism: list[float]
    cost_ms: list[float]
    best_asked: list[float]

    def lost(self, known: Array) -> Array:
        """Points lost at each budget against the best `known`, in %."""
        return known - np.array(self.accuracy)


def main() -> None:
    """Train what is missing, as far as the time goes; write `results/rivals_TRUTH.md` of all that is done."""
    options = parse()
    started, before, truth = time.monotonic(), machine(), TRUTHS[options.truth](options.out)
    chosen = [way for way in WAYS if not options.ways or any(word in way.name for word in options.ways)]
    wanted = [(way, seed) for seed in range(options.first_seed, options.seeds) for way in chosen]
    with Progress("training", len(wanted)) as progress, LineJournal(options.out / f"{truth.name}.jsonl") as lines:
        done = {(row.way, row.seed): row for row in (Judged(**row) for row in read_lines(lines.path))}
        lessons = Lessons(truth, -1)
        for way, seed in wanted:
            if (way.name, seed) not in done and time.monotonic() - started < 60 * options.minutes:
                lessons = lessons if lessons.seed == seed else Lessons(truth, seed)
                done[way.name, seed] = judge(lessons, way)
                lines.append([asdict(done[way.name, seed])])
            progress.advance(1, f"{way.name}, seed {seed}")
    results = [[row for row in done.values() if row.way == way.name] for way in WAYS]
    report(
        f"rivals_{truth.name}", f"PNAG beside other searches, {truth.title}",
        rows_of(truth, [mine for mine in results if mine]), notes_of(truth), folder=options.folder, measured_on=before,
    )  # fmt: skip


def parse() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", choices=sorted(TRUTHS), default="imagenet")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--ways", nargs="*", help="train only those whose names contain one of these words")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no training after so many")
    parser.add_argument("--out", type=Path, default=Path("runs/rivals"))
    parser.add_argument("--folder", type=Path, default=RESULTS)
    return parser.parse_args()


def judge(lessons: Lessons, way: Way) -> Judged:
    """Train, answer the budgets, ask the truth about the answers."""
    truth, trained = lessons.truth, way.learn(lessons)
    generator, budgets = trained.generator, np.array(truth.budgets_ms)
    found = generator.generate_many(budgets.tolist(), confidence=way.confidence)
    answers = lessons.space.encode([candidate.architecture for candidate in found])
    accuracy = truth.ask(answers)
    best = trained.best_asked.best(budgets, fallback=answers)
    return Judged(
        truth.name, way.name, lessons.seed, trained.questions, trained.seconds,
        accuracy=(100 * accuracy).tolist(),
        optimism=(100 * (np.array([candidate.accuracy for candidate in found]) - accuracy)).tolist(),
        cost_ms=truth.costs(answers).tolist(),
        best_asked=(100 * truth.ask(best)).tolist(),
    )  # fmt: skip


def rows_of(truth: Truth, results: Sequence[Sequence[Judged]]) -> list[dict[str, Any]]:
    """Lines of the table, from the trainings of each way; leads are over the seeds that both have."""
    known = 100 * np.array(truth.best_known)
    ours = {one.seed: one.lost(known) for mine in results for one in mine if one.way == OURS}
    rows = []
    for mine in results:
        lost = np.array([one.lost(known) for one in mine])
        row: dict[str, Any] = {"way": mine[0].way, "questions": mine[0].questions, "seeds": len(mine)}
        row |= {f"{b:.3g} ms": f"{v:.2f}" for b, v in zip(truth.budgets_ms, lost.mean(axis=0).tolist(), strict=True)}
        row["mean lost"] = shown(lost.mean(axis=1).tolist())
        leads = [float((one.lost(known) - ours[one.seed]).mean()) for one in mine if one.seed in ours]
        row["PNAG in rounds ahead by"] = shown(leads, sign="+") if leads and mine[0].way != OURS else ""
        kept = np.array([one.cost_ms for one in mine]) <= np.array(truth.budgets_ms)
        row["budgets kept"] = f"{100 * kept.mean():.0f} %"
        row["predicted - true"] = f"{np.mean([one.optimism for one in mine]):+.2f}"
        row["best asked about, mean lost"] = f"{(known - np.array([one.best_asked for one in mine])).mean():.3f}"
        row["seconds"] = float(np.median([one.seconds for one in mine]))
        rows.append(row)
    return rows


def shown(values: Sequence[float], sign: str = "") -> str:
    """The mean over seeds with its 95 % interval, where there are several."""
    mean, half = interval(values)
    return f"{mean:{sign}.3f} ± {half:.3f}" if len(values) > 1 else f"{mean:{sign}.3f}"


def notes_of(truth: Truth) -> list[str]:
    """What a reader needs to know of the table."""
    best = ", ".join(f"{100 * a:.2f} % at {b:.3g} ms" for b, a in zip(truth.budgets_ms, truth.best_known, strict=True))
    return [
        f"Points of accuracy lost against the best networks that a long search of the truth found ({best}), mean over "
        "the seeds; ± are 95 % intervals over the seeds, leads are taken seed by seed. `questions` are all accuracies "
        "that were asked for, for all eight budgets together. `best asked about`: the best network under each budget "
        "among those. `seconds` are medians of whole trainings on one thread, beside other work on the machine.",
        truth.note,
        "All answers but those of the last ablation keep their budgets, since the cost of every network is known from "
        "the table, to rivals too. Evolutions and NSGA-II ask as they go; all other ways but rounds learn from the "
        "same random networks, and rewards, the paper's form and the predicted evolution use the predictor that PNAG "
        "learns from them. Rewards are compared within the groups that the generator draws, as PNAG's are; `its own "
        "soft constraint` is the reward alone, `our hard constraint too` adds PNAG's penalty for networks beyond the "
        "budget. Without refinement: no exchanges, neither of remembered networks nor of answers. Without memory: the "
        "generator learns by policy gradient alone, and answers are refined from what it draws. The ranking that does "
        "not see c(a) is the paper's evaluator, learnt from the accuracies of the rounds. Multiply-accumulates in "
        "place of c(a): latency by a straight line through those of 500 networks, with the margin that keeps 95 % of "
        "budgets.",
    ]


if __name__ == "__main__":
    main()
