"""Pictures that cannot be read are found before training, and all of them named at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lut.words import printable
from pnag.data.decode import BadImageError, decode, quietly, require_images
from pnag.errors import DataError

# Up to so many pictures are decoded in full, which takes some 2 ms each. Of more, each is opened and its end is
# looked at: most damage is a file that is no picture, or one that was cut off.
_MOST_DECODED = 20_000
_THUMBNAIL = (8, 8)
_TAIL_BYTES = 4096
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}


def require_sound(paths: Sequence[Path], train: int) -> None:
    """Raise `DataError` that names the pictures that cannot be read, or if the first `train` are all alike."""
    whole = len(paths) <= _MOST_DECODED

    def look(path: Path) -> bytes | BadImageError:
        try:
            return _thumbnail(path, printable(path, 400)) if whole else _ends_well(path, printable(path, 400))
        except BadImageError as error:
            return error

    with quietly(), ThreadPoolExecutor(os.cpu_count()) as pool:
        seen = list(pool.map(look, paths))
    require_images([result for result in seen if isinstance(result, BadImageError)], len(paths))
    require_different({result for result in seen[:train] if isinstance(result, bytes) and result}, train, whole)


def require_different(seen: set[bytes], images: int, whole: bool = True) -> None:
    """Raise `DataError` if training images that should differ are all alike, `seen` being what they look like."""
    if whole and images > 1 and len(seen) <= 1:
        raise DataError(
            f"all {images} training images are alike; nothing can be learnt from them: check how they were written"
        )


def _thumbnail(path: Path, where: str) -> bytes:
    return decode(path, where, smallest_side=4 * _THUMBNAIL[0]).resize(_THUMBNAIL).tobytes()


def _ends_well(path: Path, where: str) -> bytes:
    """Open a picture and look for the mark at its end; decode it where that is missing."""
    from PIL import Image

    try:
        with Image.open(path) as image, path.open("rb") as file:
            end = _ENDS.get(image.format or "")
            file.seek(-min(_TAIL_BYTES, path.stat().st_size), os.SEEK_END)
            if end is not None and end in file.read() and image.mode not in ("I", "F"):
                return b""
    except Exception:  # whatever it is, decoding says it in our words
        pass
    decode(path, where)
    return b""
