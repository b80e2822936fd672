"""What is said of each network that answers a budget: a row of plain JSON values, and the same for a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pnag.delivery.answer import accuracy_lines, ranking_of, unused_text
from pnag.delivery.explain import explanation, explanation_text
from pnag.delivery.limits import another_binds, limit_rows, limits_text
from pnag.generator.generate import Candidate, Generator

if TYPE_CHECKING:
    from profiler.verification.pairs import PairedResult

Row = dict[str, Any]
Rows = list[Row]


def row_of(candidate: Candidate, generator: Generator) -> Row:
    """What is known before there is a file: `accuracy` is a file's, and `ranking` is not."""
    return {
        "budget_ms": candidate.budget_ms,
        "architecture": str(candidate.architecture),
        "cost_ms": candidate.cost_ms,
        "limit_ms": candidate.limit_ms,
        "unused": None if another_binds(candidate) else unused_text(candidate.cost_ms, candidate.budget_ms),
        "limits": limit_rows(candidate),
        "accuracy": None,
        "weights": None,
        "finetuning": None,
        "ranking": ranking_of(candidate, generator),
        "score": candidate.score,
        "explain": explanation(candidate, generator),
        "exports": [],
    }


def accuracy_of(exports: Sequence[dict[str, Any]], otherwise: float | None) -> float | None:
    """That of the file whose latency the table is of, else of the first; else the network's in torch."""
    files = [report for report in exports if report["format"] != "json"]
    chosen = next((report for report in files if report["matches_table"]), files[0] if files else None)
    return otherwise if chosen is None else chosen["accuracy"]


def measured_values(result: PairedResult, budget_ms: float) -> Row:
    """What a measurement adds to a row.

    `kept` is judged at the table's speed, `kept_now` as the device is; without pairs there is but one.
    """
    if result.failure:
        return {
            "measured_ms": None, "kept": None, "kept_now": None, "device_slowdown": None, "failure": result.failure,
        }  # fmt: skip
    at_speed_ms = result.now_ms if result.latency_ms is None else result.latency_ms
    return {
        "measured_ms": at_speed_ms,
        "measured_interval_ms": list(result.interval_ms or result.now_interval_ms),
        "measured_now_ms": result.now_ms,
        "percentiles_now_ms": dict(result.percentiles_ms),
        "kept": at_speed_ms <= budget_ms,
        "kept_now": result.now_ms <= budget_ms,
        "device_slowdown": result.slowdown,
    }


def text_of(row: Row, *, explain: bool = False) -> str:
    """What a person wants to know of one network, line by line; with `explain` also how it was found."""
    margin = f", at most {row['limit_ms']:.4g} ms predicted" if row["limit_ms"] < row["budget_ms"] else ""
    lines = [
        f"budget {row['budget_ms']:g} ms{margin}",
        f"  {row['architecture']}",
        f"  predicted  {row['cost_ms']:.4g} ms ({row['cost_ms'] / row['budget_ms']:.1%} of the budget)",
    ]
    if row.get("measured_ms") is not None:
        verdict, now = ("kept" if row[name] else "NOT KEPT" for name in ("kept", "kept_now"))
        share = row["measured_ms"] / row["budget_ms"]
        slowdown = row["device_slowdown"]
        at_speed = "" if slowdown is None else " at the table's speed"
        lines.append(
            f"  measured   {row['measured_ms']:.4g} ms{at_speed} ({share:.1%}, budget {verdict}) on {row['device']}"
        )
        of_calls = row["percentiles_now_ms"]
        lines.append(f"             of all calls now: {', '.join(f'{p} {ms:.4g}' for p, ms in of_calls.items())} ms")
        if row["measured_file"]:
            lines.append(f"             this is {row['measured_file']} itself")
        if row["attempts"] > 1:
            lines.append(f"             the best of {row['attempts']} that were measured for this budget")
        if slowdown is not None:
            speed = f"{abs(slowdown):.1%} {'slower' if slowdown > 0 else 'faster'}"
            lines.append(f"             {row['measured_now_ms']:.4g} ms now ({now}), the device being {speed}")
    elif row.get("failure"):
        lines.append(f"  not measured: {row['failure']}")
    if explain:
        lines += explanation_text(row["explain"], row["budget_ms"], row["cost_ms"])
    lines += limits_text(row["limits"])
    if row["unused"]:
        lines.append(f"  {row['unused']}")
    lines += accuracy_lines(row)
    lines += _ranking_lines(row["ranking"])
    for report in row["exports"]:
        difference = report["relative_difference"]
        parity = "" if difference is None else f", differs from torch by {difference:.1e}"
        about = report["precision"] + (f", accuracy {report['accuracy']:.2%}" if report["accuracy"] is not None else "")
        timed = "" if report["matches_table"] else "; the latency was not measured for such files"
        lines.append(f"  wrote      {report['path']} ({report['bytes'] / 1e6:.1f} MB, {about}{parity}){timed}")
    return "\n".join(lines)


def _ranking_lines(ranking: Row) -> list[str]:
    """The figure that the network was chosen by, and what it is of."""
    of = ", ".join(
        str(part)
        for part in (ranking["images"], ranking["resolution"] and f"{ranking['resolution']} pixels", ranking["how"])
        if part
    )
    lines = [
        f"  ranked by  an accuracy of {ranking['accuracy']:.2%} predicted, typical error {ranking['error']:.2%}",
        f"             (from accuracies: {of})",
    ]
    if ranking["answers_evaluated"]:
        lines.append(f"             (corrected by {ranking['answers_evaluated']} answers that were evaluated)")
    if ranking["published_top1"] is not None:
        deviation = 100 * ranking["published_top1_deviation"]
        lines.append(
            "             published, fine-tuned networks of that value: "
            f"top-1 {ranking['published_top1']:.2%} ± {deviation:.2f} points"
        )
    return lines
