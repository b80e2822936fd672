"""The one append-only file of finished work: JSON lines, each on disk before the next one is begun.

One rule for what a death leaves behind: a last line without its end is dropped, and written over by the next. What
is wrong anywhere else is damage, and an error.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Self

from lut.errors import LutError, OutputError
from lut.formats.canonical import parse_json


class DamagedJournalError(LutError):
    """A line that is not the last one cannot be read."""


def read_lines(path: Path) -> tuple[Any, ...]:
    """The values of the whole lines of a file, () where there is none. Raises `DamagedJournalError`, `OSError`."""
    rows, _ = _whole(path)
    return rows


def _whole(path: Path) -> tuple[tuple[Any, ...], int]:
    """The values of the whole lines, and their length in bytes."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return (), 0
    length = content.rfind(b"\n") + 1
    try:
        return tuple(parse_json(line) for line in content[:length].split(b"\n")[:-1]), length
    except ValueError as error:
        raise DamagedJournalError(f"{path} is damaged ({error}); remove it, or start over with --fresh") from error


class LineJournal:
    """A file to append to. A context manager; `rows` holds what was there when it was opened."""

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        """Open or begin the file at `path`; with `fresh`, what is there is dropped.

        Raises `DamagedJournalError`, and `OutputError` where the file cannot be written. Nothing is changed then.
        """
        self.path = path
        try:
            self.rows, self._length = ((), 0) if fresh else _whole(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = path.open("r+b" if self._length else "wb", buffering=0)
            self._cut()
        except OSError as error:
            raise self._unwritable(error, "choose another place") from error

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add lines; they are on disk when this returns. Raises `OutputError` if they cannot be, then none is added."""
        data = b"".join(json.dumps(row, allow_nan=False).encode() + b"\n" for row in rows)
        try:
            written = 0
            while written < len(data):
                written += self._file.write(data[written:]) or 0
            os.fsync(self._file.fileno())
        except OSError as error:
            with suppress(OSError):
                self._cut()  # or what is appended later would end a torn line in the middle
            raise self._unwritable(error, "make room, run again") from error
        self._length += len(data)

    def _cut(self) -> None:
        """Drop what lies behind the whole lines."""
        self._file.truncate(self._length)
        self._file.seek(self._length)

    def _unwritable(self, error: OSError, remedy: str) -> OutputError:
        return OutputError(f"cannot write {self.path}: {error.strerror or error}; {remedy}")

    def close(self) -> None:
        """Close the file. Closing twice is harmless."""
        with suppress(OSError):
            self._file.close()

    def remove(self) -> None:
        """The work is complete and its result is written: the journal has done its part."""
        self.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
