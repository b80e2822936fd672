"""From an encoded image to pixels: the one home of decoding, for files in folders and bytes in parquet alike.

What comes out is what a viewer shows: turned as the orientation flag says, 16-bit grey scaled to 8 bits, what is
transparent on white. What cannot be shown so without a guess is refused with its reason.
"""

from __future__ import annotations

import io
import stat
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lut.words import printable
from pnag.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image, Transpose

_MOST_PIXELS = 178_956_970  # the image library's own limit against files that unpack to more than memory
_LARGE_PIXELS = 30_000_000  # above, one image is decoded at a time, and made smaller at once
_LARGE_SIDE = 4096  # to which
_STRIP_PIXELS = 4_000_000
_LONGEST_RATIO = 4.0  # of width to height: what lies further out than a centre crop sees is cut off first
_LISTED = 5
_ORIENTATION, _BITS_PER_SAMPLE, _PHOTOMETRIC = 0x0112, 0x0102, 0x0106  # tags of TIFF and EXIF
_MIN_IS_WHITE = 0
_DEEP = ("I;16", "I;16L", "I;16B", "I;16N")
_SIXTEEN_BIT_FORMATS = ("PNG", "PPM")  # in which mode I holds 0 to 65,535

_one_large_image = threading.Lock()


class BadImageError(DataError):
    """One image cannot be used. `reason` says why, without its name."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"image {where} cannot be read ({reason}); replace or remove it")
        self.where, self.reason = where, reason


def require_images(bad: Sequence[BadImageError], looked_at: int) -> None:
    """Raise one `DataError` that names what is `bad` among so many images; nothing for none."""
    if len(bad) == 1:
        raise bad[0]
    if bad:
        named = ", ".join(f"{error.where} ({error.reason})" for error in bad[:_LISTED])
        more = f" and {len(bad) - _LISTED} more" if len(bad) > _LISTED else ""
        raise DataError(f"{len(bad)} of {looked_at} images cannot be read: {named}{more}; replace or remove them")


@contextmanager
def quietly() -> Iterator[None]:
    """Keep the image library's warnings off the terminal: what matters is an error of ours. For one thread."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def decode(source: Path | bytes | None, where: str, *, smallest_side: int | None = None) -> Image:
    """The image as a viewer shows it, mode RGB; of an animation the first picture.

    With `smallest_side` a JPEG may be decoded at a fraction of its size, but no smaller. Raises `BadImageError`
    for anything that is no image, is cut off, is too large (179 million pixels), or whose pixels have no one
    meaning in 8 bits (floats, 32-bit numbers). Call it within `quietly`.
    """
    try:
        return _decode(source, smallest_side)
    except _MeaninglessError as error:
        raise BadImageError(where, str(error)) from error
    except Exception as error:  # decoders raise whatever the broken part leads to
        raise BadImageError(where, _reason(error)) from error


class _MeaninglessError(ValueError):
    """Pixels whose range is not known."""


def _decode(source: Path | bytes | None, smallest_side: int | None) -> Image:
    from PIL import Image

    content = io.BytesIO(source or b"") if source is None or isinstance(source, bytes) else source
    if isinstance(content, Path) and not stat.S_ISREG(content.stat().st_mode):
        raise _MeaninglessError("it is no file")  # a pipe would be waited for
    with Image.open(content) as opened:
        pixels = opened.width * opened.height
        if pixels > _MOST_PIXELS:
            raise _MeaninglessError(f"its {pixels} pixels are more than {_MOST_PIXELS}; make it smaller")
        large = pixels > _LARGE_PIXELS
        if smallest_side is not None or large:
            opened.draft(None, (smallest_side or _LARGE_SIDE,) * 2)  # of JPEGs; others ignore it
        with _one_large_image if large else nullcontext():
            opened.load()
            turn = _turn(opened)  # only now: some formats hold the flag behind the pixels
            deep = _deep(opened)
            image = _smaller(opened, deep) if large else _on_white(_eight_bits(opened, deep))
    if turn is not None:
        image = image.transpose(turn)
    return _cut_to_ratio(image)


def _smaller(image: Image, deep: _Deep) -> Image:
    """A large image at a fraction of its size, mode RGB: strip by strip, as each step takes as much memory again."""
    from PIL.Image import new

    factor = max(1, max(image.size) // _LARGE_SIDE)
    out = new("RGB", (-(-image.width // factor), -(-image.height // factor)))
    rows = factor * max(1, _STRIP_PIXELS // (image.width * factor))
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(image.height, top + rows)))
        strip.format = image.format
        out.paste(_on_white(_eight_bits(strip, deep, palettes=True).reduce(factor)), (0, top // factor))
    return out


class _Deep(NamedTuple):
    """What grey values of more than 8 bits mean: how many bits count, and whether 0 is white."""

    bits: int = 16
    from_white: bool = False


def _deep(image: Image) -> _Deep:
    """As TIFF files say it; 16 bits from black in all others."""
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    said = tags.get(_BITS_PER_SAMPLE, 16)
    found = max(said) if isinstance(said, tuple) and said else said
    bits = found if isinstance(found, int) and 8 < found < 16 else 16
    return _Deep(bits, tags.get(_PHOTOMETRIC) == _MIN_IS_WHITE)


def _eight_bits(image: Image, deep: _Deep, *, palettes: bool = False) -> Image:
    """A mode of 8 bits a channel for those of more, which a plain conversion would clip."""
    if image.mode in _DEEP or (image.mode == "I" and image.format in _SIXTEEN_BIT_FORMATS):
        return _high_bytes(image, deep)
    if image.mode in ("I", "F") or image.mode.startswith(("I;", "F;")):
        kind = "floating-point" if image.mode.startswith("F") else "32-bit"
        raise _MeaninglessError(f"its pixels are {kind} numbers, whose range is not known; save it with 8 or 16 bits")
    if palettes and image.mode in ("1", "P"):
        return image.convert("L" if image.mode == "1" else "RGBA" if "transparency" in image.info else "RGB")
    return image


def _high_bytes(image: Image, deep: _Deep) -> Image:
    """The upper 8 of so many bits, strip by strip: as arrays a large image would take several times its memory."""
    from PIL.Image import fromarray, new

    out, rows = new("L", image.size), max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        strip = np.asarray(image.crop((0, top, image.width, min(image.height, top + rows))))
        values = strip.astype(strip.dtype.newbyteorder("=")).astype(np.int32) >> (deep.bits - 8)
        values = 255 - values if deep.from_white else values
        out.paste(fromarray(values.clip(0, 255).astype(np.uint8)), (0, top))
    return out


def _on_white(image: Image) -> Image:
    """Mode RGB, with white behind what is transparent."""
    from PIL.Image import alpha_composite, new

    if "A" not in image.mode and "a" not in image.mode and "transparency" not in image.info:
        return image.convert("RGB")
    if image.mode in ("La", "RGBa"):  # premultiplied
        image = image.convert(image.mode.upper())
    clear = image.convert("RGBA")
    if clear.getchannel("A").getextrema() == (255, 255):
        return clear.convert("RGB")
    return alpha_composite(new("RGBA", clear.size, "white"), clear).convert("RGB")


def _turn(image: Image) -> Transpose | None:
    """What the orientation flag asks for. A flag that cannot be read turns nothing, as in viewers."""
    from PIL.Image import Transpose

    try:
        flag = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # a damaged flag does not damage the picture
        return None
    return {
        2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM, 5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_90,
    }.get(flag if isinstance(flag, int) else 1)  # fmt: skip


def _cut_to_ratio(image: Image) -> Image:
    """The middle of an image that is very long: enlarged by its short side it would not fit into memory."""
    width, height = image.size
    longest = round(_LONGEST_RATIO * min(width, height))
    if max(width, height) <= longest:
        return image
    left, top = max(0, (width - longest) // 2), max(0, (height - longest) // 2)
    return image.crop((left, top, left + min(width, longest), top + min(height, longest)))


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError
    from PIL.Image import DecompressionBombError

    if isinstance(error, DecompressionBombError):
        return f"it has more than {_MOST_PIXELS} pixels; make it smaller"
    if isinstance(error, UnidentifiedImageError):
        return "it is no image, or of a format that is not known here"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, MemoryError):
        return "it does not fit into memory"
    return printable(str(error) or type(error).__name__, 80)
