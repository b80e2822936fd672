"""What all fuzzing shares: bounds on memory and time, and ways to spoil a valid file.

Each input is read, or refused in one line. No traceback, no hang, no memory beyond 1 GB, no number that was not there.
`PNAG_FUZZ_EXAMPLES=3000 pytest tests/fuzz` goes on for as long as you like. What once failed stays as an `@example`.
"""

from __future__ import annotations

import json
import math
import os
import re
import resource
import signal
import string
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from devices import DeviceError
from lut.errors import LutError
from pnag.errors import PnagError
from profiler.errors import ProfilerError

EXAMPLES = int(os.environ.get("PNAG_FUZZ_EXAMPLES", "0"))
OURS = (DeviceError, LutError, PnagError, ProfilerError)
MOST_BYTES = 1_000_000_000
MOST_SECONDS = 20
_LONGEST_LINE = 2000
_STATUS, _REFERENCES = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def fuzz(examples: int = 25) -> settings:
    """Settings for a test whose examples are this many unless the environment asks for more."""
    more = {"derandomize": False} if EXAMPLES else {}
    return settings(
        max_examples=EXAMPLES or examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
        **more,
    )


def one_line(error: BaseException, name: str = "") -> None:
    """Assert that an error of ours is one line for people, which names the file."""
    line = str(error)
    assert isinstance(error, OURS), repr(error)
    assert line.strip()
    assert not {"\n", "\r"} & set(line), line
    assert len(line) < _LONGEST_LINE
    assert name in line


@contextmanager
def bounded() -> Iterator[None]:
    """Assert that the body takes neither more than 1 GB of memory, nor long. What takes far more is stopped."""
    if not _STATUS.exists():  # no Linux
        yield
        return
    before = _memory("VmRSS")
    with suppress(OSError):
        _REFERENCES.write_text("5")  # the peak counts from here
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_memory("VmSize") + 3 * MOST_BYTES, hard))
    previous = signal.signal(signal.SIGALRM, _hangs)
    signal.alarm(MOST_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert _memory("VmHWM") - before < MOST_BYTES


def _hangs(*_: object) -> None:
    raise AssertionError(f"it takes more than {MOST_SECONDS} seconds")


def _memory(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


# -- text ---------------------------------------------------------------------------------------------------

NUMBERS = (
    "nan",
    "inf",
    "-inf",
    "0",
    "-1",
    "1e999",
    "1e-999",
    "9" * 400,
    "9" * 5000,
    "0x10",
    "1_0",
    "٣",
    "²",
    "1.2.3",
    "",
)


def texts(*whole: str) -> st.SearchStrategy[str]:
    """Text in which the pieces of a grammar are frequent, and anything may stand."""
    signs = [*"=:[]{},\"'#&*!|>?-%@`\n\r\t", "count=", " avg=", " median=", "us: ", " ms", "1e9", *NUMBERS]
    pieces = st.one_of(
        st.sampled_from([*signs, *whole]),
        st.text(max_size=12),
        st.text(string.printable, max_size=12),
        st.integers().map(str),
        st.floats().map(str),
    )
    return st.lists(pieces, max_size=30).map("".join)


@st.composite
def spoilt_text(draw: st.DrawFn, valid: str) -> str:
    """A valid text with some numbers and words replaced, lines dropped, repeated or swapped, and the end cut off."""
    text = valid
    for _ in range(draw(st.integers(0, 3))):
        places = [match.span() for match in re.finditer(r"[-+]?[\d.]+|\w+", text)]
        if places:
            start, end = draw(st.sampled_from(places))
            new = draw(st.sampled_from([*NUMBERS, "x", "\0", "\ud800", '"', "{", "[" * 3000]))
            text = text[:start] + new + text[end:]
    lines = text.splitlines(keepends=True)
    for _ in range(draw(st.integers(0, 2))):
        if lines:
            at, what = draw(st.integers(0, len(lines) - 1)), draw(st.sampled_from(["drop", "twice", "swap", "odd"]))
            if what == "drop":
                del lines[at]
            elif what == "twice":
                lines.insert(at, lines[at])
            elif what == "swap":
                lines[0], lines[at] = lines[at], lines[0]
            else:
                lines[at] = draw(st.text(max_size=20)) + "\n"
    text = "".join(lines)
    return text[: draw(st.integers(0, len(text)))] if draw(st.integers(0, 5)) == 0 else text


# -- JSON values --------------------------------------------------------------------------------------------

ODD = (
    None,
    True,
    -1,
    0,
    1.5,
    10**30,
    10**400,
    math.nan,
    math.inf,
    -math.inf,
    "",
    "x",
    "1",
    "\ud800",
    [],
    {},
    [[]],
    {"a": 1},
    [None],
)


@st.composite
def spoilt_json(draw: st.DrawFn, valid: Any) -> Any:
    """A valid JSON value with some of it replaced, left out or added; sometimes something else altogether."""
    value = json.loads(json.dumps(valid))
    for _ in range(draw(st.integers(0, 2))):
        value = _spoilt_at(draw, value)
    return value


def _spoilt_at(draw: st.DrawFn, value: Any, depth: int = 0) -> Any:
    if isinstance(value, dict | list) and value and (depth == 0 or draw(st.integers(0, 3))):
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = draw(st.sampled_from(list(keys)))
        what = draw(st.integers(0, 5))
        if what == 0:
            del value[key]
        elif what == 1 and isinstance(value, dict):
            value["another"] = value[key]
        else:
            value[key] = _spoilt_at(draw, value[key], depth + 1)
        return value
    return deepcopy(draw(st.sampled_from(ODD)))  # what is drawn may be spoilt further


@st.composite
def spoilt_json_text(draw: st.DrawFn, valid: Any) -> bytes:
    """The text of such a value, itself sometimes damaged, or nested as deep as no file is."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.sampled_from([b"[" * 100_000, b'{"a":' * 100_000, b"", b"null", b"[]", b"3", b"\xff\xfe"]))
    text = json.dumps(draw(spoilt_json(valid))).encode()
    return damaged(text, draw(DAMAGE)) if draw(st.integers(0, 3)) == 0 else text


# -- bytes --------------------------------------------------------------------------------------------------

DAMAGE = st.tuples(
    st.lists(st.tuples(st.integers(0, 1 << 22), st.integers(0, 255)), max_size=6),
    st.one_of(st.just(0), st.just(0), st.integers(0, 1 << 20)),
)
NO_DAMAGE: tuple[list[tuple[int, int]], int] = ([], 0)


def damaged(content: bytes, damage: tuple[list[tuple[int, int]], int]) -> bytes:
    """Bytes with some of them changed, and the end cut off."""
    places, cut = damage
    out = bytearray(content)
    for place, value in places:
        if out:
            out[place % len(out)] = value
    return bytes(out[: len(out) - cut % len(out)]) if cut and out else bytes(out)


def bomb(name: str, *, head: bytes = b"", claimed: int | None = None, size: int = 3 << 30) -> bytes:
    """A zip archive of some megabytes with one part that unpacks to `size` bytes of zeros behind `head`.

    `claimed` is how large the archive says that the part is, if not what it is.
    """
    piece = bytes(1 << 20)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    begin = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = begin + again * (size >> 20) + packer.flush(zlib.Z_FINISH)
    says = len(head) + size if claimed is None else claimed
    common = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 33, 1, len(packed), min(says, 0xFFFFFFFE), len(name), 0)
    local = b"PK\x03\x04" + common + name.encode() + packed
    central = b"PK\x01\x02" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name.encode()
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)
    return local + central + end
