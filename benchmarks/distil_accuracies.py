"""Distil a published predictor into the small network that ships: `python -m benchmarks.distil_accuracies`.

    python -m benchmarks.distil_accuracies --minutes 35 --out pnag/accuracy/archives/imagenet-w1.2-distilled.npz

Figures are worked out with once-for-all's predictor (`benchmarks.imagenet_truth`), as many as there is time for:
of random architectures, of ones tilted to small or large choices, and of all that searches of the predictor itself meet
on their way to the best under made-up costs, at one resolution or a free one. A made-up cost is a mixture of
multiply-accumulates, weights and activations, times random factors; no device's table has a part. The network learns
the figures. Then it is searched in the same way: what it is too hopeful of is met there, worked out, and learnt too.

The error that it states is of what a search of it finds best under further made-up costs, which took no part; the
errors of networks that are the best by the predictor itself, and of random ones, are printed beside it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.imagenet_truth import RESOLUTIONS, PublishedPredictor
from lut.blocks import BlockSpec
from lut.calibration.ranks import rank_correlation
from lut.files import replacing
from pnag.accuracy.network import AccuracyNetwork
from pnag.generator.population import Population
from pnag.search.frontier import behind_frontier
from pnag.space.cost import CostModel
from pnag.space.sampling import sample_tilted
from pnag.space.spaces import load_space
from pnag.space.tokens import Tokens

Array = NDArray[np.float64]
Weights = NDArray[np.float32]

SPACE = load_space(resolution=RESOLUTIONS)
_ALONE = (0.12, 0.12, 0.16, 0.2, 0.4)  # how often each resolution is searched, where it is not free
_FREE = 0.4  # of the searches
_RANDOM = 100_000
_GENERATIONS = 50  # of a search; it starts from what the ones before found
_STARTS = 3000
_NEAR, _FARTHER, _MOST = 0.012, 0.15, 60_000  # of a search: points behind its best, share of the others, all in all
_SHARPNESS = 0.003
_BATCH = 512
_ROUGHNESS = 0.6  # of made-up costs, as a standard deviation of the logarithm
# Of the time: figures by searching the predictor, learning, then searching the network, and learning again.
_GATHERING, _LEARNING, _FOLLOWING = 0.25, 0.25, 0.1
_JUDGED = 6  # searches


def made_up_cost(rng: np.random.Generator) -> CostModel:
    """A cost of every block at every resolution, in no unit."""
    macs, weights, activations = rng.dirichlet([1.0, 0.5, 0.5])
    power, rough = rng.uniform(0.6, 1.0), _ROUGHNESS * rng.random()

    def value(block: BlockSpec) -> float:
        inner = float(np.prod(block.input_shape)) * getattr(block, "expand", 1)
        work = macs * (block.macs / 1e7) ** power + weights * block.params / 1e5 + activations * inner / 1e6
        return float(work) + 0.1 * activations

    plain = SPACE.sum_over_blocks(value)
    sides, units, positions, expands, kernels = plain.layer_ms.shape
    factor = (
        rng.normal(0, 0.6 * rough, (1, units, positions, expands, kernels))
        + rng.normal(0, 0.5 * rough, (1, units, positions, 1, 1))
        + rng.normal(0, 0.5 * rough, (1, 1, 1, 1, kernels))
        + rng.normal(0, 0.05, (sides, units, positions, expands, kernels))
    )
    return replace(plain, layer_ms=plain.layer_ms * np.exp(factor))


class Recorder:
    """A network that is asked, and what it was asked and said."""

    def __init__(self, network: AccuracyNetwork) -> None:
        self._network = network
        self.asked: list[Tokens] = []
        self.said: list[Array] = []

    def __call__(self, tokens: Tokens) -> Array:
        """Accuracies, (n,), of tokens (n, length)."""
        accuracy = self._network(tokens)
        self.asked.append(tokens)
        self.said.append(accuracy)
        return accuracy


@dataclass
class Figures:
    """Architectures of `SPACE` with accuracies, as they come in, and the best that searches found."""

    tokens: list[Tokens] = field(default_factory=list)
    accuracy: list[Array] = field(default_factory=list)
    best: Tokens = field(default_factory=lambda: np.empty((0, SPACE.length), dtype=np.int8))

    def add(self, tokens: Tokens, accuracy: Array) -> None:
        """Take these in, (n, length) and (n,)."""
        self.tokens.append(tokens)
        self.accuracy.append(accuracy.astype(np.float32))

    def save(self, path: Path) -> None:
        """Write all of it as one .npz file."""
        tokens, accuracy = np.concatenate(self.tokens), np.concatenate(self.accuracy)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, tokens=tokens, accuracy=accuracy, best=self.best)

    def load(self, path: Path) -> None:
        """Take in what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            self.add(file["tokens"], file["accuracy"])
            self.best = np.concatenate([self.best, file["best"]])[-_STARTS:]

    def search(self, network: AccuracyNetwork, teacher: AccuracyNetwork, rng: np.random.Generator) -> Array:
        """Search a network under a made-up cost, and keep the teacher's figures of what is met.

        Most of those near the best are kept. Returns network - teacher of the best, (n,).
        """
        tokens, said, behind, best = searched(network, self.best, rng)
        keep = (behind < _NEAR) | (rng.random(len(tokens)) < _FARTHER)
        _, first = np.unique(tokens[keep], axis=0, return_index=True)
        rows = np.flatnonzero(keep)[first]
        if len(rows) > _MOST:
            weight = 1 / (np.maximum(behind[rows], 0) + _SHARPNESS)
            rows = rng.choice(rows, _MOST, replace=False, p=weight / weight.sum())
        self.add(tokens[rows], said[rows] if network is teacher else teacher(tokens[rows]))
        self.best = np.concatenate([self.best, best])[-_STARTS:]
        return np.asarray(network(best) - teacher(best))


def searched(
    network: AccuracyNetwork, known: Tokens, rng: np.random.Generator
) -> tuple[Tokens, Array, Array, Tokens]:  # fmt: skip
    """All that a search meets: tokens (n, length), what the network says, how far behind the best; and the best ones.

    Tokens are of `SPACE`, also where one resolution is searched.
    """
    costs, side = made_up_cost(rng), None
    if rng.random() >= _FREE:
        side = int(rng.choice(len(RESOLUTIONS), p=_ALONE))
        alone = SPACE.at(RESOLUTIONS[side])
        costs = CostModel(alone, costs.constant_ms + float(costs.resolution_ms[side]), costs.layer_ms[side])
        network = replace(network.at(RESOLUTIONS[side]), space=alone)
        known = known[known[:, -1] == side][:, :-1]
    recorder = Recorder(network)
    population = Population(recorder, costs, rng)
    population.offer(known)
    for _ in range(_GENERATIONS):
        population.advance()
    tokens, said, best = np.concatenate(recorder.asked), np.concatenate(recorder.said), population.best
    behind = behind_frontier(costs(tokens), said)
    return of_space(tokens, side), said, behind, of_space(best, side)


def of_space(tokens: Tokens, side: int | None) -> Tokens:
    """Tokens of one resolution as tokens of `SPACE`."""
    return tokens if side is None else np.concatenate([tokens, np.full((len(tokens), 1), side, np.int8)], axis=1)


class Student:
    """The network in training, as torch parameters."""

    def __init__(self, widths: Sequence[int], mean: float, scale: float, seed: int) -> None:
        rng = torch.Generator().manual_seed(seed)
        layers = SPACE.units * SPACE.layers
        sizes = (layers * (len(SPACE.kernels) + len(SPACE.expands)) + len(RESOLUTIONS), *widths, 1)
        self._mean, self._scale = mean, scale
        self._weights = [
            torch.randn(a, b, generator=rng) * (2 / (2 * layers if i == 0 else a)) ** 0.5
            for i, (a, b) in enumerate(pairwise(sizes))
        ]
        self._biases = [torch.zeros(b) for b in sizes[1:]]
        for parameter in (*self._weights, *self._biases):
            parameter.requires_grad_()
        self._optimiser = torch.optim.Adam([*self._weights, *self._biases], betas=(0.9, 0.99))

    def take(self, network: AccuracyNetwork) -> None:
        """Go on from a network of the same widths."""
        with torch.no_grad():
            for own, (weight, bias) in zip(zip(self._weights, self._biases, strict=True), network.layers, strict=True):
                own[0].copy_(torch.as_tensor(weight))
                own[1].copy_(torch.as_tensor(bias))
            self._weights[-1] /= self._scale
            self._biases[-1].sub_(self._mean).div_(self._scale)

    def learn(self, figures: Figures, *, seconds: float, rates: tuple[float, float]) -> None:
        """Adam on the squared error with a falling rate, for so long."""
        tokens = torch.as_tensor(np.concatenate(figures.tokens))
        target = torch.as_tensor((np.concatenate(figures.accuracy) - self._mean) / self._scale, dtype=torch.float32)
        rng, started = torch.Generator().manual_seed(len(tokens)), time.process_time()
        while (done := (time.process_time() - started) / seconds) < 1:
            for group in self._optimiser.param_groups:
                group["lr"] = rates[1] + (rates[0] - rates[1]) * (1 + np.cos(np.pi * done)) / 2
            index = torch.randint(len(tokens), (_BATCH,), generator=rng)
            loss = torch.square(self._outputs(inputs(tokens[index])) - target[index]).mean()
            self._optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimiser.step()

    def _outputs(self, hidden: torch.Tensor) -> torch.Tensor:
        for number, (weight, bias) in enumerate(zip(self._weights, self._biases, strict=True)):
            hidden = torch.addmm(bias, hidden, weight)
            hidden = torch.relu(hidden) if number < len(self._weights) - 1 else hidden
        return hidden[:, 0]

    def network(self) -> AccuracyNetwork:
        """What it is now, for numpy, with weights as the file will hold them; outputs are accuracies as fractions."""
        layers = [
            (w.detach().numpy().astype(np.float16).astype(np.float32), b.detach().numpy().copy())
            for w, b in zip(self._weights, self._biases, strict=True)
        ]
        weight, bias = layers[-1]
        scaled = (weight * np.float32(self._scale)).astype(np.float16).astype(np.float32)
        layers[-1] = (scaled, bias * np.float32(self._scale) + np.float32(self._mean))
        return AccuracyNetwork(SPACE, tuple(layers), RESOLUTIONS, RESOLUTIONS, 0.0, 0.0)


def inputs(tokens: torch.Tensor) -> torch.Tensor:
    """Kernels, expand ratios and the resolution, one-hot, (n, inputs), of tokens of `SPACE` (n, length)."""
    units = tokens[:, :-1].reshape(len(tokens), SPACE.units, -1)
    parts = []
    for first, choices in ((2, len(SPACE.kernels)), (1, len(SPACE.expands))):
        values = units[:, :, first::2].reshape(len(tokens), -1, 1)
        parts.append((values == torch.arange(1, choices + 1)).reshape(len(tokens), -1))
    parts.append(tokens[:, -1:] == torch.arange(len(RESOLUTIONS)))
    return torch.cat(parts, dim=1).float()


def teacher_network() -> AccuracyNetwork:
    """The published predictor in the form of our own networks."""
    layers = PublishedPredictor.load().layers
    return AccuracyNetwork(SPACE, layers, tuple(range(112, 240, 16)), RESOLUTIONS, 0.0, 1.0)


def gather(figures: Figures, teacher: AccuracyNetwork, rng: np.random.Generator, seconds: float) -> None:
    """Figures of random architectures, and of what searches of the teacher meet, for so long."""
    started = time.process_time()
    drawn = np.concatenate([SPACE.sample(_RANDOM, rng), sample_tilted(SPACE, _RANDOM, rng)])
    figures.add(drawn, teacher(drawn))
    while time.process_time() - started < seconds:
        figures.search(teacher, teacher, rng)


def main() -> None:
    """Distil for as long as is given, save, print the errors."""
    options = parse()
    torch.set_num_threads(1)
    rng, seconds = np.random.default_rng(options.seed), 60 * options.minutes
    teacher, figures = teacher_network(), Figures()
    for path in options.figures:
        figures.load(path)
    if not options.figures:
        gather(figures, teacher, rng, _GATHERING * seconds)
    if options.gather:
        figures.save(options.gather)
        return
    mean, scale = (float(f(np.concatenate(figures.accuracy))) for f in (np.mean, np.std))
    student = Student(options.widths, mean, scale, options.seed)
    print(f"{sum(map(len, figures.accuracy))} figures", flush=True)
    if options.start:
        student.take(AccuracyNetwork.load(options.start, SPACE))
    else:
        student.learn(figures, seconds=_LEARNING * seconds, rates=(2e-3, 2e-4))
    started = time.process_time()
    while time.process_time() - started < _FOLLOWING * seconds:
        missed = figures.search(student.network(), teacher, rng)
        tell("what the network answers, before it was learnt", missed)
    rest = 1 - _GATHERING - _LEARNING - _FOLLOWING
    student.learn(figures, seconds=rest * seconds, rates=(1e-3, 1e-6))
    save(student.network(), teacher, figures.best, rng, options.out)


def save(
    network: AccuracyNetwork, teacher: AccuracyNetwork, known: Tokens, rng: np.random.Generator, path: Path
) -> None:
    """Judge the network under costs that took no part, and write it with its error on what it answers there."""
    tokens = SPACE.sample(20_000, rng)
    predicted, truth = network(tokens), teacher(tokens)
    tell("random", predicted - truth)
    answers = np.concatenate([searched(network, known, rng)[3] for _ in range(_JUDGED)])
    best = np.concatenate([searched(teacher, known, rng)[3] for _ in range(_JUDGED)])
    tell("the best by the predictor", network(best) - teacher(best))
    missed = network(answers) - teacher(answers)
    tell("the best by the network", missed)
    arrays = replace(
        network, sides=RESOLUTIONS[-1:],
        error=float(np.sqrt(np.mean(np.square(missed)))), rank_correlation=rank_correlation(predicted, truth),
    ).arrays()  # fmt: skip
    halved = {n: a.astype(np.float16) if n.startswith("weight") else a for n, a in arrays.items()}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **halved)


def tell(name: str, errors: Array) -> None:
    """Print the errors of one kind of architectures, in points."""
    print(
        f"{name}: error {100 * np.sqrt(np.mean(errors**2)):.3f} points, bias {100 * errors.mean():+.3f}, "
        f"worst {100 * np.abs(errors).max():.2f}",
        flush=True,
    )


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=35, help="of a core, all in all")
    parser.add_argument("--widths", type=int, nargs="+", default=(384, 128, 64), help="of the hidden layers")
    parser.add_argument("--figures", type=Path, nargs="*", default=[], help="what --gather kept, instead of gathering")
    parser.add_argument("--gather", type=Path, help="only gather, and keep the figures in this file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="go on from an earlier network, by searching it first")
    parser.add_argument("--out", type=Path, default=Path("distilled.npz"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
