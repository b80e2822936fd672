"""A truth that no one here made: once-for-all's published predictor of ImageNet accuracy over its Note10 tables.

The predictor is a network with three hidden layers, learnt by its authors from accuracies that they measured. It is
evaluated here with numpy, at any speed that a comparison needs. Its file, the tables and the accuracies worked out
with it are looked for in `../shared/data`; they are not part of the repository.

Inputs, all 0 but these: for each of the 20 layers one of three kernels and one of three expand ratios, and one of the
resolutions. Source: Cai et al., Once-for-All, ICLR 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lut.exchange import import_table
from lut.table import LatencyTable, TableMetadata
from lut.version import tool_version
from pnag.space.architecture import Architecture
from pnag.space.cost import CostModel
from pnag.space.search_space import SearchSpace
from pnag.space.spaces import load_space
from pnag.space.tokens import Tokens

Array = NDArray[np.float64]
Weights = NDArray[np.float32]

SHARED = Path(__file__).parents[2] / "shared" / "data"
BUDGETS_MS = (20.0, 25.0, 30.0, 35.0, 40.0, 45.0, 50.0, 55.0)
# Found by long search at 224 pixels: the best known under each budget, as fractions.
BEST_KNOWN_FREE = (0.8078, 0.8207, 0.8288, 0.8358, 0.8423, 0.8481, 0.8515, 0.8538)
BEST_KNOWN = (0.7913, 0.8114, 0.8241, 0.8358, 0.8423, 0.8481, 0.8515, 0.8538)
RESOLUTIONS = (160, 176, 192, 208, 224)
_CHUNK = 4096
_LAYERS, _CHOICES = 20, 3
_FIRST_RESOLUTION, _STEP, _RESOLUTION_INPUTS = 112, 16, 120


def available() -> bool:
    """Whether the files are there."""
    return (SHARED / "imagenet" / "predictor.npz").is_file() and note10_yaml(224).is_file()


def note10_yaml(resolution: int) -> Path:
    """The authors' latency table of a Samsung Note10 at a resolution."""
    return SHARED / "note10" / f"{resolution}_lookup_table.yaml"


@dataclass(frozen=True)
class PublishedPredictor:
    """The predictor's layers, weights (in, out) and biases (out,); calling it gives accuracies as fractions."""

    layers: tuple[tuple[Weights, Weights], ...]
    resolution: int = 224

    @classmethod
    def load(cls, path: Path = SHARED / "imagenet" / "predictor.npz", resolution: int = 224) -> PublishedPredictor:
        """Read the published weights from an .npz file."""
        with np.load(path) as file:
            layers = tuple(
                (file[f"{index}.weight"].astype(np.float32).T.copy(), file[f"{index}.bias"].astype(np.float32))
                for index in (0, 2, 4, 6)
            )
        return cls(layers, resolution)

    def inputs(self, tokens: Tokens) -> Weights:
        """Shape (n, 128), from canonical tokens of the space of width 1.2."""
        by_unit = np.asarray(tokens, dtype=np.int64).reshape(len(tokens), 5, -1)
        expand = by_unit[:, :, 1::2].reshape(len(tokens), _LAYERS)
        kernel = by_unit[:, :, 2::2].reshape(len(tokens), _LAYERS)
        x = np.zeros((len(tokens), self.layers[0][0].shape[0]), dtype=np.float32)
        row, layer = np.nonzero(kernel)
        x[row, _CHOICES * layer + kernel[row, layer] - 1] = 1
        x[row, _CHOICES * (_LAYERS + layer) + expand[row, layer] - 1] = 1
        x[:, _RESOLUTION_INPUTS + (self.resolution - _FIRST_RESOLUTION) // _STEP] = 1
        return x

    def __call__(self, tokens: Tokens) -> Array:
        """Accuracies, shape (n,), of canonical tokens (n, length)."""
        out = np.empty(len(tokens))
        for start in range(0, len(tokens), _CHUNK):
            x = self.inputs(tokens[start : start + _CHUNK])
            for index, (weight, bias) in enumerate(self.layers):
                x = x @ weight + bias
                if index < len(self.layers) - 1:
                    np.maximum(x, 0, out=x)
            out[start : start + _CHUNK] = x[:, 0]
        return out


def note10_costs(resolution: int = 224) -> CostModel:
    """c(a) of the authors' Note10 table at that resolution, summed as they sum it."""
    return load_space(resolution=resolution).cost_model(note10_table(resolution))


def free_costs(resolutions: Sequence[int] = RESOLUTIONS) -> CostModel:
    """c(a) of the five Note10 tables as one, where an architecture chooses its resolution."""
    each = [note10_costs(resolution) for resolution in resolutions]
    return CostModel(
        load_space(resolution=resolutions), 0.0,
        np.stack([costs.layer_ms for costs in each]), np.array([costs.constant_ms for costs in each]),
    )  # fmt: skip


@dataclass(frozen=True)
class FreeTruth:
    """The predictor over a space that chooses among `resolutions`; calling it gives accuracies as fractions."""

    predictor: PublishedPredictor
    resolutions: tuple[int, ...] = RESOLUTIONS

    def __call__(self, tokens: Tokens) -> Array:
        """Accuracies, shape (n,), of canonical tokens (n, length) whose last one is the resolution's index."""
        out = np.empty(len(tokens))
        for index, resolution in enumerate(self.resolutions):
            rows = tokens[:, -1] == index
            out[rows] = replace(self.predictor, resolution=resolution)(tokens[rows, :-1])
        return out


def note10_table(resolution: int = 224) -> LatencyTable:
    """The authors' table as one of ours."""
    space = load_space(resolution=resolution)
    metadata = TableMetadata(
        space=space.to_dict(), resolution=resolution, classes=space.classes, batch=1,
        device={"model": "Samsung Note10"}, runtime={"name": "tflite"}, sampling={},
        created=datetime.now(UTC).isoformat(), tool_version=tool_version(),
    )  # fmt: skip
    return import_table(note10_yaml(resolution), space.blocks(), metadata).table


def known_rows(space: SearchSpace, resolution: int = 224) -> tuple[Tokens, Array]:
    """Architectures and accuracies of `accuracies.parquet` at that resolution, (n, length) and (n,)."""
    import pandas as pd

    frame: Any = pd.read_parquet(SHARED / "imagenet" / "accuracies.parquet")
    frame = frame[frame["resolution"] == resolution]
    return space.encode(map(Architecture.parse, frame["architecture"])), frame["accuracy"].to_numpy(dtype=float)
