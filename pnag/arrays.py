"""Arrays of numbers by name out of a `.npz` file: the one home of reading it, for files that anyone may have damaged.

`numpy.load` trusts a file's own words on how large it is, and gives whatever lies in it.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lut.words import printable

MOST_BYTES = 256 << 20  # of all arrays together: the program's own files have a few MiB
_SUFFIX = ".npy"
Floats = NDArray[np.float32]
_NUMBERS = "biuf"  # numpy's kinds: true or false, whole numbers, floating-point numbers


def read_arrays(path: str | Path, *, most_bytes: int = MOST_BYTES) -> dict[str, NDArray[Any]]:
    """The arrays of a file that `numpy.savez` wrote, each as large as its part of the file.

    Raises `OSError`, and `ValueError` for a file that is damaged, of another kind, unpacks to more than `most_bytes`,
    or holds anything but numbers.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            size = sum(part.file_size for part in parts)
            if size > most_bytes:
                raise ValueError(f"it unpacks to {size >> 20} MiB, more than {most_bytes >> 20}")
            if len({part.filename for part in parts}) < len(parts):
                raise ValueError("it has a part twice")
            return {part.filename.removesuffix(_SUFFIX): _array(_content(archive, part)) for part in parts}
    except (OSError, ValueError):
        raise
    except Exception as error:  # each part of a damaged archive has errors of its own
        raise ValueError(printable(str(error) or type(error).__name__, 120)) from error


def layer_arrays(layers: Iterable[tuple[Floats, Floats]]) -> dict[str, NDArray[Any]]:
    """Weights and biases of fully connected layers, in order, under the names `weight0`, `bias0`, `weight1`, …"""
    return {
        f"{part}{index}": array
        for index, layer in enumerate(layers)
        for part, array in zip(("weight", "bias"), layer, strict=True)
    }


def layers_in(arrays: Mapping[str, NDArray[Any]]) -> tuple[tuple[Floats, Floats], ...]:
    """The inverse of `layer_arrays`; other arrays may lie among them. Raises `KeyError` where one is missing."""
    count = sum(name.startswith("weight") for name in arrays)
    return tuple(
        (arrays[f"weight{index}"].astype(np.float32), arrays[f"bias{index}"].astype(np.float32))
        for index in range(count)
    )


def require_finite(arrays: Mapping[str, NDArray[Any]], but: Iterable[str] = ()) -> None:
    """Raise `ValueError` for an array with a value that is no finite number; those named `but` may have some."""
    for name, array in arrays.items():
        if name not in but and array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"{printable(name, 40)} has a value that is no finite number")


def _content(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> bytes:
    """A part's bytes, compared with their checksum; never more than it says that it has."""
    with archive.open(part) as file:
        content = file.read(part.file_size + 1)
    if len(content) != part.file_size:
        raise ValueError(f"{printable(part.filename, 40)} is cut off")
    return content


def _array(content: bytes) -> NDArray[Any]:
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_columns, kind = read(file)
    if kind.kind not in _NUMBERS:
        raise ValueError(f"it holds {printable(kind, 40)} in the place of numbers")
    if min(shape, default=0) < 0 or math.prod(shape) * kind.itemsize != len(content) - file.tell():
        raise ValueError("an array is not as large as it says")
    flat = np.frombuffer(content, kind, offset=file.tell()).astype(kind.newbyteorder("="))
    return flat.reshape(shape, order="F" if by_columns else "C")
