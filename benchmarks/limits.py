"""Networks that keep several limits at once: `python -m benchmarks.limits --from RUN --also TABLE`.

In 40 combinations of a budget on the run's table, one on another table and a number of parameters: whether the answer
keeps all of them, and how much better a network a long search finds with the same predictor. The long search starts
from the best of thousands of networks, refines dozens of them together, crosses the best, and does so again. Also
timed: whole commands with these options, in processes of their own.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.generate_cpu import Figure, timed
from benchmarks.report import RESULTS, machine, report
from pnag.delivery.limits import counted, other_tables
from pnag.generator.generate import Candidate, Generator
from pnag.search.evaluator import RuleEvaluator
from pnag.search.limits import Bounds, Limit
from pnag.search.refine import Refiner
from pnag.space.sampling import sample_tilted
from pnag.space.tokens import Tokens, unit_tokens
from profiler.console import Progress

Array = NDArray[np.float64]

COMBINATIONS, COLD = 40, 10
LOST_GOAL, COLD_GOAL_S = 0.1, 0.7  # points of accuracy, seconds
LEAST, MOST = 0.05, 0.8  # of the way from the cheapest to the dearest network
DRAWN, TOGETHER, GENERATIONS = 6000, 32, 4


def main() -> None:
    """Ask, search long, time; write `results/limits.md`."""
    options = parse()
    before, generator = machine(), Generator.load(options.from_)
    words = combinations(generator, options.also, options.combinations)
    lost, kept, binding, seconds = [], 0, [], 0.0
    with Progress("searching", len(words)) as progress:
        for number, (budget, also, params) in enumerate(words):
            further = [
                *other_tables([f"{options.also}={also}"], generator.space, 0.95),
                *counted(generator.space, max_params=f"{params}", max_macs=None, max_size=None, files=()),
            ]
            found = generator.generate(budget, further=further)
            kept += all_kept(found)
            binding.append(sum(one.binds for one in found.kept))
            started_s = time.perf_counter()
            lost.append(100 * behind(generator, found, further, np.random.default_rng([1, number])))
            seconds += time.perf_counter() - started_s
            progress.advance()
    cold = [cold_start(options.from_, options.also, words[i % len(words)]) for i in range(options.cold)]
    figures = [
        Figure("limits kept, margins included", f"{kept} of {len(words)}", "all", kept == len(words)),
        Figure("behind a long search, worst (points)", f"{max(lost):.3f}", f"<= {LOST_GOAL}", max(lost) <= LOST_GOAL),
        Figure("the same, mean (points)", f"{statistics.mean(lost):.3f}"),
        Figure("combinations in which several limits bind", f"{sum(n > 1 for n in binding)} of {len(words)}"),
        Figure("combinations in which none binds", f"{binding.count(0)} of {len(words)}"),
        Figure("one long search (s)", f"{seconds / len(words):.1f}"),
    ]
    if cold:
        median = statistics.median(cold)
        figures += [
            Figure(f"cold, median of {len(cold)} (s)", f"{median:.2f}", f"<= {COLD_GOAL_S}", median <= COLD_GOAL_S),
            Figure("the same, worst (s)", f"{max(cold):.2f}"),
        ]
    low, high = generator.range_ms
    notes = [
        f"The run learnt from {generator.provenance} over the table of {generator.metadata.get('device')}, "
        f"{generator.metadata.get('runtime')} ({low:.4g} to {high:.4g} ms); the other table is {options.also}.",
        f"Limits are drawn evenly between {LEAST:.0%} and {MOST:.0%} of the way from the cheapest to the dearest "
        "network of each. What is compared is what the search compares: the predicted accuracy less its doubt.",
    ]
    report(
        "limits",
        "Several limits at once",
        [figure.row() for figure in figures],
        notes,
        folder=options.results,
        measured_on=before,
    )


def combinations(generator: Generator, also: str, n: int) -> list[tuple[float, float, int]]:
    """Budgets in ms by both tables, and parameters."""
    rng = np.random.default_rng(0)
    (other,) = other_tables([f"{also}=1"], generator.space, 0.95)
    (parameters,) = counted(generator.space, max_params="1", max_macs=None, max_size=None, files=())
    margin = 1 + generator.margin(0.95)
    ranges = [tuple(bound * margin for bound in generator.range_ms), other.range, parameters.range]
    drawn = rng.uniform(LEAST, MOST, (n, 3))
    return [
        (float(own), float(theirs), int(count))
        for own, theirs, count in (
            [low + share * (high - low) for share, (low, high) in zip(row, ranges, strict=True)] for row in drawn
        )
    ]


def all_kept(found: Candidate) -> bool:
    """Whether each limit is kept with its margin, as its own model says it."""
    return all(one.cost * (1 + one.limit.margin) <= one.limit.most for one in found.kept)


def behind(generator: Generator, found: Candidate, further: Sequence[Limit], rng: np.random.Generator) -> float:
    """By how much a network from a long search is better, as a fraction; below 0 where the answer is."""
    evaluator = generator.evaluator
    assert isinstance(evaluator, RuleEvaluator)
    within = Bounds.of(generator.costs, np.array([found.limit_ms]), further)
    best = evaluator.worth(long_search(generator, evaluator, within, rng))[0]
    return float(best - evaluator.worth(generator.space.encode([found.architecture]))[0])


def long_search(generator: Generator, evaluator: RuleEvaluator, within: Bounds, rng: np.random.Generator) -> Tokens:
    """The best network found within the bounds of one question, shape (1, length)."""
    space = generator.space
    refiner = Refiner(evaluator, generator.costs, 60, within.models[1:])

    def best_of(pool: Tokens, n: int) -> Tokens:
        pool = np.unique(pool, axis=0)
        scores = refiner.score(pool, np.repeat(within.bounds, len(pool), axis=1))
        return pool[np.argsort(-scores, kind="stable")[:n]]

    known = generator.known if generator.known is not None else space.sample(1, rng)
    pool = np.concatenate([sample_tilted(space, DRAWN, rng), known])
    starts = np.concatenate([best_of(pool, TOGETHER // 2), rng.permutation(pool)[: TOGETHER // 2]])
    found = starts[:0]
    for _ in range(GENERATIONS):
        refined, _ = refiner.across(starts, np.repeat(within.bounds, len(starts), axis=1))
        found = best_of(np.concatenate([found, refined]), TOGETHER)
        units = unit_tokens(space, found)
        crossed = units[rng.integers(len(units), size=(20 * TOGETHER, space.units)), np.arange(space.units)]
        flat = crossed.reshape(len(crossed), -1)
        sides = found[rng.integers(len(found), size=len(flat)), flat.shape[1] :]
        starts = best_of(np.concatenate([flat, sides], axis=1), TOGETHER)
    return best_of(found, 1)


def cold_start(run: Path, also: str, words: tuple[float, float, int]) -> float:
    """Seconds of a whole command."""
    budget, theirs, params = words
    options = ["--from", str(run), "--also", f"{also}={theirs}ms", "--max-params", f"{params}"]
    return timed("pnag.cli_generate", [f"{budget}ms", *options])[0]


def parse() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="from_", type=Path, required=True, help="a run of pnag-train")
    parser.add_argument("--also", required=True, help="another table of the same space")
    parser.add_argument("--combinations", type=int, default=COMBINATIONS)
    parser.add_argument("--cold", type=int, default=COLD)
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
