"""CSV with the columns `block,latency_ms`: how measurements of others come in, and ours go out."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping

from lut.blocks import parse_block
from lut.errors import BlockKeyError, ExchangeError
from lut.words import printable

HEADER = ("block", "latency_ms")


def read_csv(text: str, known: Iterable[str]) -> dict[str, float]:
    """Latencies in ms by block key, in the order of the file. Blank lines are passed over.

    `known` are the keys that may occur: those of the space. Raises `ExchangeError`, naming the line, for
    another header, a row of another length, an unknown or repeated block, or a latency that is not a
    positive number.
    """
    keys = set(known)
    latencies: dict[str, float] = {}
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    try:
        header = next(reader, [])
        if tuple(name.strip() for name in header) != HEADER:
            raise ExchangeError(
                f"line 1: the header is '{printable(','.join(header), 80)}'; it must be '{','.join(HEADER)}'"
            )
        for row in reader:
            if row:
                key, latency_ms = _row(row, keys)
                if key in latencies:
                    raise ExchangeError(f"block {printable(key, 120)} occurs for the second time; keep one row of it")
                latencies[key] = latency_ms
    except (ExchangeError, csv.Error) as error:
        place = "" if str(error).startswith("line ") else f"line {reader.line_num}: "
        raise ExchangeError(f"{place}{error}") from error
    return latencies


def _row(row: list[str], known: set[str]) -> tuple[str, float]:
    if len(row) != len(HEADER):
        raise ExchangeError(f"{len(row)} values instead of {len(HEADER)}; write a block and a latency with a point")
    key = row[0].strip()
    if key not in known:
        try:
            parse_block(key)
        except BlockKeyError as error:
            raise ExchangeError(str(error)) from error
        raise ExchangeError(
            f"block {printable(key, 120)} is not in the space; give the space it belongs to, or drop the row"
        )
    return key, latency(row[1].strip())


def latency(value: object) -> float:
    """`value` as a latency in ms; raises `ExchangeError` unless it is a finite number above 0."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not (math.isfinite(number) and number > 0):
        if isinstance(value, str):
            text = value and printable(value[:60])
        else:  # of another type only a number is worth printing, and a long one is not
            plain = isinstance(value, bool | float)
            text = str(value) if plain else f"{number:g}" if isinstance(value, int) else type(value).__name__
        raise ExchangeError(f"a latency of '{text}' ms is not a number above 0; correct it or drop the row")
    return number


def write_csv(latencies_ms: Mapping[str, float]) -> str:
    """The text of a CSV file; numbers with the fewest digits that read back equal."""
    lines = [",".join(HEADER), *(f"{key},{float(value)!r}" for key, value in latencies_ms.items())]
    return "\n".join(lines) + "\n"
