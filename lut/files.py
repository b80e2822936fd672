"""Outputs that appear whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lut.errors import OutputError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, to be written in the body; renamed to `path` when the body succeeds.

    Missing folders are made. If the body fails, `path` is left as it was and the temporary file is removed.
    Raises `OutputError` where the file cannot be written (no permission, not a folder, a full disk).
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and not path.is_file():  # nor may a rename replace a device such as /dev/stdout
                raise OSError(errno.EINVAL, "it is a folder or a device, not a file")
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror or error}; choose another place") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
