"""Several devices of one kind in one command: a worker and a table each, one view of the progress."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from profiler.errors import ProfilerError
from profiler.progress import Progress

T = TypeVar("T")


@dataclass(frozen=True)
class Target:
    """One device to profile: how to reach it, and the file of its table. `label` is empty if it is the only one."""

    out: Path
    serial: str | None = None
    adb: str | None = None
    label: str = ""

    def named(self, path: Path) -> Path:
        """`path`, with the device in its name where there are several."""
        return path.with_name(f"{path.stem}-{_file_name(self.label)}{path.suffix}") if self.label else path


class StoppedError(ProfilerError):
    """Another worker's end, or the user, stopped this one."""


def targets(serials: Sequence[str], addresses: Sequence[str], out: Path) -> list[Target]:
    """What the options name; with several, each table is named by device. Raises `ProfilerError` for doubles."""
    if not out.name:
        raise ProfilerError(f"--out {out} is a folder; give the table's file, such as lut/mine.parquet")
    named = [(serial, None) for serial in serials] + [(None, address) for address in addresses]
    if len(set(named)) < len(named):
        raise ProfilerError("the same phone is named twice; name each once")
    if len(named) <= 1:
        serial, address = named[0] if named else (None, None)
        return [Target(out, serial, address)]
    return [
        Target(Target(out, label=label).named(out), serial, address, label)
        for serial, address in named
        if (label := serial or address or "")
    ]


def _file_name(label: str) -> str:
    return re.sub(r"[^\w.-]+", "-", label)


class SharedWatcher:
    """One progress for several workers: they take turns, and each names itself. Stops its worker when asked to."""

    def __init__(self, watcher: Progress, label: str, lock: threading.Lock, stop: threading.Event) -> None:
        self._watcher, self._label, self._lock, self._stop = watcher, label, lock, stop

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        """Add visits of this worker to what is done. Raises `StoppedError` when the user interrupted the command."""
        if self._stop.is_set():
            raise StoppedError(f"{self._label} was stopped; run the same command again to go on")
        with self._lock:
            self._watcher.advance(amount, f"{self._label}: {note}")

    def extend(self, amount: float) -> None:
        """Add visits of this worker to what there is to do."""
        with self._lock:
            self._watcher.extend(amount)


def run_each(labels: Sequence[str], work: Callable[[int, Progress], T], watcher: Progress) -> list[T | Exception]:
    """Do `work(index, watcher)` for each label at the same time; results, or what went wrong, in order.

    An interrupt stops all workers at their next visit.
    """
    lock, stop = threading.Lock(), threading.Event()
    with ThreadPoolExecutor(max(1, len(labels))) as pool:
        futures = [
            pool.submit(work, index, SharedWatcher(watcher, label, lock, stop)) for index, label in enumerate(labels)
        ]
        results: list[T | Exception] = []
        try:
            for future in futures:
                try:
                    results.append(future.result())
                except Exception as error:
                    results.append(error)
        except BaseException:
            stop.set()
            raise
    return results
