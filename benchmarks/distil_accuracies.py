"""Distil a published predictor into the small network that ships: `python -m benchmarks.distil_accuracies`.

    python -m benchmarks.distil_accuracies --minutes 20 --out pnag/accuracy/archives/imagenet-w1.2-distilled.npz

Figures are worked out with once-for-all's predictor (`benchmarks.imagenet_truth`) for random architectures, for ones
tilted to small or large choices, and for ones met on the way to the best under made-up additive costs
(multiply-accumulates times random factors; no device's table has a part). The network learns them; then it is
searched under further made-up costs, what it answers is worked out too, and it learns on: where it is too hopeful, that
is found and corrected. Where it is not hopeful enough, only the predictor itself shows: it is searched in the same way,
from the best architectures known. The error is measured on answers and random architectures that took no part. It takes
as long as it is given.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.imagenet_truth import PublishedPredictor, known_rows
from lut.calibration.ranks import rank_correlation
from lut.files import replacing
from pnag.accuracy.network import AccuracyNetwork
from pnag.accuracy.predictor import LayerCodes
from pnag.search.evaluator import RuleEvaluator
from pnag.search.refine import Refiner
from pnag.space.cost import CostModel
from pnag.space.sampling import sample_tilted
from pnag.space.search_space import SearchSpace
from pnag.space.spaces import load_space
from pnag.space.tokens import Tokens

Array = NDArray[np.float64]
Weights = NDArray[np.float32]

RESOLUTIONS = (160, 176, 192, 208, 224)
_WIDTHS = (256, 128, 64)
_FIRST, _PER_SEARCH, _BUDGETS = 30_000, 4, 96
_FOLLOWED = 40  # budgets of a search under the published predictor itself, which takes longer
_BATCH = 256
_ROUGHNESS = 0.6  # of the made-up costs, as a standard deviation of the logarithm
_LOCAL_STEPS = 4


@dataclass
class Figures:
    """Architectures with resolutions and accuracies, as they come in."""

    tokens: list[Tokens]
    resolution: list[NDArray[np.int64]]
    accuracy: list[Array]

    def add(self, teacher: PublishedPredictor, tokens: Tokens, resolution: NDArray[np.int64]) -> Array:
        """Work the accuracies of these out, (n,), and keep all of it."""
        accuracy = figures_of(teacher, tokens, resolution)
        self.tokens.append(tokens)
        self.resolution.append(resolution)
        self.accuracy.append(accuracy)
        return accuracy


def figures_of(teacher: PublishedPredictor, tokens: Tokens, resolution: NDArray[np.int64]) -> Array:
    """The published predictor's accuracies of architectures (n, length), each at its resolution (n,)."""
    out = np.empty(len(tokens))
    for side in RESOLUTIONS:
        rows = resolution == side
        out[rows] = replace(teacher, resolution=side)(tokens[rows])
    return out


class Student:
    """The network in training, as torch parameters."""

    def __init__(
        self, space: SearchSpace, mean: float, scale: float, seed: int, start: AccuracyNetwork | None = None
    ) -> None:
        rng = torch.Generator().manual_seed(seed)
        codec = LayerCodes(space)
        sizes = (codec.layers * (len(space.kernels) + len(space.expands)) + len(RESOLUTIONS), *_WIDTHS, 1)
        self.space, self._mean, self._scale = space, mean, scale
        self._weights = [
            torch.randn(a, b, generator=rng) * (2 / (40 if i == 0 else a)) ** 0.5
            for i, (a, b) in enumerate(pairwise(sizes))
        ]
        self._biases = [torch.zeros(b) for b in sizes[1:]]
        if start is not None:
            for own, (weight, bias) in zip(zip(self._weights, self._biases, strict=True), start.layers, strict=True):
                own[0].copy_(torch.as_tensor(weight))
                own[1].copy_(torch.as_tensor(bias))
            self._weights[-1] /= scale
            self._biases[-1].sub_(mean).div_(scale)
        for parameter in (*self._weights, *self._biases):
            parameter.requires_grad_()
        self.optimiser = torch.optim.Adam([*self._weights, *self._biases], lr=1e-3)

    def inputs(self, tokens: Tokens, resolution: NDArray[np.int64]) -> Weights:
        """Shape (n, inputs): kernels, expand ratios and the resolution, one-hot."""
        space = self.space
        by_unit = np.asarray(tokens, dtype=np.int64).reshape(len(tokens), space.units, -1)
        parts = []
        for first, choices in ((2, len(space.kernels)), (1, len(space.expands))):
            values = by_unit[:, :, first::2].reshape(len(tokens), -1, 1)
            parts.append((values == np.arange(1, choices + 1)).reshape(len(tokens), -1))
        parts.append(resolution[:, None] == np.array(RESOLUTIONS))
        return np.concatenate(parts, axis=1).astype(np.float32)

    def learn(self, x: Weights, y: Array, *, until_s: float, rates: tuple[float, float], passes: float) -> None:
        """Adam on the squared error with a falling rate, for so many passes or until that time."""
        target = torch.as_tensor((y - self._mean) / self._scale, dtype=torch.float32)
        rows, steps = torch.as_tensor(x), int(passes * len(x) / _BATCH)
        rng = torch.Generator().manual_seed(len(x))
        for step in range(steps):
            if time.monotonic() > until_s:
                break
            done = step / steps
            for group in self.optimiser.param_groups:
                group["lr"] = rates[1] + (rates[0] - rates[1]) * (1 + np.cos(np.pi * done)) / 2
            index = torch.randint(len(x), (_BATCH,), generator=rng)
            hidden = rows[index]
            for number, (weight, bias) in enumerate(zip(self._weights, self._biases, strict=True)):
                hidden = hidden @ weight + bias
                hidden = torch.relu(hidden) if number < len(self._weights) - 1 else hidden
            loss = torch.square(hidden[:, 0] - target[index]).mean()
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()

    def network(self, error: float = 0.0, correlation: float = 0.0) -> AccuracyNetwork:
        """What it is now, for numpy; outputs are accuracies as fractions."""
        layers = [
            (w.detach().numpy().copy(), b.detach().numpy().copy())
            for w, b in zip(self._weights, self._biases, strict=True)
        ]
        weight, bias = layers[-1]
        layers[-1] = (weight * np.float32(self._scale), bias * np.float32(self._scale) + np.float32(self._mean))
        return AccuracyNetwork(self.space, tuple(layers), RESOLUTIONS, RESOLUTIONS[-1:], error, correlation)


def made_up_cost(space: SearchSpace, rng: np.random.Generator) -> CostModel:
    """Multiply-accumulates of blocks, in millions, times random factors."""
    macs = space.macs_model()
    rough = _ROUGHNESS * rng.random()
    layer = macs.layer_ms / 1e6 * np.exp(rng.normal(0, rough, macs.layer_ms.shape))
    return CostModel(space, macs.constant_ms / 1e6, layer)


def searched(
    network: AccuracyNetwork, pool: Tokens, rng: np.random.Generator, steps: int, n: int = _BUDGETS
) -> tuple[Tokens, NDArray[np.int64]]:
    """Answers of the network to `n` budgets under made-up costs, from the best of `pool`, and their resolutions."""
    space = network.space
    assert isinstance(space, SearchSpace)
    costs, resolution = made_up_cost(space, rng), int(rng.choice(RESOLUTIONS, p=[0.1, 0.1, 0.1, 0.1, 0.6]))
    network = network.at(resolution)
    budgets = rng.uniform(*costs.range_ms, n)
    evaluator = RuleEvaluator(network)
    scores = evaluator.combine(network(pool)[None], costs(pool)[None], budgets[:, None])
    near = np.argpartition(-scores, 8, axis=1)[np.arange(n), rng.integers(0, 8, n)]
    found = Refiner(evaluator, costs, steps)(pool[near], budgets)
    return found, np.full(len(found), resolution)


def changed(tokens: Tokens, space: SearchSpace, rng: np.random.Generator) -> Tokens:
    """Each architecture with some tokens drawn again."""
    fresh = space.sample(len(tokens), rng)
    full = np.where(tokens > 0, tokens, fresh)
    again = rng.random(full.shape) < rng.choice([0.02, 0.05, 0.15], size=(len(full), 1))
    return space.canonical(np.where(again, np.maximum(fresh, full * (fresh == 0)), full))


def main() -> None:
    """Distil for as long as is given, save, print the errors."""
    options = parse()
    torch.set_num_threads(1)
    started, rng, space = time.monotonic(), np.random.default_rng(options.seed), load_space()
    end_s = started + 60 * options.minutes
    teacher, figures = PublishedPredictor.load(), Figures([], [], [])
    known = known_rows(space)[0]
    first = np.concatenate([space.sample(_FIRST // 2, rng), sample_tilted(space, _FIRST - _FIRST // 2, rng), known])
    figures.add(teacher, first, rng.choice(RESOLUTIONS, len(first)))
    figures.add(teacher, known, np.full(len(known), RESOLUTIONS[-1]))
    start = AccuracyNetwork.load(options.start, space) if options.start else None
    student = Student(space, float(figures.accuracy[0].mean()), float(figures.accuracy[0].std()), options.seed, start)
    teach(student, figures, until_s=end_s, rates=(2e-3, 1e-3), passes=2 if start else 6)
    published = AccuracyNetwork(space, teacher.layers, tuple(range(112, 240, 16)), RESOLUTIONS[-1:], 0.0, 1.0)
    pool = np.concatenate([first, known])
    while time.monotonic() < started + 0.8 * (end_s - started):
        network = student.network()
        missed = []
        for _ in range(options.searches):
            found, resolution = searched(network, pool, rng, _LOCAL_STEPS if rng.random() < 0.5 else 30)
            near = np.concatenate([found] + [changed(found, space, rng) for _ in range(_PER_SEARCH)])
            truth = figures.add(teacher, near, np.tile(resolution, 1 + _PER_SEARCH))
            missed.append(network.at(int(resolution[0]))(found) - truth[: len(found)])
            pool = np.concatenate([pool[-40_000:], found])
        found, resolution = searched(published, pool[-8000:], rng, _LOCAL_STEPS, _FOLLOWED)
        near = np.concatenate([found] + [changed(found, space, rng) for _ in range(3 * _PER_SEARCH)])
        figures.add(teacher, near, np.tile(resolution, 1 + 3 * _PER_SEARCH))
        missed_low = student.network().at(int(resolution[0]))(found) - figures.accuracy[-1][: len(found)]
        pool = np.concatenate([pool, found])
        teach(student, figures, until_s=end_s, rates=(1e-3, 5e-4), passes=options.passes)
        errors = 100 * np.concatenate(missed)
        print(
            f"{(time.monotonic() - started) / 60:5.1f} min, {sum(map(len, figures.accuracy))} figures, answers before "
            f"they were learnt: error {np.sqrt(np.mean(errors**2)):.3f} points, bias {errors.mean():+.3f}; bias at the "
            f"predictor's own {100 * missed_low.mean():+.3f}",
            flush=True,
        )
        save(student, teacher, pool, rng, options.out, quiet=True)
    teach(student, figures, until_s=end_s, rates=(7e-4, 1e-5), passes=1e9 if options.minutes else 1, settle=True)
    save(student, teacher, pool, rng, options.out)


def teach(
    student: Student,
    figures: Figures,
    *,
    until_s: float,
    rates: tuple[float, float],
    passes: float,
    settle: bool = False,
) -> None:
    """Learn all figures so far; to settle, the passes are those for which there is time."""
    x = np.concatenate([student.inputs(t, r) for t, r in zip(figures.tokens, figures.resolution, strict=True)])
    y = np.concatenate(figures.accuracy)
    if settle:
        started = time.monotonic()
        student.learn(x, y, until_s=until_s, rates=(rates[0], rates[0]), passes=0.2)
        passes = max(0.5, 0.9 * 0.2 * (until_s - time.monotonic()) / max(time.monotonic() - started, 1e-3))
    student.learn(x, y, until_s=until_s, rates=rates, passes=passes)


def save(
    student: Student, teacher: PublishedPredictor, pool: Tokens, rng: np.random.Generator, path: Path, *,
    quiet: bool = False,
) -> None:  # fmt: skip
    """Write the network with its error on fresh answers, half of the weight, and on random architectures."""
    network, space = student.network(), student.space
    errors: dict[str, Array] = {"random": np.empty(0)}
    tokens = space.sample(4000, rng)
    at = rng.choice(RESOLUTIONS, len(tokens))
    predicted, truth = predictions(network, tokens, at), figures_of(teacher, tokens, at)
    errors["random"] = predicted - truth
    correlation = rank_correlation(predicted, truth)
    rows = [searched(network, pool, rng, 30) for _ in range(2 if quiet else 12)]
    found, resolution = np.concatenate([row[0] for row in rows]), np.concatenate([row[1] for row in rows])
    errors["answers"] = predictions(network, found, resolution) - figures_of(teacher, found, resolution)
    error = float(np.sqrt(np.mean(np.square(errors["answers"]))))
    arrays = replace(network, error=error, rank_correlation=correlation).arrays()
    halved = {n: a.astype(np.float16) if n.startswith("weight") else a for n, a in arrays.items()}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **halved)
    for name, values in errors.items():
        print(
            f"{name}: error {100 * np.sqrt(np.mean(values**2)):.3f} points, bias {100 * values.mean():+.3f}, "
            f"worst {100 * np.abs(values).max():.2f}; rank correlation of random ones {correlation:.4f}",
            flush=True,
        )


def predictions(network: AccuracyNetwork, tokens: Tokens, resolution: NDArray[np.int64]) -> Array:
    """The network's accuracies of architectures (n, length), each at its resolution (n,)."""
    out = np.empty(len(tokens))
    for side in RESOLUTIONS:
        rows = resolution == side
        out[rows] = network.at(side)(tokens[rows])
    return out


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--searches", type=int, default=6, help="made-up devices searched between two trainings")
    parser.add_argument("--passes", type=float, default=1.0, help="over all figures, between two searches")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="go on from an earlier network")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
