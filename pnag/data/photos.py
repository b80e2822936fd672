"""Photographs without labels: what batch-norm statistics of published weights are re-estimated on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lut.words import printable
from pnag.data.folder import IMAGENET, FolderSplit
from pnag.data.load import load_data
from pnag.data.names import is_image, is_stray
from pnag.data.split import Normalisation
from pnag.errors import DataError
from profiler.console import say

if TYPE_CHECKING:
    from torch import Tensor

PHOTOS = 512
_FEW = 100
_BATCH = 64
_SEED = 0


def load_photos(
    name: str,
    resolution: int,
    normalisation: Normalisation = IMAGENET,
    *,
    images: int = PHOTOS,
    tell: Callable[[str], None] = say,
) -> list[Tensor]:
    """Up to `images` photographs as batches (B, 3, R, R), normalised as asked; the same ones in every call.

    `imagefolder:DIR` takes all pictures below DIR, however its folders are named; other names are those of `load_data`,
    of which training images are taken. `tell` is told where there are few. Raises `DataError`.
    """
    import torch

    kind, _, place = name.partition(":")
    if kind == "imagefolder" and place:
        found, of = _pictures(Path(place), resolution).sample(images, _SEED), IMAGENET
    else:
        data = load_data(name, resolution=resolution, tell=tell)
        found, of = data.train.sample(images, _SEED), data.normalisation
    if len(found) < _FEW:
        tell(f"{name} has {len(found)} photographs; batch-norm statistics of so few are rough, give some hundred")
    if of != normalisation:
        mean, std, new_mean, new_std = (
            torch.tensor(values).view(1, 3, 1, 1) for values in (of.mean, of.std, normalisation.mean, normalisation.std)
        )
        found = (found * std + mean - new_mean) / new_std
    return list(torch.split(found, _BATCH))


def _pictures(folder: Path, resolution: int) -> FolderSplit:
    if not folder.is_dir():
        raise DataError(f"no folder {printable(folder)}; name one with photographs as imagefolder:DIR")
    paths = sorted(
        path for path in folder.rglob("*")
        if is_image(path.name) and not any(map(is_stray, path.relative_to(folder).parts)) and path.is_file()
    )  # fmt: skip
    if not paths:
        raise DataError(f"no picture below {printable(folder)}; give some hundred photographs")
    return FolderSplit(tuple((path, 0) for path in paths), resolution)
