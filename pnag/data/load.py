"""Images to train and judge supernets on: data sets by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pnag.data.folder import image_folder
from pnag.data.sources import cifar10, digits, parquet
from pnag.data.split import ImageData, Normalisation, Split, SplitName, TensorSplit
from pnag.errors import DataError
from profiler.console import say

__all__ = ["ImageData", "Normalisation", "Split", "SplitName", "TensorSplit", "load_data", "locate_data"]

KNOWN = "digits, cifar10, cifar10:DIR, imagefolder:DIR, parquet:DIR"


def load_data(
    name: str,
    *,
    resolution: int = 32,
    seed: int = 0,
    root: str | Path = "data",
    download: bool = False,
    tell: Callable[[str], None] = say,
) -> ImageData:
    """The data set of that name, its images of side `resolution`; `seed` decides what is held out as `val`.

    `digits` (scikit-learn's, offline), `cifar10` or `cifar10:DIR` (torchvision's files under `root` or DIR;
    fetched only with `download`), `imagefolder:DIR` (DIR/train and DIR/val or DIR/test, under the names that
    people give them), `parquet:DIR` (train*.parquet and test*.parquet in the Hugging Face layouts). `tell` takes
    notices of what was left out or chosen. Raises `DataError`.
    """
    kind, _, place = name.partition(":")
    if kind == "digits" and not place:
        return digits(resolution, seed)
    if kind == "cifar10":
        return cifar10(Path(place or root), resolution, seed, download=download)
    if kind == "parquet" and place:
        return parquet(Path(place), resolution, seed, tell)
    if kind == "imagefolder" and place:
        return image_folder(Path(place), resolution, seed, tell)
    raise DataError(f"unknown data set '{name}'; known are {KNOWN}")


def locate_data(name: str, *, root: str | Path = "data") -> str:
    """The name with its folder in full, so that it means the same data set from any folder."""
    kind, _, place = name.partition(":")
    if kind == "cifar10":
        place = place or str(root)
    return f"{kind}:{Path(place).resolve()}" if place else name
