"""Other searches beside the run's own: runs of other methods that learnt from the same table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lut.errors import LutError
from pnag.errors import PnagError
from pnag.generator.generate import Candidate, Generator
from pnag.runs.run import GENERATOR, Run

_MOST = 4


@dataclass(frozen=True)
class Rival:
    """What another method's run answers to budgets over its range."""

    run: Path
    method: str
    answers: list[Candidate]


def rivals_of(run: Run, ours: Generator, answers: Callable[[Generator], list[Candidate]]) -> list[Rival]:
    """One for each other method with a finished run of the same table in the folder where this run lies, the newest.

    At most four; a run that cannot be read is none. `answers` says what a generator answers over its range.
    """
    found: dict[str, Rival] = {}
    paths = sorted(run.directory.resolve().parent.glob(f"*/{GENERATOR}"), key=lambda path: -path.stat().st_mtime)
    for path in paths:
        method = _other_method(run, path.parent)
        if method is None or method in found or len(found) == _MOST:
            continue
        try:
            generator = Generator.load(path.parent)
            if generator.space != ours.space:
                continue
            found[method] = Rival(path.parent, method, answers(generator))
        except (PnagError, LutError, OSError):
            continue
    return [found[method] for method in sorted(found)]


def _other_method(ours: Run, directory: Path) -> str | None:
    """The method of a run, if it is another one's and learnt from the same table."""
    try:
        run = Run.load(directory)
    except (PnagError, OSError):
        return None
    method, table = run.asked.get("method"), (run.done("table") or {}).get("sha256")
    known = method is not None and table is not None and table == (ours.done("table") or {}).get("sha256")
    return str(method) if known and method != ours.asked.get("method") else None
