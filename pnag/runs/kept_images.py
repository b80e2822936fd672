"""Training images kept in a run: batch-norm is re-estimated on them where the data set is not at hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lut.files import replacing
from pnag.arrays import read_arrays
from pnag.data.augment import normalise, scaled
from pnag.data.split import ImageData, Normalisation
from pnag.errors import RunError
from pnag.supernet.evaluation import CALIBRATION_IMAGES, calibration_batches

_LIMIT_BYTES = 64 << 20
_BATCH = 128


def images_kept(resolution: int) -> int:
    """How many images of that side are kept: 1,024, or as many as 64 MiB hold."""
    return max(_BATCH, min(CALIBRATION_IMAGES, _LIMIT_BYTES // (3 * resolution**2)))


def keep_images(path: Path, data: ImageData) -> int:
    """Write the fixed training images for calibration, as 8-bit pixels; returns how many. Raises `OutputError`."""
    batches = calibration_batches(data, images_kept(data.resolution), _BATCH)
    pixels = np.concatenate([_pixels(batch, data.normalisation) for batch in batches])
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, images=pixels)
    return len(pixels)


def load_images(path: Path, normalisation: Normalisation, side: int | None = None) -> list[Tensor]:
    """The images as batches (B, 3, R, R), normalised, scaled to `side` where it is given.

    Raises `RunError` if the file is absent or damaged.
    """
    try:
        pixels = torch.from_numpy(_images(read_arrays(path, most_bytes=2 * _LIMIT_BYTES)))
    except (OSError, KeyError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error}); train again with --fresh") from error
    parts = (scaled(part, side or part.shape[-1]) for part in torch.split(pixels, _BATCH))
    return [normalise(part, normalisation.mean, normalisation.std) for part in parts]


def _images(arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
    images = arrays["images"]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise ValueError(f"images of shape {images.shape} and type {images.dtype} were not kept by this program")
    if not images.size:
        raise ValueError("it has no images")
    return images


def _pixels(images: Tensor, normalisation: Normalisation) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Normalised images as the 8-bit pixels that they were made of."""
    centre = torch.tensor(normalisation.mean).view(1, 3, 1, 1)
    spread = torch.tensor(normalisation.std).view(1, 3, 1, 1)
    values = ((images.cpu() * spread + centre) * 255).round().clamp(0, 255).to(torch.uint8)
    return values.contiguous().numpy()
