"""Pictures that cannot be read are found before training, and all of them named at once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lut.words import printable
from pnag.data.decode import BadImageError, decode, quietly, require_images
from pnag.errors import DataError

# Up to so many pictures are decoded in full, which takes some 2 ms each. Of more, each is opened and its end is
# looked at: most damage is a file that is no picture, or one that was cut off.
_MOST_DECODED = 20_000
_SAMPLED = 500  # of more, so many are decoded in full too
_LEAST_CONTRAST = 16  # of 256 values: what 12 bits in the place of 16 come to
_SMALL = 32  # no smaller than that a JPEG is decoded for a look
_TAIL_BYTES = 4096
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}


@dataclass(frozen=True)
class Look:
    """What one picture looks like: a digest of its pixels, and its darkest and lightest value."""

    digest: bytes
    darkest: int
    lightest: int


def require_sound(paths: Sequence[Path], train: int) -> None:
    """Raise `DataError` that names the pictures that cannot be read, or if the first `train` are all alike."""
    each = 1 if len(paths) <= _MOST_DECODED else -(-len(paths) // _SAMPLED)  # every `each`-th is looked at in full

    def look(item: tuple[int, Path]) -> Look | BadImageError | None:
        index, path = item
        try:
            if index % each == 0:
                return _look(path, printable(path, 400))
            _ends_well(path, printable(path, 400))
        except BadImageError as error:
            return error
        return None

    with quietly(), ThreadPoolExecutor(os.cpu_count()) as pool:
        seen = list(pool.map(look, enumerate(paths)))
    require_images([result for result in seen if isinstance(result, BadImageError)], len(paths))
    looks = [result for result in seen[:train] if isinstance(result, Look)]
    require_different({look.digest for look in looks}, train)
    if looks:
        require_contrast(min(look.darkest for look in looks), max(look.lightest for look in looks), train)


def require_different(seen: set[bytes], images: int) -> None:
    """Raise `DataError` if training images that should differ are all alike, `seen` being what they look like."""
    if images > 1 and len(seen) <= 1:
        raise DataError(
            f"all {images} training images are alike; nothing can be learnt from them: check how they were written"
        )


def require_contrast(darkest: int, lightest: int, images: int) -> None:
    """Raise `DataError` if the values of all training images together, 0 to 255, are next to the same."""
    if images > 1 and lightest - darkest < _LEAST_CONTRAST:
        raise DataError(
            f"all {images} training images are of nearly one shade (values {darkest} to {lightest} of 0 to 255); "
            "nothing can be learnt from them: check how they were written, and scale 10 or 12 bits kept in 16 to all 16"
        )


def _look(path: Path, where: str) -> Look:
    image = decode(path, where, smallest_side=_SMALL)
    low, high = zip(*image.getextrema(), strict=True)
    return Look(hashlib.sha1(image.tobytes(), usedforsecurity=False).digest(), int(min(low)), int(max(high)))


def _ends_well(path: Path, where: str) -> None:
    """Open a picture and look for the mark at its end; decode it where that is missing."""
    from PIL import Image

    try:
        with Image.open(path) as image, path.open("rb") as file:
            end = _ENDS.get(image.format or "")
            file.seek(-min(_TAIL_BYTES, path.stat().st_size), os.SEEK_END)
            if end is not None and end in file.read() and image.mode not in ("I", "F"):
                return
    except Exception:  # whatever it is, decoding says it in our words
        pass
    decode(path, where)
