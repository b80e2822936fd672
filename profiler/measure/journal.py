"""A session's journal: one line per finished measurement, on disk before the next one starts.

The first line says what is measured, and how: a session that differs in any of it does not go on with the journal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from lut.compare import flatten
from lut.errors import LutError
from lut.formats.canonical import parse_json, plain
from lut.journal import LineJournal
from profiler.errors import JournalError
from profiler.measure.measurement import Visit

_VERSION = 2
_LONGEST_VALUE = 60
_MOST_NAMED = 3


class Journal:
    """An append-only file of visits. A context manager; `visits` holds what was there when it was opened."""

    def __init__(self, path: Path, about: Any, *, fresh: bool = False) -> None:
        """Open or begin the journal at `path`; with `fresh`, what is there is dropped.

        `about`, a JSON value, is equal for sessions that may continue one another. Raises `JournalError` for another
        session's journal, a damaged one, or one that cannot be written; each is left as it is. A journal
        without a visit is nobody's.
        """
        self.path = path
        self.visits: tuple[Visit, ...] = ()
        self._appended: list[Visit] = []
        header = {"journal": _VERSION, "about": plain(about)}
        try:
            self._lines = LineJournal(path, fresh=fresh)
            try:
                self._begin(header)
            except BaseException:
                self._lines.close()
                raise
        except LutError as error:
            raise JournalError(str(error)) from error

    def _begin(self, header: Mapping[str, Any]) -> None:
        """Take in what is there, or write the header; where that fails, no journal is left."""
        rows = self._lines.rows
        if len(rows) > 1:
            self._require_same(rows[0], header)
            self.visits = self._read(rows[1:])
            return
        self._lines.close()
        self._lines = LineJournal(self.path, fresh=True)
        try:
            self._lines.append([header])
        except LutError:
            self._lines.remove()
            raise

    def _read(self, rows: Iterable[Any]) -> tuple[Visit, ...]:
        try:
            return tuple(Visit.from_json(row) for row in rows)
        except (ValueError, OverflowError, TypeError, AttributeError) as error:
            raise JournalError(f"{self.path} is damaged ({error}); start over with --fresh") from error

    def _require_same(self, theirs: Any, ours: Mapping[str, Any]) -> None:
        if theirs == ours:
            return
        version = theirs.get("journal") if isinstance(theirs, Mapping) else None
        if version != _VERSION:
            raise JournalError(
                f"{self.path} is of another release; finish it with the one that began it, or start over with --fresh"
            )
        raise JournalError(
            f"{self.path} belongs to a session with other settings, device or blocks ("
            f"{_differences(theirs.get('about'), ours['about'])}); "
            "repeat that one's options to go on, or start over with --fresh"
        )

    def append(self, visits: Iterable[Visit]) -> None:
        """Add finished visits; they are on disk when this returns. Raises `JournalError` on a full disk."""
        visits = tuple(visits)
        try:
            self._lines.append([visit.to_json() for visit in visits])
        except LutError as error:
            raise JournalError(str(error)) from error
        self._appended += visits

    @property
    def everything(self) -> tuple[Visit, ...]:
        """What was there when it was opened, and what was appended since."""
        return (*self.visits, *self._appended)

    def close(self) -> None:
        """Close the file. Closing twice is harmless."""
        self._lines.close()

    def remove(self) -> None:
        """The session is complete and its table is written: the journal has done its work."""
        self._lines.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def begun_with(path: Path) -> Mapping[str, Any]:
    """What the session of the journal at `path` said of itself; empty where there is no such journal."""
    try:
        with path.open(encoding="utf-8") as lines:
            about = parse_json(lines.readline())["about"]
    except (OSError, ValueError, TypeError, KeyError):
        return {}
    return about if isinstance(about, dict) else {}


def _differences(theirs: Any, ours: Any) -> str:
    """What differs, by its name, with both values; the first few of it."""
    before, now = (flatten(value) if isinstance(value, Mapping) else {"session": value} for value in (theirs, ours))
    names = [name for name in dict.fromkeys((*now, *before)) if before.get(name) != now.get(name)]
    parts = [f"{name} was {_short(before.get(name))}, now {_short(now.get(name))}" for name in names[:_MOST_NAMED]]
    return "; ".join([*parts, *([f"and {len(names) - _MOST_NAMED} more"] if len(names) > _MOST_NAMED else [])])


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."
