"""Closing the loop: a measurement corrects what the table predicts near it, and the budget is answered again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from pnag.delivery.rows import Row, Rows, row_of
from pnag.generator.corrected import Tried, best_of, next_try
from pnag.generator.generate import Candidate, Generator

Files = tuple[Path, ...]
# Build, export and measure networks into files (one tuple for each network); what is found joins the rows.
Attempt = Callable[[Sequence[Candidate], Sequence[Files], Rows], None]

ATTEMPTS = 3


def close_loop(
    generator: Generator,
    found: Sequence[Candidate],
    rows: Rows,
    paths: Sequence[Files],
    *,
    attempts: int,
    attempt: Attempt,
) -> Rows:
    """The best of what was measured for each budget, after trying again where that can help.

    `found`, `rows` and `paths` are the first networks, what was measured of them, and their files. A further try
    writes its files beside those. They replace them if its network is the better one. Otherwise they are removed, even
    where an error ends the try.
    """
    tries = [[_Try(candidate, row)] for candidate, row in zip(found, rows, strict=True)]
    for _ in range(1, attempts):
        again = {index: further for index, made in enumerate(tries) if (further := _next(generator, made)) is not None}
        if not again:
            break
        more = [row_of(candidate, generator) for candidate in again.values()]
        beside = [tuple(path.with_name(f".{path.stem}.try{path.suffix}") for path in paths[index]) for index in again]
        try:
            attempt(list(again.values()), beside, more)
            for (index, candidate), row, aside in zip(again.items(), more, beside, strict=True):
                tries[index].append(_Try(candidate, row))
                if _best(tries[index]) is row:
                    _take_place(row, aside, paths[index])
        finally:
            for path in (path for aside in beside for path in aside):
                path.unlink(missing_ok=True)
    return [_answer(made) for made in tries]


class _Try(NamedTuple):
    candidate: Candidate
    row: Row


def _take_place(row: Row, aside: Files, targets: Files) -> None:
    """Move the files of the better network to where those of the others are."""
    for path, target, report in zip(aside, targets, row["exports"], strict=True):
        path.replace(target)
        report["path"] = str(target)
        if row["measured_file"] == str(path):
            row["measured_file"] = str(target)


def _answer(made: Sequence[_Try]) -> Row:
    """The best row, with what was tried for the same budget."""
    tried = [{name: one.row.get(name) for name in ("architecture", "cost_ms", "measured_ms", "kept")} for one in made]
    return _best(made) | {"attempts": len(made), "tried": tried}


def _tried(made: Sequence[_Try]) -> list[Tried]:
    return [Tried(one.candidate, one.row["measured_ms"]) for one in made]


def _next(generator: Generator, made: Sequence[_Try]) -> Candidate | None:
    """What to try next for a budget; None where the last could not be measured, or not at the table's speed."""
    last = made[-1].row
    if last["measured_ms"] is None or last["device_slowdown"] is None:
        return None
    return next_try(generator, _tried(made))


def _best(made: Sequence[_Try]) -> Row:
    known = [one for one in made if one.row["measured_ms"] is not None]
    return known[best_of(_tried(known))].row if known else made[0].row
