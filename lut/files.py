"""Outputs that appear whole or not at all."""

from __future__ import annotations

import csv
import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lut.errors import OutputError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, to be written in the body; renamed to `path` when the body succeeds.

    Missing folders are made. If the body fails, `path` is left as it was and the temporary file is removed.
    Raises `OutputError` where the file cannot be written (no permission, not a folder, a full disk).
    """
    path = Path(path)
    if not path.name:
        raise _unwritable(path, OSError(errno.EISDIR, "it is a folder, not a file"))
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        try:
            _require_file_in_folder(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
        except OSError as error:
            raise _unwritable(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def require_writable(path: str | Path) -> None:
    """Raise `OutputError` if a file at `path` could not be written; for commands that do long work first.

    Makes no folder: where those of `path` are missing, the one that is there is tried.
    """
    path = Path(path)
    try:
        probe = _require_file_in_folder(path) / f".{path.name}.{os.getpid()}.probe"
        try:
            probe.touch()
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error


def _require_file_in_folder(path: Path) -> Path:
    """The nearest folder above `path` that is there. Raises `OSError` if something that is no folder is in the way."""
    if path.exists() and not path.is_file():  # nor may a rename replace a device such as /dev/stdout
        raise OSError(errno.EINVAL, "it is a folder or a device, not a file")
    above = next(folder for folder in path.parents if folder.exists() or folder == folder.parent)
    if not above.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{above} is not a folder")
    return above


def _unwritable(path: Path, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    if error.errno and "[errno" in reason:  # pyarrow puts the system's reason behind words of its own
        reason = os.strerror(error.errno)
    return OutputError(f"cannot write {path}: {reason}; choose another place")


def write_csv(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV, whole or not at all; a column for each name that a row has. Raises `OutputError`."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
