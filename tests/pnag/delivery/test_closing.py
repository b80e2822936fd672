"""The loop of measuring and answering again, on a device whose networks take longer or less than predicted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from pnag.delivery.closing import ATTEMPTS, close_loop
from pnag.delivery.rows import Rows, row_of
from pnag.generator.corrected import Tried, best_of, next_try
from pnag.generator.generate import Candidate, Generator
from pnag.generator.learning import train_generator
from tests.tables import TINY, made_up_table


@pytest.fixture(scope="module")
def generator() -> Generator:
    costs = TINY.cost_model(made_up_table(TINY))
    tokens = TINY.sample(200, np.random.default_rng(0))
    tokens = np.unique(tokens, axis=0)
    accuracy = 0.6 + 0.1 * np.sqrt(costs(tokens) - costs.range_ms[0] + 0.01)
    return train_generator(TINY, costs, tokens, accuracy, method="random", residuals=(-0.02, 0.0, 0.02))


def close(generator: Generator, budget_ms: float, device: Callable[[Candidate], float]) -> list[Tried]:
    candidate = generator.generate(budget_ms)
    tried = [Tried(candidate, device(candidate))]
    while len(tried) < ATTEMPTS and (further := next_try(generator, tried)) is not None:
        tried.append(Tried(further, device(further)))
    return tried


@pytest.mark.parametrize("factor", [0.9, 0.97, 1.0, 1.08, 1.2])
def test_the_loop_ends_within_the_budget_and_near_it(generator: Generator, factor: float) -> None:
    low, high = (bound * max(1.0, factor) for bound in generator.range_ms)
    for budget in np.linspace(low * 1.1, high * 0.98, 7).tolist():
        tried = close(generator, budget, lambda candidate: factor * candidate.cost_ms)
        best = tried[best_of(tried)]
        assert best.kept
        first = tried[0]
        if first.kept and len(tried) > 1:
            assert best.candidate.accuracy >= first.candidate.accuracy


def test_a_network_that_uses_its_budget_up_ends_the_loop(generator: Generator) -> None:
    budget = sum(generator.range_ms) / 2
    tried = close(generator, budget, lambda candidate: 0.99 * budget)
    assert len(tried) == 1


def test_where_nothing_is_fast_enough_the_nearest_is_the_answer(generator: Generator) -> None:
    budget = generator.range_ms[0] * 1.2
    tried = close(generator, budget, lambda candidate: 3 * candidate.cost_ms)
    best = tried[best_of(tried)]
    assert not best.kept
    assert best.measured_ms == min(one.measured_ms for one in tried)


class Device:
    """Writes a file for each network, and measures `factor` times what was predicted; ends when `ends` is raised."""

    def __init__(self, factor: float, ends: BaseException | None = None) -> None:
        self.factor, self.ends, self.seen = factor, ends, list[Candidate]()

    def __call__(self, found: Sequence[Candidate], paths: Sequence[tuple[Path, ...]], rows: Rows) -> None:
        for candidate, files, row in zip(found, paths, rows, strict=True):
            for path in files:
                path.write_text(str(candidate.architecture))
                row["exports"].append({"path": str(path)})
            if self.seen and self.ends is not None:
                raise self.ends
            self.seen.append(candidate)
            row |= {"measured_ms": self.factor * candidate.cost_ms, "device_slowdown": 0.0}
            row |= {"kept": row["measured_ms"] <= candidate.budget_ms, "measured_file": str(files[0])}


def first(generator: Generator, device: Device, path: Path) -> tuple[list[Candidate], Rows, list[tuple[Path, ...]]]:
    """What a first network measures, in its file."""
    found = [generator.generate(0.97 * generator.range_ms[1])]
    rows, paths = [row_of(found[0], generator)], [(path,)]
    device(found, paths, rows)
    return found, rows, paths


@pytest.mark.parametrize("factor", [0.8, 1.1])
def test_the_file_is_that_of_the_best_network_and_the_others_are_gone(
    generator: Generator, tmp_path: Path, factor: float
) -> None:
    device = Device(factor)
    found, rows, paths = first(generator, device, tmp_path / "net.json")
    (row,) = close_loop(generator, found, rows, paths, attempts=ATTEMPTS, attempt=device)
    assert row["attempts"] == len(device.seen) == len(row["tried"]) > 1
    assert row["kept"]
    assert row["architecture"] != str(found[0].architecture)
    assert [path.name for path in tmp_path.iterdir()] == ["net.json"]
    assert (tmp_path / "net.json").read_text() == row["architecture"]
    assert row["measured_file"] == row["exports"][0]["path"] == str(tmp_path / "net.json")


def test_an_interrupted_attempt_leaves_the_first_file_and_no_other(generator: Generator, tmp_path: Path) -> None:
    device = Device(1.1, KeyboardInterrupt())
    found, rows, paths = first(generator, device, tmp_path / "net.json")
    with pytest.raises(KeyboardInterrupt):
        close_loop(generator, found, rows, paths, attempts=ATTEMPTS, attempt=device)
    assert [path.name for path in tmp_path.iterdir()] == ["net.json"]
    assert (tmp_path / "net.json").read_text() == str(found[0].architecture)
