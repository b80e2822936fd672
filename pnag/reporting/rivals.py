"""Other searches beside the run's own: runs of other methods that learnt from the same table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lut.errors import LutError
from pnag.delivery.frontier import frontier_budgets, never_worse
from pnag.errors import PnagError
from pnag.generator.generate import Candidate, Generator
from pnag.reporting.source import RunSource
from pnag.runs.run import GENERATOR, Run

_MOST = 4
_POINTS = 20  # budgets of each


@dataclass(frozen=True)
class Rival:
    """What another method's run answers to budgets over its range."""

    run: Path
    method: str
    answers: list[Candidate]


def rivals_of(of: RunSource) -> list[Rival]:
    """One for each other method with a finished run of the same table in the folder where this run lies, the newest.

    At most four; a run that cannot be read is none.
    """
    found: dict[str, Rival] = {}
    paths = sorted(of.run.directory.resolve().parent.glob(f"*/{GENERATOR}"), key=lambda path: -path.stat().st_mtime)
    for path in paths:
        method = _other_method(of, path.parent)
        if method is None or method in found or len(found) == _MOST:
            continue
        try:
            generator = Generator.load(path.parent)
            if generator.space != of.generator.space:
                continue
            budgets = frontier_budgets(generator, _POINTS, of.confidence)
            answers = never_worse(generator.generate_many(budgets, confidence=of.confidence))
        except (PnagError, LutError, OSError):
            continue
        found[method] = Rival(path.parent, method, answers)
    return [found[method] for method in sorted(found)]


def _other_method(of: RunSource, directory: Path) -> str | None:
    """The method of a run, if it is another one's and learnt from the same table."""
    try:
        run = Run.load(directory)
    except (PnagError, OSError):
        return None
    method, table = run.asked.get("method"), (run.done("table") or {}).get("sha256")
    known = method is not None and table is not None and table == (of.run.done("table") or {}).get("sha256")
    return str(method) if known and method != of.run.asked.get("method") else None
