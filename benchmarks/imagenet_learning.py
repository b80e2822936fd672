"""PNAG on a truth of others: `python -m benchmarks.imagenet_learning --seeds 5`; other searches: `benchmarks.rivals`.

Accuracies are once-for-all's published predictor's, budgets the milliseconds of their Note10 table at 224 pixels
(`benchmarks.imagenet_truth`; without those files there is nothing to run). Every way of learning is given the same
number of accuracies, without noise or with 0.15 points of it; its answers are judged by the predictor itself, against
the best networks known. Where the resolution is free, the tables of five resolutions are one. One process, one
thread; finished trainings are found again in `--out`. A training of 2,000 accuracies in rounds takes some two minutes
of a quiet core, one at once half a minute; all of it some two hours.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.imagenet_truth import (
    BEST_KNOWN,
    BEST_KNOWN_FREE,
    BUDGETS_MS,
    FreeTruth,
    PublishedPredictor,
    available,
    free_costs,
    known_rows,
    note10_costs,
)
from benchmarks.paper_tables import interval
from benchmarks.report import RESULTS, machine, report
from pnag.accuracy.archive import DEFAULT, SHIPPED, AccuracyArchive
from pnag.accuracy.shipped import model_of
from pnag.generator.generate import Generator
from pnag.generator.learning import ROUNDS, rounds_of, train_generator, train_in_rounds
from pnag.search.known_networks import Pool
from pnag.search.prices import cheapest_tokens
from pnag.space.cost import CostModel
from pnag.space.search_space import SearchSpace
from pnag.space.tokens import Tokens
from profiler.console import Progress

Array = NDArray[np.float64]

NOISE = 0.0015
_MEAN_GOALS = {
    "in rounds, 2,000": 0.10,
    "in rounds, 500": 0.45,
    "the default": 0.06,
    "the default, resolution free": 0.08,
    "the 9,289 rows at once": 0.20,
}


@dataclass(frozen=True)
class Way:
    """PNAG with so many accuracies, in rounds or at once; `rows` instead of random ones, or the shipped model.

    `free`: whether architectures choose their resolution.
    """

    name: str
    evaluations: int
    in_rounds: bool = False
    noise: float = 0.0
    rows: bool = False
    model: bool = False
    free: bool = False


WAYS = (
    Way("in rounds, 2,000", 2000, in_rounds=True),
    Way("in rounds, 500", 500, in_rounds=True),
    Way("in rounds, 2,000, noise of 0.15 points", 2000, in_rounds=True, noise=NOISE),
    Way("at once, 2,000", 2000),
    Way("the 9,289 rows at once", 0, rows=True),
    Way("the default", 0, model=True),
    Way("the default, resolution free", 0, model=True, free=True),
)


@dataclass(frozen=True)
class Problem:
    """Costs, the truth, and the best accuracies known under `BUDGETS_MS`."""

    costs: CostModel
    truth: Callable[[Tokens], Array]
    best_known: tuple[float, ...]

    @classmethod
    def of(cls, free: bool) -> Problem:
        """At 224 pixels, or with a free resolution."""
        predictor = PublishedPredictor.load()
        if free:
            return cls(free_costs(), FreeTruth(predictor), BEST_KNOWN_FREE)
        return cls(note10_costs(), predictor, BEST_KNOWN)


@dataclass(frozen=True)
class Judged:
    """One training. Lists follow the budgets: accuracies lost and predicted - true, in points."""

    way: str
    seed: int
    seconds: float
    lost: list[float]
    optimism: list[float]
    stated_error: list[float]
    best_known_lost: list[float]


def main() -> None:
    """Train what is missing; write `results/imagenet_learning.md`."""
    options = parse()
    if not available():
        raise SystemExit("once-for-all's predictor and Note10 table are not in ../shared/data; there is nothing to run")
    before, problems = machine(), {free: Problem.of(free) for free in (False, True)}
    chosen = [way for way in WAYS if not options.ways or any(word in way.name for word in options.ways)]
    journal = options.out / "imagenet.jsonl"
    journal.parent.mkdir(parents=True, exist_ok=True)
    done = {(row.way, row.seed): row for row in read(journal)}
    wanted = [(way, seed) for way in chosen for seed in range(options.seeds if seeded(way) else 1)]
    with Progress("training", len(wanted)) as progress, journal.open("a", encoding="utf-8") as file:
        for way, seed in wanted:
            if (way.name, seed) not in done:
                done[way.name, seed] = judge(problems[way.free], way, seed)
                file.write(json.dumps(asdict(done[way.name, seed])) + "\n")
                file.flush()
            progress.advance(1, f"{way.name}, seed {seed}")
    rows = [row_of(way, [done[way.name, seed] for w, seed in wanted if w is way]) for way in chosen]
    notes = [
        f"Accuracy lost against the best networks known (found by long search: {shown(BEST_KNOWN)}; where the "
        f"resolution is free: {shown(BEST_KNOWN_FREE)}), in points; ± are 95 % intervals over the seeds. "
        "Predicted - true is of the answers, beside it the error that they state.",
        f"In rounds: {rounds_of(2000)[0]} or {rounds_of(500)[0]} accuracies at first, the others in {ROUNDS} rounds.",
    ]
    report("imagenet_learning", f"PNAG on a truth of others, {options.seeds} seeds", rows, notes,
           folder=options.folder, measured_on=before)  # fmt: skip


def parse() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--ways", nargs="*", help="only those whose names contain one of these words")
    parser.add_argument("--out", type=Path, default=Path("runs/imagenet-learning"))
    parser.add_argument("--folder", type=Path, default=RESULTS)
    return parser.parse_args()


def seeded(way: Way) -> bool:
    """Whether seeds make a difference to what is learnt from, or to a search of all budgets."""
    return not way.rows


def judge(problem: Problem, way: Way, seed: int) -> Judged:
    """Train, answer the budgets, compare with the truth."""
    costs, truth, best_known = problem.costs, problem.truth, np.array(problem.best_known)
    rng, budgets = np.random.default_rng([seed, 61]), np.array(BUDGETS_MS)

    def ask(tokens: Tokens) -> Array:
        return np.clip(truth(tokens) + way.noise * rng.standard_normal(len(tokens)), 0, 1)

    started = time.perf_counter()
    generator, tokens, accuracy = trained(costs, way, seed, ask, rng)
    seconds = time.perf_counter() - started
    found = generator.generate_many(budgets.tolist(), confidence=0.5)
    answers = generator.space.encode([candidate.architecture for candidate in found])
    assert (costs(answers) <= budgets).all()
    best = Pool(tokens, costs(tokens), accuracy).best(budgets, fallback=cheapest_tokens(costs)[0])
    true = truth(answers)
    return Judged(
        way.name, seed, seconds,
        lost=(100 * (best_known - true)).tolist(),
        optimism=(100 * (np.array([c.accuracy for c in found]) - true)).tolist(),
        stated_error=[100 * c.accuracy_error for c in found],
        best_known_lost=(100 * (best_known - truth(best))).tolist(),
    )  # fmt: skip


def trained(
    costs: CostModel, way: Way, seed: int, ask: Callable[[Tokens], Array], rng: np.random.Generator
) -> tuple[Generator, Tokens, Array]:
    """The generator with all accuracies that it was learnt from."""
    space = costs.space
    assert isinstance(space, SearchSpace)
    options: dict[str, Any] = {"seed": seed}
    if way.in_rounds:
        first, per_round = rounds_of(way.evaluations)
        return train_in_rounds(space, costs, ask, first=first, rounds=ROUNDS, per_round=per_round, **options)
    if way.model:
        archive = AccuracyArchive.load(SHIPPED[DEFAULT], space)
        tokens, accuracy = archive.tokens, archive.accuracy
        options["learnt"] = model_of(SHIPPED[DEFAULT], archive)
    elif way.rows:
        tokens, accuracy = known_rows(space)
    else:
        tokens = space.sample(way.evaluations, rng)
        accuracy = ask(tokens)
    return train_generator(space, costs, tokens, accuracy, **options), tokens, accuracy


def shown(best: Sequence[float]) -> str:
    """The best known accuracy of each budget."""
    return ", ".join(f"{100 * value:.2f} % at {budget:g} ms" for value, budget in zip(best, BUDGETS_MS, strict=True))


def row_of(way: Way, results: Sequence[Judged]) -> dict[str, Any]:
    """A line of the table."""
    lost = np.array([result.lost for result in results])
    row: dict[str, Any] = {"way": way.name}
    row |= {f"{budget:g} ms": f"{value:.2f}" for budget, value in zip(BUDGETS_MS, lost.mean(axis=0), strict=True)}
    mean, half = interval(lost.mean(axis=1).tolist())
    row["mean lost"] = f"{mean:.3f} ± {half:.3f}" if len(results) > 1 else f"{mean:.3f}"
    goal = _MEAN_GOALS.get(way.name)
    row["goal"] = "" if goal is None else f"{goal:g}, {'met' if mean <= goal else 'not met'}"
    row["best evaluated, mean lost"] = f"{np.mean([result.best_known_lost for result in results]):.3f}"
    row["predicted - true"] = f"{np.mean([result.optimism for result in results]):+.3f}"
    row["stated error"] = f"{np.mean([result.stated_error for result in results]):.3f}"
    row["training (s)"] = float(np.median([result.seconds for result in results]))
    return row


def read(journal: Path) -> list[Judged]:
    """Trainings that are done already; a line that was cut off is passed over."""
    if not journal.is_file():
        return []
    lines = journal.read_text(encoding="utf-8").splitlines(keepends=True)
    return [Judged(**json.loads(line)) for line in lines if line.endswith("\n")]


if __name__ == "__main__":
    main()
