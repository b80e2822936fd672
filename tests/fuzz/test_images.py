"""Encoded images, spoilt in their bytes and in the size that they claim: a picture, or a reason."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pnag.data.decode import BadImageError, decode, quietly
from tests.fuzz.harness import DAMAGE, EXAMPLES, bounded, damaged, fuzz, one_line

SIDE = 20
FORMS = ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "TGA", "ICO", "PCX", "JPEG2000")


def picture(form: str) -> bytes:
    file = io.BytesIO()
    values = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
    Image.fromarray(values).save(file, form)
    return file.getvalue()


PICTURES = {form: picture(form) for form in FORMS}


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, depth: int, colour: int) -> bytes:
    """A picture that claims a size and has next to no pixels."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(3000))) + chunk(b"IEND", b"")
    )


@fuzz(60)
@given(form=st.sampled_from(FORMS), damage=DAMAGE)
def test_damaged_pictures(form, damage):
    read(damaged(PICTURES[form], damage))


SIZES = st.sampled_from([0, 1, 2, 255, 4097, 13_000, 65_535, 1 << 20, (1 << 31) - 1, (1 << 32) - 1])


@fuzz(30)
@given(width=SIZES, height=SIZES, depth=st.sampled_from([1, 8, 16]), colour=st.sampled_from([0, 2, 3, 4, 6]))
def test_pictures_that_claim_a_size(width, height, depth, colour):
    read(png(width, height, depth, colour))
    read(b"P6 %d %d 255\n" % (width, height) + bytes(100))


def read(content: bytes) -> None:
    try:
        with bounded(), quietly():
            found = decode(content, "here.png")
    except BadImageError as error:
        one_line(error, "here.png")
        return
    assert found.mode == "RGB"
    assert min(found.size) >= 1


def zeros(size: int) -> bytes:
    """So many zeros as zlib packs them, made in no time: packed once and repeated."""
    piece, packer = 1 << 20, zlib.compressobj(9, zlib.DEFLATED, -15)
    whole = packer.compress(bytes(piece)) + packer.flush(zlib.Z_FULL_FLUSH)
    rest = packer.compress(bytes(size % piece)) + packer.flush(zlib.Z_FINISH)
    return b"\x78\x01" + whole * (size // piece) + rest + struct.pack(">HH", size % 65_521, 1)


# Bits and colour of PNG: 16-bit grey takes the most steps; the others are looked at where there is time.
LARGE = [(16, 0), *([(8, 6), (16, 2), (8, 4), (1, 0)] if EXAMPLES else [])]


@pytest.mark.parametrize(("depth", "colour"), LARGE)
def test_the_largest_picture_takes_less_than_a_gigabyte(depth, colour):
    side = 13_370
    bits = depth * {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    body = zeros(side * (1 + -(-side * bits // 8)))
    head = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    with bounded(), quietly():
        shown = decode(content, "large.png")
    assert max(shown.size) <= 8192
    assert shown.getextrema() == (((255, 255),) * 3 if colour in (4, 6) else ((0, 0),) * 3)
