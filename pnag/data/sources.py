"""Data sets small enough for memory: decoded once, kept as uint8."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lut.words import printable
from pnag.data.names import Tell
from pnag.data.parquet import Pixels, open_test, open_train, read_images
from pnag.data.sound import require_contrast, require_different
from pnag.data.split import (
    ImageData,
    Labels,
    Normalisation,
    TensorSplit,
    hash_arrays,
    hold_out,
    require_learnable,
    val_size,
)
from pnag.errors import DataError

_MEMORY_LIMIT_BYTES = 8 * 2**30
_DIGITS_TEST, _DIGITS_VAL = 360, 300


def digits(resolution: int, seed: int) -> ImageData:
    """Scikit-learn's 1,797 handwritten digits, 8 × 8 pixels enlarged: 1,137 train, 300 val, 360 test."""
    import torch
    import torch.nn.functional as F
    from sklearn.datasets import load_digits

    grey, labels = load_digits(return_X_y=True)
    small = torch.from_numpy(grey.reshape(-1, 1, 8, 8)).float() * (255 / 16)
    large = F.interpolate(small, size=(resolution, resolution), mode="bilinear", align_corners=False)
    pixels = large.round().to(torch.uint8).expand(-1, 3, -1, -1).numpy()
    rest, test = hold_out(labels, _DIGITS_TEST, seed=0)
    kept, val = hold_out(labels[rest], _DIGITS_VAL, seed)
    names = tuple(str(digit) for digit in range(10))
    parts = [(pixels[index], labels[index].astype(np.int64)) for index in (rest[kept], rest[val], test)]
    return assemble("digits", resolution, names, parts)


def cifar10(root: Path, resolution: int, seed: int, *, download: bool) -> ImageData:
    """Torchvision's CIFAR-10 under `root`: 45,000 train, 5,000 val, 10,000 test."""
    from torchvision.datasets import CIFAR10

    try:
        train, test = (CIFAR10(str(root), train=flag, download=download) for flag in (True, False))
    except (RuntimeError, OSError) as error:
        raise DataError(
            f"no intact CIFAR-10 under {root} (cifar-10-batches-py); put it there, or name the folder as cifar10:DIR"
        ) from error
    parts = [(_resized(part.data, resolution), np.array(part.targets, np.int64)) for part in (train, test)]
    return _with_val("cifar10", resolution, tuple(train.classes), parts, seed)


def parquet(folder: Path, resolution: int, seed: int, tell: Tell) -> ImageData:
    """A training and a test part in parquet files, in the layouts of the Hugging Face hub (see `pnag.data.parquet`)."""
    name = f"parquet:{printable(folder.resolve().name)}"
    train = open_train(folder, tell)
    names = train.columns.names or tuple(map(str, range(int(train.labels.max(initial=-1)) + 1)))
    require_learnable(name, names, train.labels)
    parts = (train, open_test(folder, train, tell))
    rows = sum(len(part.labels) for part in parts)
    if rows * 3 * resolution**2 > _MEMORY_LIMIT_BYTES:
        raise DataError(
            f"{rows} images of side {resolution} exceed {_MEMORY_LIMIT_BYTES >> 30} GiB; use imagefolder:DIR"
        )
    read = [(read_images(part, resolution), part.labels) for part in parts]
    return _with_val(name, resolution, names, read, seed)


# -- splits -------------------------------------------------------------------------------------------------


def _with_val(
    name: str, resolution: int, class_names: tuple[str, ...], parts: Sequence[tuple[Pixels, Labels]], seed: int
) -> ImageData:
    (pixels, labels), test = parts
    kept, val = hold_out(labels, val_size(len(labels)), seed)
    splits = [(pixels[kept], labels[kept]), (pixels[val], labels[val]), test]
    return assemble(name, resolution, class_names, splits)


def assemble(
    name: str, resolution: int, class_names: tuple[str, ...], parts: Sequence[tuple[Pixels, Labels]]
) -> ImageData:
    """A data set of train, val and test arrays. Raises `DataError` where there is nothing to learn."""
    import torch

    train_pixels, train_labels = parts[0]
    require_learnable(name, class_names, train_labels)
    if any(len(labels) == 0 for _, labels in parts):
        raise DataError(f"data set {name} has an empty split; give 10 training images or more and a test image")
    require_different({image.tobytes() for image in _first_and_others(train_pixels)}, len(train_labels))
    require_contrast(int(train_pixels.min()), int(train_pixels.max()), len(train_labels))
    mean, std = _moments(train_pixels)
    normalisation = Normalisation(mean, std)
    splits = [
        TensorSplit(torch.from_numpy(np.ascontiguousarray(p)), torch.from_numpy(labels), normalisation)
        for p, labels in parts
    ]
    digest = hash_arrays(*(array for part in parts for array in part))
    train, val, test = splits
    return ImageData(name, resolution, class_names, normalisation, train, val, test, digest)


def _first_and_others(pixels: Pixels) -> Iterator[Pixels]:
    """The first image, and the next one that differs from it."""
    yield pixels[0]
    yield from islice((image for image in pixels if not np.array_equal(image, pixels[0])), 1)


def _moments(pixels: Pixels) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation of each channel of images in 0 … 1, from the counts of the 256 values."""
    values = np.arange(256) / 255
    means, stds = [], []
    for channel in pixels.swapaxes(0, 1):
        share = sum(np.bincount(image.ravel(), minlength=256) for image in channel) / channel.size
        mean = float(share @ values)
        means.append(round(mean, 4))
        stds.append(round(float(share @ (values - mean) ** 2) ** 0.5, 4) or 1.0)
    return (means[0], means[1], means[2]), (stds[0], stds[1], stds[2])


def _resized(pixels: NDArray[np.uint8], resolution: int) -> Pixels:
    """(n, H, W, 3) to (n, 3, R, R)."""
    from PIL import Image

    if pixels.shape[1] == resolution:
        return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    size = (resolution, resolution)
    out = [np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)) for image in pixels]
    return np.stack(out).transpose(0, 3, 1, 2)
