"""Truths that searches are compared on (`benchmarks.rivals`): accuracies to ask about, costs, budgets, the best known.

`cifar10-trees`: extremely randomised trees fitted to the measured CIFAR-10 archive, so that the truth is of another
class than any predictor of ours, over a latency table of ours. Its best networks are found by a long search of the
trees themselves, once, and kept beside the results. Source: Geurts et al., Extremely Randomized Trees, 2006.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.imagenet_truth import BEST_KNOWN, BUDGETS_MS, PublishedPredictor, available, note10_costs
from lut.calibration.ranks import rank_correlation
from lut.files import replacing
from lut.table import LatencyTable
from pnag.accuracy.archive import SHIPPED, AccuracyArchive
from pnag.accuracy.predictor import LayerCodes
from pnag.generator.population import Population
from pnag.search.evolution import Ask
from pnag.space.cost import CostModel
from pnag.space.search_space import SearchSpace
from pnag.space.tokens import Tokens

Array = NDArray[np.float64]

TABLE = Path(__file__).parents[1] / "lut" / "tables" / "cpu_epyc.parquet"
_TREES, _LEAF, _FEATURES = 200, 2, 0.3
BUDGETS = 8
_POPULATIONS, _GENERATIONS = 3, 150
_FOLDS = 5


@dataclass(frozen=True)
class Truth:
    """`ask` gives accuracies as fractions; `best_known` follow `budgets_ms`. `title` and `note` say what it is."""

    name: str
    title: str
    note: str
    costs: CostModel
    ask: Ask
    budgets_ms: tuple[float, ...]
    best_known: tuple[float, ...]


def imagenet(_: Path) -> Truth:
    """Once-for-all's published predictor at 224 pixels over its Note10 table."""
    if not available():
        raise SystemExit("once-for-all's predictor and Note10 table are not in ../shared/data; there is nothing to run")
    note = (
        "The truth is the predictor of ImageNet accuracy that once-for-all's authors publish, at 224 pixels, over "
        "their latency table of a Samsung Note10; accuracies without noise."
    )
    return Truth("imagenet", "ImageNet by once-for-all's predictor", note, note10_costs(), PublishedPredictor.load(),
                 BUDGETS_MS, BEST_KNOWN)  # fmt: skip


class Trees:
    """Extremely randomised trees over one-hot codes of layers; calling it gives accuracies as fractions."""

    def __init__(self, space: SearchSpace, tokens: Tokens, accuracy: Array) -> None:
        from sklearn.ensemble import ExtraTreesRegressor

        self._codec = LayerCodes(space)
        self._trees = ExtraTreesRegressor(_TREES, min_samples_leaf=_LEAF, max_features=_FEATURES, random_state=0)
        self._trees.fit(self._inputs(tokens), accuracy)

    def __call__(self, tokens: Tokens) -> Array:
        """Accuracies, shape (n,), of canonical tokens (n, length)."""
        return np.asarray(self._trees.predict(self._inputs(tokens)), dtype=np.float64)

    def _inputs(self, tokens: Tokens) -> NDArray[np.float32]:
        """One-hot codes, and the choices as numbers: a tree splits on either."""
        return np.concatenate([self._codec.one_hot(self._codec.of(tokens)), tokens.astype(np.float32)], axis=1)


def cifar10_trees(out: Path) -> Truth:
    """Trees fitted to the CIFAR-10 archive, over the table of a CPU."""
    table = LatencyTable.load(TABLE)
    costs = SearchSpace.from_dict(table.metadata.space).cost_model(table)
    archive = AccuracyArchive.load(SHIPPED["cifar10"], costs.space)
    trees = Trees(costs.space, archive.tokens, archive.accuracy)
    budgets = tuple(np.linspace(*costs.range_ms, BUDGETS + 2)[1:-1].tolist())
    note = (
        f"The truth is {_TREES} extremely randomised trees fitted to the {len(archive):,} accuracies of the CIFAR-10 "
        f"archive, over the table {TABLE.name}; accuracies without noise. On archive rows that took no part in "
        f"fitting, such trees have a rank correlation of {held_out(costs.space, archive):.3f}."
    )
    return Truth("cifar10-trees", "CIFAR-10 by trees", note, costs, trees, budgets,
                 searched(costs, trees, budgets, out / "cifar10-trees-best.json"))  # fmt: skip


def held_out(space: SearchSpace, archive: AccuracyArchive) -> float:
    """Rank correlation of such trees on rows that took no part, over five folds."""
    fold = np.random.default_rng(0).permutation(len(archive)) % _FOLDS
    predicted = np.empty(len(archive))
    for number in range(_FOLDS):
        trees = Trees(space, archive.tokens[fold != number], archive.accuracy[fold != number])
        predicted[fold == number] = trees(archive.tokens[fold == number])
    return rank_correlation(predicted, archive.accuracy)


def searched(costs: CostModel, ask: Ask, budgets_ms: tuple[float, ...], kept: Path) -> tuple[float, ...]:
    """The best accuracies that a long search under `ask` finds within budgets; from the file `kept` if it is there."""
    if kept.is_file():
        return tuple(json.loads(kept.read_text(encoding="utf-8")))
    best = np.zeros(len(budgets_ms))
    for seed in range(_POPULATIONS):
        population = Population(ask, costs, np.random.default_rng([seed, 71]))
        for _ in range(_GENERATIONS):
            population.advance()
        cost, accuracy = costs(population.best), ask(population.best)
        best = np.maximum(best, [accuracy[cost <= budget].max() for budget in budgets_ms])
    kept.parent.mkdir(parents=True, exist_ok=True)
    with replacing(kept) as temporary:
        temporary.write_text(json.dumps(best.tolist()), encoding="utf-8")
    return tuple(best.tolist())


TRUTHS: Mapping[str, Callable[[Path], Truth]] = {"imagenet": imagenet, "cifar10-trees": cifar10_trees}
