"""Many budgets at once: the frontier of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lut.files import write_csv
from pnag.errors import BudgetError
from pnag.generator.generate import Candidate, Generator
from pnag.search.limits import Kept

POINTS = 12
_FEWEST, _MOST = 2, 1000


def frontier_points(words: Sequence[str]) -> int | None:
    """How many budgets a frontier is asked for: the one whole number given, or `POINTS`; None where these are budgets.

    Raises `BudgetError` for a number that is too small or too large.
    """
    if not words:
        return POINTS
    if len(words) > 1 or not words[0].strip().isdecimal():
        return None
    number = words[0].strip().lstrip("0") or "0"
    if len(number) > len(str(_MOST)) or not _FEWEST <= int(number) <= _MOST:
        raise BudgetError(
            f"a frontier of {number:.20} budgets cannot be listed; ask for {_FEWEST} to {_MOST}, such as --frontier 12"
        )
    return int(number)


def frontier_budgets(generator: Generator, n: int, confidence: float) -> list[float]:
    """`n` budgets in ms, from the least that has an answer to the greatest that is used up, by equal factors."""
    low, high = generator.budgets_ms(confidence)
    inner = np.geomspace(low, high, n)[1:-1]
    return [float(np.nextafter(low, np.inf)), *inner.tolist(), high]


def never_worse(found: Sequence[Candidate]) -> list[Candidate]:
    """The answers, each replaced by that to a lower budget where it is better: it keeps the higher budget too."""
    order = sorted(range(len(found)), key=lambda index: found[index].budget_ms)
    out, best = list(found), found[order[0]]
    for index in order:
        mine = found[index]
        best = mine if mine.score >= best.score else best
        if best is not mine:
            out[index] = _for_budget(best, mine)
    return out


def _for_budget(answer: Candidate, asked: Candidate) -> Candidate:
    """An answer to a lower budget, with the budget and limits of `asked`."""
    kept = answer.kept and (Kept(asked.kept[0].limit, answer.cost_ms, binds=False), *answer.kept[1:])
    return replace(answer, budget_ms=asked.budget_ms, limit_ms=asked.limit_ms, kept=kept)


# -- as a table -------------------------------------------------------------------------------------------


def frontier_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of networks as the frontier's table has them; accuracies 0 to 1, None where nothing is known."""
    return [
        {
            "budget_ms": row["budget_ms"],
            "predicted_ms": row["cost_ms"],
            "measured_ms": row.get("measured_ms"),
            "kept": row.get("kept"),
            "predicted_accuracy": row["ranking"]["accuracy"],
            "accuracy": row["accuracy"],
            "architecture": row["architecture"],
            "files": " ".join(str(report["path"]) for report in row["exports"]),
        }
        for row in rows
    ]


def frontier_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table for a person: one line a budget; columns of which nothing is known are left out."""
    table = frontier_rows(rows)
    shown = {
        "budget": [f"{row['budget_ms']:.4g} ms" for row in table],
        "predicted": [f"{row['predicted_ms']:.4g} ms" for row in table],
        "measured": ["" if row["measured_ms"] is None else f"{row['measured_ms']:.4g} ms" for row in table],
        "kept": ["" if row["kept"] is None else "yes" if row["kept"] else "NO" for row in table],
        "ranked by": [f"{row['predicted_accuracy']:.2%}" for row in table],
        "accuracy": ["" if row["accuracy"] is None else f"{row['accuracy']:.2%}" for row in table],
        "architecture": [row["architecture"] for row in table],
    }
    columns = [[head, *cells] for head, cells in shown.items() if any(cells)]
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for cells in zip(*columns, strict=True):
        *numbers, architecture = cells
        lines.append(
            "  ".join([cell.rjust(width) for cell, width in zip(numbers, widths, strict=False)] + [architecture])
        )
    return "\n".join(lines)


def save_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the table as CSV, whole or not at all. Raises `OutputError`."""
    write_csv(path, frontier_rows(rows))
