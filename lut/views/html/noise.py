"""How well each block's latency is known: half its confidence interval, relative to it."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from statistics import median
from typing import Any

from lut.blocks import parse_block
from lut.compare import DOUBTFUL_FLAGS
from lut.entry import Entry
from lut.views.groups import group_blocks
from lut.views.html.charts import BLUE, ORANGE, chart, key_at, point_out, source
from lut.views.html.markup import Html, paragraph
from lut.views.html.page import Plots, Section
from lut.views.html.shown import Shown

TITLE = "Noise"
_ROOM = 1.35  # above the widest interval, for the legend


def noise_section(tables: Sequence[Shown]) -> Section:
    """A point for each block, in the order of a network."""
    drawn = [shown for shown in tables if _known(shown)]
    missing = [
        shown.said("how well its latencies are known is not: it has no confidence intervals")
        for shown in tables
        if shown not in drawn
    ]
    if not drawn:
        return Section(TITLE, (), tuple(missing))
    pieces: list[Html | Plots] = [Plots(tuple(_plot(shown) for shown in drawn))]
    pieces += [paragraph(shown.said(_told(shown)), kind="note") for shown in drawn]
    return Section(TITLE, tuple(pieces), tuple(missing))


def _known(shown: Shown) -> list[tuple[str, Entry]]:
    """Place and row of each block with an interval, in the order of a network."""
    groups = group_blocks(parse_block(key) for key in shown.table.costs_ms)
    rows = [(f"{g.title} {g.position}".strip(), shown.table.blocks[block.key]) for g in groups for block in g.blocks]
    return [(place, entry) for place, entry in rows if entry.latency_ms > 0 and isfinite(entry.relative_ci)]


def _doubtful(entry: Entry) -> bool:
    return any(flag in DOUBTFUL_FLAGS for flag in entry.flags)


def _told(shown: Shown) -> str:
    known = [entry for _, entry in _known(shown)]
    doubtful = sum(map(_doubtful, known))
    widths = [100 * entry.relative_ci for entry in known]
    named = shown.table.metadata.sampling.get("statistic")
    return (
        f"The {f'{named} ' if named else ''}latency of a block is known to ±{median(widths):.2f} % (median of "
        f"{len(known)} blocks; the widest ±{max(widths):.2f} %), with 95 % confidence. "
        f"{doubtful or 'None'} of the blocks {'has' if doubtful < 2 else 'have'} a flag that makes it doubtful."
    )


def _plot(shown: Shown) -> Any:
    rows = _known(shown)
    drawn = chart(shown.titled("confidence interval of each block"), "block, from stem to head", "± %", height=260)
    for label, colour, doubtful in (("measured well", BLUE, False), ("doubtful", ORANGE, True)):
        some = [(at, place, entry) for at, (place, entry) in enumerate(rows, start=1) if _doubtful(entry) == doubtful]
        if not some:
            continue
        columns = source(
            at=[at for at, _, _ in some], width=[100 * entry.relative_ci for _, _, entry in some],
            place=[place for _, place, _ in some], block=[entry.block for _, _, entry in some],
            latency=[entry.latency_ms for _, _, entry in some], rounds=[entry.rounds for _, _, entry in some],
            flags=[", ".join(entry.flags) or "none" for _, _, entry in some],
        )  # fmt: skip
        drawn.segment("at", 0, "at", "width", source=columns, line_color=colour, line_alpha=0.35)
        points = drawn.scatter(
            "at", "width", size=6, color=colour, source=columns, legend_label=f"{label} ({len(some)})"
        )
        point_out(drawn, [points], [
            ("block", "@block"), ("place", "@place"), ("alone", "@latency{0.0000} ms ± @width{0.00} %"),
            ("rounds", "@rounds"), ("flags", "@flags"),
        ])  # fmt: skip
    drawn.y_range.start, drawn.y_range.end = 0, _ROOM * max(100 * entry.relative_ci for _, entry in rows)
    drawn.xgrid.grid_line_color = None
    key_at(drawn, "top_right", across=True)
    return drawn
