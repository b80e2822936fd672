"""One process at a time: a file that is locked as long as its process lives, however that ends."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from devices.errors import DeviceError

fcntl: Any
try:
    import fcntl
except ImportError:  # a system without such locks: what they prevent is then the user's care
    fcntl = None


_LOOK_S, _MOST_LOOKS = 0.001, 1000  # longer than it takes to look at a lock, and how often that may come between


class HeldError(DeviceError):
    """Another process holds what this one needs."""

    exit_code = 2


@contextmanager
def holding(path: Path, what: str, remedy: str) -> Iterator[None]:
    """Hold the lock file `path` while the body runs. The file is removed then; a process that was killed leaves it.

    The system lets the lock go when the process ends, whatever ends it. Raises `HeldError` at once if another
    process, or another part of this one, holds it: `what` names what it is about, `remedy` says what to do. Where
    files cannot be locked the body runs all the same. Raises `OSError` where the file cannot be made.
    """
    handle = _acquire(path)
    if handle is None:
        raise HeldError(f"{what} is in use by {_holder(path)}; {remedy}")
    try:
        with suppress(OSError):  # a full disk: who holds it is then not said
            os.ftruncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode())
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)  # before it is let go: whoever opened it meanwhile sees that it is gone
        os.close(handle)


@contextmanager
def taking_turns(path: Path) -> Iterator[None]:
    """Wait until no other process is in a body with that file, and keep others waiting meanwhile. The file stays."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if fcntl is not None:
            with suppress(OSError):  # no locks in this file system
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def lock_file(handle: int) -> bool:
    """Lock an open file until it is closed; False if another process has it, or nothing can be locked here."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def holder(path: Path) -> str | None:
    """Who holds the lock file `path`, for messages; None where nobody does, or nothing can be locked."""
    if fcntl is None:
        return None
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(path)
    except OSError:
        return None
    finally:
        os.close(handle)
    return None


def _acquire(path: Path) -> int | None:
    """The open and locked file; None if it is held."""
    path.parent.mkdir(parents=True, exist_ok=True)
    looks = 0
    while looks < _MOST_LOOKS:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
        held = False
        try:
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(path, handle):
                return handle
        except BlockingIOError:
            held = not _is_only_looked_at(handle)
            looks += 1
        except OSError:  # no locks in this file system
            return handle
        os.close(handle)
        if held:
            return None
        time.sleep(_LOOK_S if looks else 0)
    return None


def _is_only_looked_at(handle: int) -> bool:
    """Whether those who have the lock only look who holds it: they share it, for a moment."""
    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return True
    return False


def _is_still(path: Path, handle: int) -> bool:
    """Whether the open file is the one at `path`: its last holder may have removed it since."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    with suppress(OSError, ValueError):
        return f"process {int(path.read_text(encoding='ascii'))}"
    return "another process"
