"""CSV with the columns `block,latency_ms`: how measurements of others come in, and ours go out."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping

from lut.blocks import parse_block
from lut.errors import BlockKeyError, ExchangeError
from lut.words import printable

HEADER = ("block", "latency_ms")
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+(?:[eE][-+]?\d+)?")


def read_csv(text: str, known: Iterable[str]) -> dict[str, float]:
    """Latencies in ms by block key, in the order of the file. Blank lines are passed over.

    `known` are the keys that may occur: those of the space. Raises `ExchangeError`, naming the line, for
    another header, a row of another length, an unknown or repeated block, or a latency that is not a
    positive number.
    """
    keys = set(known)
    latencies: dict[str, float] = {}
    text = text.removeprefix("\ufeff")
    separator = separator_of(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        header = _cells(next(reader, []))
        if header[:1] == ["sep="]:  # by which Excel is told; the sign itself separates
            header = _cells(next(reader, []))
        if tuple(header) != HEADER:
            raise ExchangeError(
                f"line 1: the header is '{printable(separator.join(header), 80)}'; it must be '{','.join(HEADER)}'"
            )
        for row in map(_cells, reader):
            if row:
                key, latency_ms = _row(row, keys, decimal_comma=separator != ",")
                if key in latencies:
                    raise ExchangeError(f"block {printable(key, 120)} occurs for the second time; keep one row of it")
                latencies[key] = latency_ms
    except (ExchangeError, csv.Error) as error:
        place = "" if str(error).startswith("line ") else f"line {reader.line_num}: "
        raise ExchangeError(f"{place}{error}") from error
    return latencies


def separator_of(text: str) -> str:
    """What stands between the values of a CSV: a comma, or what spreadsheets write where that is the decimal sign."""
    lines = text.lstrip("\ufeff").lstrip().splitlines()[:1] or [""]
    if lines[0].lower().startswith("sep=") and len(lines[0].strip()) == len("sep=") + 1:
        return lines[0].strip()[-1]
    return next((sign for sign in (",", ";", "\t") if sign in lines[0]), ",")


def without_decimal_comma(text: str) -> str:
    """`1,25` as `1.25`; other texts as they are."""
    return text.replace(",", ".") if _DECIMAL_COMMA.fullmatch(text) else text


def _cells(row: list[str]) -> list[str]:
    """Values without the spaces around, and without the empty columns that spreadsheets write; none of an empty row."""
    cells = [cell.strip() for cell in row]
    while len(cells) > len(HEADER) and not cells[-1]:
        del cells[-1]
    return cells if any(cells) else []


def _row(row: list[str], known: set[str], *, decimal_comma: bool) -> tuple[str, float]:
    if len(row) != len(HEADER):
        raise ExchangeError(f"{len(row)} values instead of {len(HEADER)}; write a block and a latency with a point")
    key = row[0]
    if key not in known:
        try:
            parse_block(key)
        except BlockKeyError as error:
            raise ExchangeError(str(error)) from error
        raise ExchangeError(
            f"block {printable(key, 120)} is not in the space; give the space it belongs to, or drop the row"
        )
    return key, latency(without_decimal_comma(row[1]) if decimal_comma else row[1])


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
