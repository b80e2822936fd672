"""Images as they lie around: pixel modes, orientation, size, damage. Both readers see the same picture."""

import io
import struct
import warnings

import numpy as np
import pytest
from PIL import Image

from pnag.data import decode as decoding
from pnag.data.decode import BadImageError, decode, quietly

SIDE = 24


def encoded(image, form="PNG", **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def ramp():
    """Dark on the left, light on the right, (SIDE, SIDE) uint8."""
    return np.tile(np.linspace(20, 230, SIDE).astype(np.uint8), (SIDE, 1))


def halves():
    return np.repeat(np.array([[0, 255]], np.uint8), SIDE, 0).repeat(SIDE // 2, 1)


def grey16(values, form):
    return encoded(Image.fromarray((values.astype(np.uint16) << 8) + 77), form)


def big_endian(values):
    return (values.astype(np.uint16) << 8).astype(">u2").tobytes()


def tiff(values, bits, photometric):
    """An uncompressed TIFF file of grey values of 12 or 16 bits, as microscopes write them."""
    flat = values.astype(np.uint32).ravel() << (bits - 8)
    flat = (1 << bits) - 1 - flat if photometric == 0 else flat
    if bits == 12:  # two values in three bytes
        pairs = (flat[::2] << 12) | flat[1::2]
        data = b"".join(int(pair).to_bytes(3, "big") for pair in pairs)
    else:
        data = flat.astype("<u2").tobytes()
    height, width = values.shape
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: height, 279: len(data)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


MODES = {
    "L": lambda v: encoded(Image.fromarray(v)),
    "LA": lambda v: encoded(Image.fromarray(v).convert("LA")),
    "P": lambda v: encoded(Image.fromarray(v).convert("P")),
    "P, one colour transparent": lambda v: encoded(Image.fromarray(v).convert("P"), transparency=0),
    "PA": lambda v: encoded(Image.fromarray(v).convert("LA"), "TIFF"),
    "RGB": lambda v: encoded(Image.fromarray(v).convert("RGB")),
    "RGBA": lambda v: encoded(Image.fromarray(v).convert("RGBA")),
    "CMYK": lambda v: encoded(Image.fromarray(v).convert("CMYK"), "TIFF"),
    "CMYK of JPEG": lambda v: encoded(Image.fromarray(v).convert("CMYK"), "JPEG", quality=98),
    "YCbCr": lambda v: encoded(Image.fromarray(v).convert("RGB"), "JPEG", quality=98),
    "I;16": lambda v: grey16(v, "PNG"),
    "I;16 of TIFF": lambda v: grey16(v, "TIFF"),
    "I;16B": lambda v: encoded(Image.frombytes("I;16B", v.shape[::-1], big_endian(v)), "TIFF"),
    "12 bits of TIFF": lambda v: tiff(v, 12, 1),
    "16 bits of TIFF, 0 is white": lambda v: tiff(v, 16, 0),
    "I of PGM": lambda v: b"P5 %d %d 65535\n" % v.shape[::-1] + big_endian(v),
    "GIF": lambda v: encoded(Image.fromarray(v), "GIF"),
    "BMP": lambda v: encoded(Image.fromarray(v), "BMP"),
    "WEBP": lambda v: encoded(Image.fromarray(v).convert("RGB"), "WEBP", lossless=True),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_read_as_its_8_bit_twin(mode):
    with quietly():
        pixels = np.asarray(decode(MODES[mode](ramp()), mode)).astype(int)
    assert pixels.shape == (SIDE, SIDE, 3)
    assert np.abs(pixels - ramp()[:, :, None]).max() <= 12


def test_one_bit_images_are_black_and_white():
    pixels = np.asarray(decode(encoded(Image.fromarray(halves()).convert("1")), "x"))
    assert np.array_equal(pixels[:, :, 1], halves())


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixels_without_a_known_range_are_refused(mode):
    with pytest.raises(BadImageError, match="whose range is not known; save it with 8 or 16 bits"):
        decode(encoded(Image.fromarray(ramp()).convert(mode), "TIFF"), "x")


def test_what_is_transparent_is_white():
    black = np.zeros((SIDE, SIDE, 4), np.uint8)
    black[:, SIDE // 2 :, 3] = 255  # the left half shows what is behind
    pixels = np.asarray(decode(encoded(Image.fromarray(black)), "x"))
    assert np.array_equal(pixels[:, :, 0], 255 - halves())


@pytest.mark.parametrize("flag", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_the_orientation_flag_is_obeyed(flag, form):
    from PIL import ImageOps

    picture = np.zeros((SIDE, 2 * SIDE), np.uint8)
    picture[: SIDE // 2, :SIDE] = 120
    picture[SIDE // 2 :, :SIDE] = 250
    exif = Image.Exif()
    exif[0x0112] = flag
    content = encoded(Image.fromarray(picture).convert("RGB"), form, exif=exif)
    shown = Image.open(io.BytesIO(content))
    shown.load()
    assert np.array_equal(decode(content, "x"), ImageOps.exif_transpose(shown))


def test_a_damaged_flag_turns_nothing():
    content = encoded(Image.fromarray(ramp()).convert("RGB"), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f", quality=98)
    with quietly():
        assert np.abs(np.asarray(decode(content, "x")).astype(int)[:, :, 0] - ramp()).max() <= 12


def test_of_an_animation_the_first_picture_is_taken():
    frames = [Image.fromarray(np.full((SIDE, SIDE), value, np.uint8)) for value in (50, 200)]
    for form in ("GIF", "PNG", "WEBP", "TIFF"):
        options = {"lossless": True} if form == "WEBP" else {}
        content = encoded(frames[0].convert("RGB"), form, save_all=True, append_images=frames[1:], **options)
        assert abs(int(np.asarray(decode(content, form)).mean()) - 50) <= 1


def test_the_smallest_and_the_longest():
    assert np.asarray(decode(encoded(Image.new("RGB", (1, 1), (1, 2, 3))), "x")).tolist() == [[[1, 2, 3]]]
    assert decode(encoded(Image.new("L", (9000, 3))), "x").size == (12, 3)
    assert decode(encoded(Image.new("L", (2, 9000))), "x").size == (2, 8)


def test_a_large_image_is_read_smaller_and_a_larger_one_refused():
    with warnings.catch_warnings(), quietly():
        large = decode(encoded(Image.new("1", (10_000, 9_500), 1)), "x")
        assert max(large.size) <= 8192
        assert large.getextrema() == ((255, 255),) * 3
        for side in (13_400, 20_000):
            with pytest.raises(BadImageError, match=r"image x cannot be read \(it has more than 178956970 pixels"):
                decode(encoded(Image.new("1", (side, side))), "x")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_strips_of_a_large_image_are_what_the_whole_is(monkeypatch, mode):
    monkeypatch.setattr(decoding, "_LARGE_PIXELS", 100)
    monkeypatch.setattr(decoding, "_LARGE_SIDE", 10)
    monkeypatch.setattr(decoding, "_STRIP_PIXELS", 500)
    values = np.random.default_rng(0).integers(0, 255, (43, 61, 3), np.uint8)
    image = Image.fromarray(values).convert(mode)
    wanted = image.convert("RGB").reduce(6)
    assert np.array_equal(decode(encoded(image), "x"), wanted)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM"])
def test_whatever_decoding_raises_is_a_bad_image(form):
    rng = np.random.default_rng(0)
    content = encoded(Image.fromarray(rng.integers(0, 255, (SIDE, SIDE, 3), np.uint8)), form)
    damaged = [content[: len(content) // 2], content[:20], b"", b"no image", None]
    for _ in range(60):
        broken = bytearray(content)
        for place in rng.integers(0, len(broken), 6):
            broken[place] = rng.integers(0, 256)
        damaged.append(bytes(broken))
    with quietly():
        refusals = [refusal(one) for one in damaged]
    assert all(refusals[:5]), "what was cut off cannot be whole"
    for line in refusals:
        assert line is None or (line.startswith("image here.png cannot be read (") and "\n" not in line)


def refusal(content):
    """What is said about an image; None if it was read."""
    try:
        assert decode(content, "here.png").mode == "RGB"
    except BadImageError as error:
        return str(error)
    return None
