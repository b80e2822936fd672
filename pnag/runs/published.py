"""A predictor of accuracies that others published, out of their own file: `--accuracy once-for-all:FILE`.

Once-for-all's predictor is a state dict of fully connected layers with ReLU between them, `0.weight`, `0.bias`,
`2.weight` and so on, each weight (out, in). Its inputs are those of `pnag.accuracy.network`: one of three kernels for
each of the 20 layers, one of three expand ratios for each, one of the resolutions 112, 128, … 224 pixels.
Source: Cai et al., Once-for-All, ICLR 2020, and its published code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lut.words import printable
from pnag.accuracy.archive import DEFAULT, SHIPPED, AccuracyArchive
from pnag.accuracy.network import AccuracyNetwork
from pnag.errors import ArchiveError, CheckpointError, SpaceError
from pnag.space.cost import CostModel
from pnag.space.sampling import sample_archive
from pnag.space.search_space import SearchSpace
from pnag.space.spaces import load_space
from pnag.supernet.checkpoint_file import as_float32, read_tensors

PREFIX = "once-for-all:"
_SPACE = "ofa-mbv3-w1.2"
_INPUTS = tuple(range(112, 240, 16))  # resolutions that the file has inputs for
_LEARNT = (160, 176, 192, 208, 224)  # resolutions that its authors measured accuracies at
_CHECKED, _SAME = 500, 2e-5


def read_published(path: Path, space: SearchSpace) -> AccuracyNetwork:
    """The predictor in that file, for the resolutions of `space`.

    Raises `ArchiveError` for a file of anything else, for another space than the one it was made for, and for a
    resolution that it was not learnt at. No code of a file is run.
    """
    try:
        tensors, _ = as_float32(path, read_tensors(path)[0])
    except CheckpointError as error:
        raise ArchiveError(f"--accuracy {PREFIX}{printable(path)}: {error}") from error
    try:
        space.require_same_family(load_space(_SPACE), f"{PREFIX}{printable(path.name)}")
    except SpaceError as error:
        raise ArchiveError(str(error)) from error
    if missing := sorted(set(space.sides) - set(_LEARNT)):
        raise ArchiveError(
            f"once-for-all's predictor was not learnt at {missing[0]} pixels, which the table has; profile resolutions "
            f"among {', '.join(map(str, _LEARNT))}, or give another --accuracy"
        )
    numbers = sorted({int(found[0]) for name in tensors if (found := re.match(r"\d{1,6}(?=\.)", name, re.ASCII))})
    wanted = {f"{number}.{part}" for number in numbers for part in ("weight", "bias")}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    sizes = [space.units * space.layers * (len(space.kernels) + len(space.expands)) + len(_INPUTS)]
    fits = bool(numbers) and set(tensors) == wanted
    for number in numbers if fits else ():
        bias = shapes[f"{number}.bias"]
        fits = fits and len(bias) == 1 and shapes[f"{number}.weight"] == (*bias, sizes[-1])
        sizes.extend(bias[:1])
    if not fits or sizes[-1] != 1:
        shown = ", ".join(f"{printable(name, 40)} {list(shape)}" for name, shape in list(shapes.items())[:3])
        raise ArchiveError(
            f"{printable(path.name)} is not once-for-all's predictor: it holds {shown or 'nothing'}; "
            f"give the file with 0.weight [n, {sizes[0]}], 0.bias [n] and further fully connected layers to one output"
        )
    layers = tuple(
        (tensors[f"{number}.weight"].numpy().T.copy(), tensors[f"{number}.bias"].numpy()) for number in numbers
    )
    return AccuracyNetwork(space, layers, _INPUTS, space.sides, 0.0, 1.0)


def predicted_archive(
    network: AccuracyNetwork, path: Path, costs: CostModel, n: int, rng: np.random.Generator
) -> AccuracyArchive:
    """What the predictor of `path` says of `n` random networks: a run keeps known accuracies beside what it learnt."""
    space = costs.space
    assert isinstance(space, SearchSpace)
    tokens = sample_archive(space, n, costs, rng)
    accuracy = np.clip(network(tokens), 0.0, 1.0)
    return AccuracyArchive(space, tokens, accuracy, split="val", source=_source(network, path))


def _source(network: AccuracyNetwork, path: Path) -> Mapping[str, Any]:
    """That of the archive which comes with the program where the predictor says the same as that; else its file."""
    space = network.space
    assert isinstance(space, SearchSpace)
    shipped = AccuracyArchive.load(SHIPPED[DEFAULT], space)
    some = slice(None, None, max(1, len(shipped) // _CHECKED))
    if np.abs(network(shipped.tokens[some]) - shipped.accuracy[some]).max() > _SAME:
        return {"kind": "predicted", "by": printable(path.name), "data": {"name": "ImageNet"}}
    return {key: value for key, value in shipped.source.items() if key not in ("drawn", "made_from_sha256")}
