"""The trainings behind `benchmarks.paper_tables`: every method, K and seed, in processes of their own, resumably.

The truth that all are judged by is a surrogate: the predictor learnt from the whole of a measured archive.
Asked for an accuracy, it answers with the noise that the archive was found to have. Each method is given the
same number of answers; what it generates is judged without noise. So differences between methods are
differences of the methods, and the best network under a budget can be searched for without limit.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lut.journal import LineJournal, read_lines
from lut.table import LatencyTable
from pnag.accuracy.archive import AccuracyArchive
from pnag.accuracy.predictor import AccuracyPredictor
from pnag.accuracy.predictor_fit import fit_predictor
from pnag.generator.generate import Generator
from pnag.generator.learning import ROUNDS, rounds_of, train_generator, train_in_rounds
from pnag.generator.policy import PolicySettings
from pnag.generator.sampler import Policy
from pnag.search.frontier import hypervolume
from pnag.space.cost import CostModel
from pnag.space.search_space import SearchSpace
from pnag.space.tokens import Tokens
from profiler.console import Progress

Array = NDArray[np.float64]

IN_ROUNDS = "pnag-rounds"  # PNAG that asks for its last evaluations where it needs them
SAME = "pnag-same"  # PNAG trained on the archive as it is, so that its predictor is the truth itself
FRONTIER_POINTS = 60
DRAWN = 1000


@dataclass(frozen=True)
class Cell:
    """One training: a method (or `IN_ROUNDS`, `SAME`) with K anchor budgets under a seed on a table."""

    table: str
    method: str
    k: int
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What one training gave. Accuracies are the truth's; lists follow the five budgets unless said.

    `frontier_*` are of `FRONTIER_POINTS` budgets over the range; `drawn_ms` holds the costs of `DRAWN` bare
    samples for each of the five budgets, empty for methods that have no generator.
    """

    cell: Cell
    seconds: float
    answer_s: float
    architectures: list[str]
    cost_ms: list[float]
    accuracy: list[float]
    frontier_ms: list[float]
    frontier_accuracy: list[float]
    drawn_ms: list[list[float]] = field(default_factory=list)


@dataclass(frozen=True)
class Setting:
    """What all trainings on one table share."""

    table: Path
    archive: Path
    evaluations: int

    @cached_property
    def costs(self) -> CostModel:
        """c(a) of the table."""
        table = LatencyTable.load(self.table)
        return SearchSpace.from_dict(table.metadata.space).cost_model(table)

    @property
    def space(self) -> SearchSpace:
        """The table's space."""
        return self.costs.space

    @cached_property
    def measured(self) -> AccuracyArchive:
        """The archive of measured accuracies."""
        return AccuracyArchive.load(self.archive, self.space)

    @property
    def at_random(self) -> int:
        """How many of the archive's networks, its first, were drawn at random: what came after a generator proposed."""
        counts = self.measured.source.get("recipe", {}).get("architectures", {})
        return int(counts.get("over the range", len(self.measured)))

    @cached_property
    def truth(self) -> AccuracyPredictor:
        """The surrogate that everything is judged by."""
        return fit_predictor(self.space, self.measured.tokens, self.measured.accuracy)

    @cached_property
    def budgets_ms(self) -> Array:
        """The five budgets, evenly spaced inside the range, as the source's lie inside that of its phone."""
        low, high = self.costs.range_ms
        return np.linspace(low, high, 7)[1:-1]

    @cached_property
    def frontier_budgets_ms(self) -> Array:
        """Budgets over the whole range."""
        return np.linspace(*self.costs.range_ms, FRONTIER_POINTS + 1)[1:]

    @cached_property
    def worst(self) -> tuple[float, float]:
        """The corner that hypervolumes are measured from: the dearest cost, the lowest measured accuracy."""
        return self.costs.range_ms[1], float(self.measured.accuracy.min())

    def volume(self, cost_ms: Sequence[float], accuracy: Sequence[float]) -> float:
        """Hypervolume in ms times accuracy."""
        return hypervolume(cost_ms, accuracy, worst=self.worst)

    def answers(self, tokens: Tokens, rng: np.random.Generator) -> Array:
        """What is said to a method that asks for accuracies, shape (n,)."""
        return np.clip(self.truth(tokens) + rng.normal(0, self.truth.noise, len(tokens)), 0, 1)


def run_cell(setting: Setting, cell: Cell) -> Outcome:
    """Train, generate for all budgets, judge."""
    rng = np.random.default_rng([cell.seed, 41])
    started = time.perf_counter()
    generator = _trained(setting, cell, rng)
    seconds = time.perf_counter() - started
    started = time.perf_counter()
    answers = generator.generate_many(setting.budgets_ms.tolist(), confidence=0.5)
    answer_s = time.perf_counter() - started
    tokens = setting.space.encode([answer.architecture for answer in answers])
    wide = generator.generate_many(setting.frontier_budgets_ms.tolist(), confidence=0.5)
    wide_tokens = setting.space.encode([answer.architecture for answer in wide])
    drawn: list[list[float]] = []
    if isinstance(generator.proposer, Policy):
        drawn = [setting.costs(generator.sample(b, DRAWN, cell.seed)).tolist() for b in setting.budgets_ms.tolist()]
    return Outcome(
        cell=cell,
        seconds=seconds,
        answer_s=answer_s,
        architectures=[str(answer.architecture) for answer in answers],
        cost_ms=setting.costs(tokens).tolist(),
        accuracy=setting.truth(tokens).tolist(),
        frontier_ms=setting.costs(wide_tokens).tolist(),
        frontier_accuracy=setting.truth(wide_tokens).tolist(),
        drawn_ms=drawn,
    )


def _trained(setting: Setting, cell: Cell, rng: np.random.Generator) -> Generator:
    space, costs, settings = setting.space, setting.costs, PolicySettings(k=cell.k)
    if cell.method == SAME:
        measured = setting.measured
        return train_generator(space, costs, measured.tokens, measured.accuracy, seed=cell.seed, settings=settings)
    chosen = rng.permutation(setting.at_random)
    if len(chosen) < setting.evaluations:
        raise SystemExit(
            f"the archive has {len(chosen)} architectures at random, fewer than --evaluations {setting.evaluations}"
        )
    if cell.method == IN_ROUNDS:
        first, per_round = rounds_of(setting.evaluations)
        tokens = setting.measured.tokens[chosen[:first]]
        generator, _, _ = train_in_rounds(
            space, costs, lambda asked: setting.answers(asked, rng), tokens=tokens,
            accuracy=setting.answers(tokens, rng), rounds=ROUNDS, per_round=per_round,
            seed=cell.seed, settings=settings,
        )  # fmt: skip
        return generator
    tokens = setting.measured.tokens[chosen[: setting.evaluations]]
    return train_generator(
        space, costs, tokens, setting.answers(tokens, rng), method=cell.method, seed=cell.seed, settings=settings,
        ask=lambda asked: setting.answers(asked, rng), searched_ms=tuple(setting.budgets_ms.tolist()),
    )  # fmt: skip


def run_all(settings: dict[str, Setting], cells: Sequence[Cell], journal: Path, workers: int) -> list[Outcome]:
    """All outcomes in the order of `cells`; those in `journal` (JSON lines) are not run again."""
    done = {outcome.cell: outcome for outcome in _read(journal)}
    missing = [cell for cell in cells if cell not in done]
    for setting in settings.values():
        _ = setting.truth  # learnt here, once: it goes to the processes with the setting
    with (
        Progress("training", len(cells)) as progress,
        ProcessPoolExecutor(workers, get_context("spawn"), initializer=_one_thread) as pool,
        LineJournal(journal) as lines,
    ):
        progress.advance(len(cells) - len(missing))
        for future in as_completed(pool.submit(run_cell, settings[cell.table], cell) for cell in missing):
            outcome = future.result()
            done[outcome.cell] = outcome
            lines.append([asdict(outcome)])
            progress.advance(1, f"{outcome.cell.method}, seed {outcome.cell.seed}")
    return [done[cell] for cell in cells]


def _one_thread() -> None:
    """Processes share the cores: each takes one, however many there are."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    threadpool_limits(1)


def _read(journal: Path) -> Iterator[Outcome]:
    for row in read_lines(journal):
        yield Outcome(**{**row, "cell": Cell(**row["cell"])})
