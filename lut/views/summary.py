"""Tables, their gaps and their differences as text for people and as documents for programs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from lut.blocks import BlockSpec, parse_block
from lut.compare import Problem, TableDifference, flatten
from lut.formats.canonical import plain
from lut.table import LatencyTable
from lut.views.groups import group_blocks
from lut.views.told import calibration_text, fidelity_text, percent, sides_text

_LONGEST_VALUE = 96


def align(rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> list[str]:
    """Rows of cells as lines with columns of one width; the columns in `right` are flush right."""
    cells, flush = [list(row) for row in rows], set(right)
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]

    def pad(index: int, cell: str) -> str:
        return cell.rjust(widths[index]) if index in flush else cell.ljust(widths[index])

    return ["  ".join(pad(i, cell) for i, cell in enumerate(row)).rstrip() for row in cells]


def describe(table: LatencyTable) -> str:
    """Where a table comes from, how good it is, and what is cheap and dear in it."""
    meta = table.metadata
    space = meta.space.get("name", "unknown")
    failed = sum(entry.failed for entry in table.blocks.values())
    head = [
        ("space", f"{space}, {sides_text(meta)} pixels, {meta.classes} classes, batch {meta.batch}"),
        ("blocks", f"{len(table.blocks)}, {failed} of them failed"),
        ("networks", f"{len(table.networks('calibration'))} for calibration, {len(table.networks('holdout'))} unseen"),
        ("calibration", calibration_text(meta.calibration)),
        ("fidelity", fidelity_text(meta.fidelity)),
        ("made", f"{meta.created} by version {meta.tool_version}"),
        ("content", table.content_sha256),
        *(("note", note) for note in meta.notes),
    ]
    lines = align(head)
    for title, values in (("device", meta.device), ("runtime", meta.runtime), ("sampling", meta.sampling)):
        if values:
            lines += ["", title, *_indented((name, _short(value)) for name, value in flatten(plain(values)).items())]
    return "\n".join([*lines, "", *_cheapest_and_dearest(table)])


def _cheapest_and_dearest(table: LatencyTable) -> list[str]:
    """For each place in a network, its cheapest and its dearest block, with their costs in ms."""
    costs = table.costs_ms
    rows = [("", "", "cheapest", "cost_ms", "dearest", "cost_ms")]
    for group in group_blocks(parse_block(key) for key in costs):
        keys = sorted((block.key for block in group.blocks), key=costs.__getitem__)
        low, high = keys[0], keys[-1]
        dearest = (high, f"{costs[high]:.4f}") if len(keys) > 1 else ("", "")
        rows.append((group.title, group.position, low, f"{costs[low]:.4f}", *dearest))
    return align(rows, right=(3, 5))


def table_document(table: LatencyTable) -> dict[str, Any]:
    """A table as JSON values: metadata, content hash, and the latency and cost of every block."""
    blocks = [
        {
            "block": entry.block, "latency_ms": entry.latency_ms, "cost_ms": entry.cost_ms,
            "ci_low_ms": entry.ci_low_ms, "ci_high_ms": entry.ci_high_ms,
            "flags": list(entry.flags), "reason": entry.reason,
        }
        for entry in table.blocks.values()
    ]  # fmt: skip
    networks = [
        {"architecture": e.block, "role": e.role, "latency_ms": e.latency_ms, "cost_ms": e.cost_ms}
        for e in table.entries
        if e.role != "block"
    ]
    identity = {"content_sha256": table.content_sha256}
    document: dict[str, Any] = plain(identity | asdict(table.metadata) | {"blocks": blocks, "networks": networks})
    return document


def describe_problems(problems: Sequence[Problem], blocks: Sequence[BlockSpec], *, unknown: int = 0) -> str:
    """One line for each problem, or that there is none. `unknown` blocks have no samples to judge them by."""
    if not problems and unknown:
        no_samples = f"{unknown} have no samples, so how well they were measured is not known"
        return f"all {len(blocks)} blocks are there; {no_samples}"
    if not problems:
        return f"all {len(blocks)} blocks are there and measured well"
    bad = len({problem.block for problem in problems if problem.block})
    lines = align((problem.problem, problem.block or "the table", problem.detail) for problem in problems)
    verdict = f"{bad} of {len(blocks)} blocks are missing, failed or doubtful; profile them again"
    return "\n".join([*lines, verdict if bad else "profile again when the device is quiet, with more networks"])


def describe_difference(difference: TableDifference, worst: int = 10) -> str:
    """Whether it is one device, summary, the blocks that differ most, and what differs in the metadata."""
    unlike = ", ".join(item.describe("A's") for item in difference.unlike)
    lines = align(
        [
            *((("two devices", f"B's {unlike}"),) if unlike else ()),
            ("blocks in both", str(len(difference.blocks))),
            ("median ratio B / A", f"{difference.median_ratio:.4f}"),
            ("median absolute difference", percent(difference.median_absolute_difference)),
            ("rank correlation", f"{difference.rank_correlation:.4f}"),
            ("significantly different", f"{len(difference.significant())} blocks"),
        ]
    )
    rows = [("largest differences", "A_ms", "B_ms", "B / A", "95 % interval", "")]
    for b in difference.worst(worst):
        known = math.isfinite(b.low) and math.isfinite(b.high)
        interval = f"{b.low:.3f} to {b.high:.3f}" if known else "unknown"
        said = "" if b.significant else "not significant"
        rows.append((b.block, f"{b.a_ms:.4f}", f"{b.b_ms:.4f}", f"{b.ratio:.3f}", interval, said))
    lines += ["", *align(rows, right=(1, 2, 3))]
    for which, keys in (("A", difference.only_a), ("B", difference.only_b)):
        if keys:
            lines += ["", f"only in {which}", *(f"  {key}" for key in keys)]
    if difference.metadata:
        both = [("metadata", "A", "B")]
        both += [(name, _short(a, 40), _short(b, 40)) for name, (a, b) in difference.metadata.items()]
        lines += ["", *align(both)]
    return "\n".join(lines)


def difference_document(difference: TableDifference) -> dict[str, Any]:
    """A difference as JSON values; ratios are B over A, differences fractions."""
    return {
        "unlike_devices": {item.name: {"a": item.there, "b": item.here} for item in difference.unlike},
        "median_ratio": difference.median_ratio,
        "median_absolute_difference": difference.median_absolute_difference,
        "rank_correlation": difference.rank_correlation,
        "significant": [block.block for block in difference.significant()],
        "blocks": [plain(asdict(block) | {"ratio": block.ratio}) for block in difference.blocks],
        "only_a": list(difference.only_a),
        "only_b": list(difference.only_b),
        "metadata": {name: {"a": a, "b": b} for name, (a, b) in difference.metadata.items()},
    }


def _indented(rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"  {line}" for line in align(rows)]


def _short(value: Any, longest: int = _LONGEST_VALUE) -> str:
    text = "unknown" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= longest else text[: longest - 1] + "…"
