"""Device and session: the metadata of tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from lut.compare import flatten
from lut.formats.canonical import plain
from lut.identity import unlike
from lut.table import LatencyTable
from lut.views.html.markup import Html, beside, code, facts, folded, heading, listed, paragraph
from lut.views.html.page import Section
from lut.views.html.shown import Shown
from lut.views.told import calibration_text, fidelity_text, sides_text

TITLE = "Device and session"


def facts_section(tables: Sequence[Shown]) -> Section:
    """What was measured, with what and how; each table has a column."""
    pieces = [beside(*(_one(shown) for shown in tables))]
    if len(tables) == 2:
        first, second = (shown.table.metadata.device for shown in tables)
        if odd := unlike(second, first):
            pieces.append(
                paragraph("The two tables are of two devices. B's: ", "; ".join(o.describe("A's") for o in odd), ".")
            )
    missing = [shown.said(sentence) for shown in tables for sentence in _missing(shown.table)]
    return Section(TITLE, tuple(pieces), tuple(missing), tuple(shown.said(_untried(shown.table)) for shown in tables))


def device_name(of: LatencyTable) -> str:
    """What the table's device is called."""
    return of.metadata.device_name or "unknown device"


def runtime_name(of: LatencyTable) -> str:
    """Runtime, version and precision, as far as they are known."""
    return of.metadata.runtime_name or "unknown runtime"


def _one(shown: Shown) -> Html:
    meta = shown.table.metadata
    blocks = shown.table.blocks
    threads = meta.runtime.get("threads")
    rows: list[tuple[str, str | Html]] = [
        ("table", code(shown.name)),
        ("device", device_name(shown.table)),
        ("runtime", runtime_name(shown.table) + (f", {threads} thread(s)" if threads else "")),
        ("space", f"{meta.space.get('name', 'unknown')}, {sides_text(meta)} pixels, {meta.classes} classes"),
        ("batch", str(meta.batch)),
        ("blocks", f"{len(blocks)}, {sum(entry.failed for entry in blocks.values())} of them failed"),
        ("statistic", str(meta.sampling.get("statistic", "not said"))),
        ("calibration", calibration_text(meta.calibration)),
        ("fidelity", fidelity_text(meta.fidelity)),
        ("made", f"{meta.created} by version {meta.tool_version}"),
        ("content", code(shown.table.content_sha256)),
    ]
    pieces = [facts(rows)]
    if shown.letter:
        pieces.insert(0, heading(f"Table {shown.letter}"))
    if meta.notes:
        pieces += [paragraph("Notes of the session:"), listed(meta.notes)]
    for title, values in (("device", meta.device), ("runtime", meta.runtime), ("sampling", meta.sampling)):
        if values:
            pieces.append(folded(f"All that is known of the {title}", facts(_flat(values))))
    return Html("\n".join(piece.markup for piece in pieces))


def _flat(values: Any) -> Iterable[tuple[str, str]]:
    for name, value in flatten(plain(values)).items():
        yield name, "unknown" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _untried(of: LatencyTable) -> str:
    """The settings that its latencies are of, so that the others are seen to be open."""
    meta = of.metadata
    known = [str(meta.runtime["precision"])] if meta.runtime.get("precision") else []
    threads = meta.runtime.get("threads")
    known += [f"{threads} thread{'s' if threads != 1 else ''}"] if threads else []
    return (
        f"latencies are of {', '.join([*known, f'batch {meta.batch}', f'{sides_text(meta)} pixels'])} alone; other "
        "settings are tables of their own, each a session of pnag-profile"
    )


def _missing(of: LatencyTable) -> Iterable[str]:
    failed = {key: entry.reason for key, entry in of.blocks.items() if entry.failed}
    for key, reason in failed.items():
        yield f"block {key} has no cost, its measurement failed: {reason or 'no reason given'}"
    if not of.metadata.runtime:
        yield "what runtime the latencies are of is not known"
    mismatch = of.metadata.device.get("mismatch")
    if mismatch:
        yield f"the device that was measured is not the one that was named: {mismatch}"
