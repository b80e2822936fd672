"""A session's journal: one JSON line per finished measurement, on disk before the next one starts.

The first line is the header with the fingerprint of what is measured, and how. A process killed while it
writes leaves a torn last line, which is dropped; damage anywhere else is an error.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from profiler.errors import JournalError
from profiler.measure.measurement import Visit

_VERSION = 1


def fingerprint(content: Mapping[str, Any]) -> str:
    """SHA-256 of canonical JSON: equal for sessions that may continue one another."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


class Journal:
    """An append-only file of visits. A context manager; `visits` holds what was there when it was opened."""

    def __init__(self, path: Path, fingerprint: str, *, fresh: bool = False) -> None:
        """Open or begin the journal at `path`; with `fresh`, what is there is dropped.

        Raises `JournalError` for another session's journal, a damaged one, or one that cannot be written.
        """
        self.path = path
        self.visits: tuple[Visit, ...] = ()
        header = {"journal": _VERSION, "fingerprint": fingerprint}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            whole = 0 if fresh or not path.exists() else self._read(path, header)
            self._file: IO[bytes] = path.open("r+b" if whole else "wb")
            self._file.truncate(whole)
            self._file.seek(whole)
            if not whole:
                self._begin(header)
        except OSError as error:
            raise JournalError(f"cannot write {path}: {error.strerror or error}; choose another place") from error

    def _begin(self, header: Mapping[str, Any]) -> None:
        """Write the header; where that fails, no journal is left."""
        try:
            self._write([dict(header)])
        except OSError:
            self.remove()
            raise

    def _read(self, path: Path, header: Mapping[str, Any]) -> int:
        """Take the visits in; returns the length in bytes of what is whole."""
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        lines = content[:whole].splitlines()
        if not lines:
            return 0  # killed before the header was whole
        try:
            rows = [json.loads(line) for line in lines]
            theirs, visits = rows[0], tuple(Visit.from_json(row) for row in rows[1:])
            known = theirs["fingerprint"], theirs["journal"]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise JournalError(f"{path} is damaged ({error}); start over with --fresh") from error
        if known != (header["fingerprint"], header["journal"]):
            raise JournalError(
                f"{path} belongs to a session with other settings, device or blocks; "
                "repeat that one's options to go on, or start over with --fresh"
            )
        self.visits = visits
        return whole

    def append(self, visits: Iterable[Visit]) -> None:
        """Add finished visits; they are on disk when this returns. Raises `JournalError` on a full disk."""
        try:
            self._write([visit.to_json() for visit in visits])
        except OSError as error:
            raise JournalError(f"cannot write {self.path}: {error.strerror or error}; make room, run again") from error

    def _write(self, rows: list[dict[str, Any]]) -> None:
        self._file.write(b"".join(json.dumps(row, allow_nan=False).encode() + b"\n" for row in rows))
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file. Closing twice is harmless."""
        with suppress(OSError):
            self._file.close()

    def remove(self) -> None:
        """The session is complete and its table is written: the journal has done its work."""
        self.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
