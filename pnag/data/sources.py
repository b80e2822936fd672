"""Data sets small enough for memory: decoded once, kept as uint8."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pnag.data.split import ImageData, Normalisation, TensorSplit, hash_arrays
from pnag.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

Pixels = NDArray[np.uint8]  # (n, 3, R, R)
Labels = NDArray[np.int64]  # (n,)

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


def parquet(folder: Path, resolution: int, seed: int) -> ImageData:
    """train.parquet and test.parquet of a folder, columns `image` (struct of bytes and path) and `label`."""
    tables = [_read_table(folder / f"{part}.parquet") for part in ("train", "test")]
    rows = sum(table.num_rows for table in tables)
    if rows * 3 * resolution**2 > _MEMORY_LIMIT_BYTES:
        raise DataError(
            f"{rows} images of side {resolution} exceed {_MEMORY_LIMIT_BYTES >> 30} GiB; use imagefolder:DIR"
        )
    parts = [
        (_decode_column(table, resolution, f"{part}.parquet"), table["label"].to_numpy().astype(np.int64))
        for table, part in zip(tables, ("train", "test"), strict=True)
    ]
    return _with_val(f"parquet:{folder.resolve().name}", resolution, _class_names(tables[0], parts), parts, seed)


# -- splits -------------------------------------------------------------------------------------------------


def hold_out(labels: Labels, n: int, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices that stay and `n` indices that are held out, with the classes in proportion, both in order."""
    order = np.random.default_rng(seed).permutation(len(labels))
    rank = np.empty(len(labels))
    for label in np.unique(labels):
        members = order[labels[order] == label]
        rank[members] = (np.arange(len(members)) + 0.5) / len(members)
    by_rank = np.lexsort((order, rank))
    return np.sort(by_rank[n:]), np.sort(by_rank[:n])


def _with_val(
    name: str, resolution: int, class_names: tuple[str, ...], parts: Sequence[tuple[Pixels, Labels]], seed: int
) -> ImageData:
    (pixels, labels), test = parts
    kept, val = hold_out(labels, val_size(len(labels)), seed)
    splits = [(pixels[kept], labels[kept]), (pixels[val], labels[val]), test]
    return assemble(name, resolution, class_names, splits)


def val_size(train: int) -> int:
    """How many training images are held out: a tenth, 10,000 at most."""
    return min(10_000, train // 10)


def assemble(
    name: str, resolution: int, class_names: tuple[str, ...], parts: Sequence[tuple[Pixels, Labels]]
) -> ImageData:
    """A data set of train, val and test arrays. Raises `DataError` where there is nothing to learn."""
    import torch

    train_pixels, train_labels = parts[0]
    require_learnable(name, class_names, train_labels)
    if any(len(labels) == 0 for _, labels in parts):
        raise DataError(f"data set {name} has an empty split; give 10 training images or more and a test image")
    mean, std = _moments(train_pixels)
    normalisation = Normalisation(mean, std)
    splits = [
        TensorSplit(torch.from_numpy(np.ascontiguousarray(p)), torch.from_numpy(labels), normalisation)
        for p, labels in parts
    ]
    digest = hash_arrays(*(array for part in parts for array in part))
    train, val, test = splits
    return ImageData(name, resolution, class_names, normalisation, train, val, test, digest)


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


def require_learnable(name: str, class_names: Sequence[str], labels: Labels) -> None:
    """Raise `DataError` for fewer than two classes among the training labels, or labels out of range."""
    found = np.unique(labels)
    if len(found) < 2:
        raise DataError(f"data set {name} has {len(found)} class to train on; give at least 2")
    if found[0] < 0 or found[-1] >= len(class_names):
        bad = found[0] if found[0] < 0 else found[-1]
        raise DataError(f"data set {name} has label {bad}; labels go from 0 to {len(class_names) - 1}")


# -- decoding -----------------------------------------------------------------------------------------------


def _read_table(path: Path) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise DataError(f"no file {path}; a parquet data set is a folder with train.parquet and test.parquet")
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read ({str(error).splitlines()[0][:120]}); make it again") from error
    fields = {field.name: field.type for field in table.schema}
    image = fields.get("image")
    if image is None or not pa.types.is_struct(image) or image.get_field_index("bytes") < 0:
        raise DataError(f"{path} has columns {', '.join(fields)}; it needs 'image' (a struct with 'bytes') and 'label'")
    if "label" not in fields or not pa.types.is_integer(fields["label"]) or table["label"].null_count:
        raise DataError(f"{path} has columns {', '.join(fields)}; it needs whole numbers in 'label', one a row")
    return table


def _class_names(table: pa.Table, parts: Sequence[tuple[Pixels, Labels]]) -> tuple[str, ...]:
    """Names from the Hugging Face metadata, or numbers."""
    raw = (table.schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        names = json.loads(raw)["info"]["features"]["label"]["names"]
        return tuple(str(name) for name in names)
    except (KeyError, TypeError, ValueError):
        count = max((int(labels.max()) + 1 for _, labels in parts if len(labels)), default=0)
        return tuple(str(number) for number in range(count))


def _decode_column(table: pa.Table, resolution: int, file: str) -> Pixels:
    out = np.empty((table.num_rows, 3, resolution, resolution), np.uint8)

    def decode(row: int, image: dict[str, Any]) -> None:
        where = f"{image.get('path') or 'image'} (row {row} of {file})" if image else f"row {row} of {file}"
        out[row] = decode_image(image.get("bytes") if image else None, resolution, where)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        start = 0
        for chunk in table["image"].chunks:
            list(pool.map(decode, range(start, start + len(chunk)), chunk.to_pylist()))
            start += len(chunk)
    return out


def decode_image(content: bytes | None, resolution: int, where: str) -> Pixels:
    """Pixels (3, R, R) of an encoded image. Raises `DataError` naming `where` it is."""
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(content or b"")).convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"image {where} cannot be read; replace or remove it") from error
    if image.size != (resolution, resolution):
        image = image.resize((resolution, resolution), Image.Resampling.BICUBIC)
    return np.asarray(image, np.uint8).transpose(2, 0, 1)


def _resized(pixels: NDArray[np.uint8], resolution: int) -> Pixels:
    """(n, H, W, 3) to (n, 3, R, R)."""
    from PIL import Image

    if pixels.shape[1] == resolution:
        return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    size = (resolution, resolution)
    out = [np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)) for image in pixels]
    return np.stack(out).transpose(0, 3, 1, 2)
