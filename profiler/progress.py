"""How long work says how far it is: as amounts that are done, or as a share of the whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

Share = Callable[[float], None]  # is told the share done, from 0 to 1
Watch = Callable[[int, Mapping[str, float]], None]  # is told a training's figures by name, at each step that has some


class Progress(Protocol):
    """What long work reports to: `profiler.console.Progress` is one."""

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        """Add `amount` to what is done; `note` is shown beside it."""

    def extend(self, amount: float) -> None:
        """Add `amount` to what there is to do."""


@dataclass(frozen=True)
class Part:
    """Reports the share done of a part of the work, which begins at `start` and is `share` of the whole."""

    report: Share
    start: float
    share: float

    def __call__(self, done: float) -> None:
        """Report that the share `done` of the part is done."""
        self.report(self.start + self.share * done)


def shares_of(progress: Progress) -> Share:
    """A callable that is told the share done, and advances `progress` by what is new."""
    done = 0.0

    def report(share: float) -> None:
        nonlocal done
        progress.advance(share - done)
        done = share

    return report
