"""Which files of a shared folder its processes use, so that none removes what another is about to open.

Each process keeps a list of names in a file that it holds locked as long as it lives: a list that can be locked is of
a process that has ended. Without such locks (see `devices.locks`) a list counts as long as it is there.
"""

from __future__ import annotations

import os
import secrets
import weakref
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from devices.locks import lock_file, taking_turns


class FilesInUse:
    """This process's list in `folder`. Add names and look at those of others only within `turn`.

    An object that is sent to another process begins a list of its own there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._begin()

    def _begin(self) -> None:
        self._names: set[str] = set()
        self._list: tuple[int, Path] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_folder": self._folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._folder = state["_folder"]
        self._begin()

    def turn(self) -> AbstractContextManager[None]:
        """No two processes are within theirs at the same time. Raises `OSError`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return taking_turns(self._folder / "turn")

    def add(self, name: str) -> None:
        """This process uses that file until it ends, whether it is there yet or not. Raises `OSError`."""
        if name in self._names:
            return
        if self._list is None:
            path = self._folder / f"{os.getpid()}-{secrets.token_hex(4)}.names"
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            lock_file(handle)
            self._list = handle, path
            weakref.finalize(self, _end, handle, path, os.getpid())
        os.write(self._list[0], f"{name}\n".encode())
        self._names.add(name)

    def names(self) -> set[str]:
        """What this process and all others that are alive use. Lists of those that died are removed."""
        found = set(self._names)
        for path in self._folder.glob("*.names"):
            if self._list is not None and path == self._list[1]:
                continue
            with suppress(OSError):
                handle = os.open(path, os.O_RDWR)
                try:
                    if lock_file(handle):
                        path.unlink(missing_ok=True)
                    else:
                        found.update(path.read_text(encoding="utf-8").split())
                finally:
                    os.close(handle)
        return found


def _end(handle: int, path: Path, process: int) -> None:
    """Give the list up; a process that was forked off leaves its parent's alone."""
    if os.getpid() == process:
        with suppress(OSError):
            path.unlink(missing_ok=True)
            os.close(handle)
