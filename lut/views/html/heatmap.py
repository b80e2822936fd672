"""The heat map of costs by unit and kind of block, one for each table on one scale, with the numbers below."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite, log, nan
from typing import Any

from lut.blocks import parse_block
from lut.entry import Entry
from lut.views.groups import Group, cost_grid, group_blocks, shape_text
from lut.views.html.charts import chart, point_out, source
from lut.views.html.markup import Html, folded, number, paragraph, table
from lut.views.html.markup import key as as_key
from lut.views.html.page import Plots, Section
from lut.views.html.shown import Shown

TITLE = "What each block costs"
_ROW_PX, _EDGES_PX = 30, 96
_BRIGHT = 0.55  # of the scale: above it the colours are so bright that numbers on them are black


def heat_section(tables: Sequence[Shown]) -> Section:
    """Heat maps side by side, and the table of their numbers."""
    rows = {id(shown): _rows(shown) for shown in tables}
    drawn = [shown for shown in tables if rows[id(shown)]]
    missing = tuple(
        shown.said("it has no blocks of units, so there is no heat map") for shown in tables if shown not in drawn
    )
    costs = [shown.table.costs_ms[block.key] for shown in drawn for g in rows[id(shown)] for block in g.blocks]
    pieces: list[Html | Plots] = []
    if drawn:
        low = min(cost for cost in costs if cost > 0)
        scale = (low, max(*costs, 1.001 * low))
        alone = len(drawn) == 1
        maps = (_map(each, rows[id(each)], scale, alone=alone, last=each is drawn[-1]) for each in drawn)
        pieces.append(Plots(tuple(maps)))
        pieces.append(paragraph(_caption(drawn), kind="note"))
    if any(shown.table.costs_ms for shown in tables):
        pieces.append(_numbers(tables))
    return Section(TITLE, tuple(pieces), missing)


def _rows(shown: Shown) -> list[Group]:
    costs = shown.table.costs_ms
    return [g for g in _groups(shown) if g.position and any(costs[block.key] > 0 for block in g.blocks)]


def _groups(shown: Shown) -> Sequence[Group]:
    return group_blocks(parse_block(key) for key in shown.table.costs_ms)


def _caption(drawn: Sequence[Shown]) -> str:
    words = (
        "Cost of a block in a network in ms, by the colours of one logarithmic scale. A dash: there is no such block."
    )
    shared = []
    for shown in drawn:
        parts = [
            f"{group.title} {min(shown.table.costs_ms[block.key] for block in group.blocks):.3g}"
            for group in _groups(shown)
            if not group.position
        ]
        if parts:
            shared.append(shown.titled(", ".join(parts)))
    return f"{words} Beside them: {'; '.join(shared)} ms." if shared else words


def _map(shown: Shown, rows: Sequence[Group], scale: tuple[float, float], *, alone: bool, last: bool) -> Any:
    from bokeh.models import BasicTickFormatter, ColorBar, FactorRange, LogColorMapper, LogTicker
    from bokeh.palettes import Viridis256

    columns, cost = cost_grid(rows, shown.table.costs_ms)
    names = [f"{g.title} {g.position}" + (f", {shape_text(g)}" if alone else "") for g in rows]
    kinds = [(f"expand {expand}", f"{kernel}×{kernel}") for expand, kernel in columns]
    blocks = {(row, _kind(block)): block.key for row, group in enumerate(rows) for block in group.blocks}
    cells = [(row, column) for row in range(len(rows)) for column in range(len(columns))]
    values = [float(cost[cell]) for cell in cells]
    keys = [blocks.get((row, columns[column]), "") for row, column in cells]
    entries = [shown.table.blocks.get(key) for key in keys]
    drawn = chart(
        shown.titled("cost, ms"), height=_EDGES_PX + _ROW_PX * len(rows),
        x_range=FactorRange(*kinds, group_padding=0.25), y_range=FactorRange(*reversed(names)),
    )  # fmt: skip
    data = source(
        column=[0] * len(cells), cost=values, block=keys,
        latency=[nan if entry is None else entry.latency_ms for entry in entries],
        ci=[nan if entry is None else 100 * entry.relative_ci for entry in entries],
        shape=[shape_text(rows[row]) for row, _ in cells],
        label=[f"{value:.3g}" if isfinite(value) else "–" for value in values],
        ink=["#000000" if value > 0 and _height(value, scale) > _BRIGHT else "#ffffff" for value in values],
    )  # fmt: skip
    data.data["column"] = [kinds[column] for _, column in cells]
    data.data["row"] = [names[row] for row, _ in cells]
    mapper = LogColorMapper(palette=Viridis256, low=scale[0], high=scale[1], nan_color="#9aa1a9")
    tiles = drawn.rect(
        "column", "row", 1, 1, source=data, line_color="#ffffff", line_width=0.6,
        fill_color={"field": "cost", "transform": mapper},
    )  # fmt: skip
    drawn.text(
        "column", "row", text="label", text_color="ink", source=data, text_align="center", text_baseline="middle",
        text_font_size="11.5px" if alone else "10.5px",
    )  # fmt: skip
    point_out(drawn, [tiles], [
        ("block", "@block"), ("shape", "@shape"), ("cost", "@cost{0.0000} ms"),
        ("alone", "@latency{0.0000} ms ± @ci{0.0} %"),
    ])  # fmt: skip
    drawn.grid.grid_line_color = None
    drawn.xaxis.group_text_font_size = "12px"
    drawn.xaxis.separator_line_color = None
    drawn.axis.major_tick_line_color = None
    if last:
        drawn.add_layout(
            ColorBar(
                color_mapper=mapper,
                ticker=LogTicker(mantissas=[1, 2, 5]),
                formatter=BasicTickFormatter(),
                width=12,
                padding=4,
            ),
            "right",
        )
    return drawn


def _kind(block: Any) -> tuple[int, int]:
    return block.expand, block.kernel


def _height(value: float, scale: tuple[float, float]) -> float:
    """Where a cost is on the logarithmic scale, 0 to 1."""
    return log(value / scale[0]) / log(scale[1] / scale[0])


# -- the numbers --------------------------------------------------------------------------------------------


def _numbers(tables: Sequence[Shown]) -> Html:
    """All blocks in the order of a network: those of the first table, then what only others have."""
    keys = list(dict.fromkeys(key for shown in tables for key in shown.table.blocks))
    places = {
        block.key: f"{group.title} {group.position}".strip()
        for group in group_blocks(parse_block(key) for key in keys)
        for block in group.blocks
    }
    head = ["place", "block"]
    for shown in tables:
        head += [shown.titled(name) for name in ("cost, ms", "alone, ms", "± %", "rounds", "flags")]
    if len(tables) == 2:
        head.append("cost B / A")
    rows = []
    for key, place in places.items():
        cells: list[str | Html] = [place, as_key(key)]
        for shown in tables:
            cells += _cells(shown.table.blocks.get(key))
        if len(tables) == 2:
            first, second = (shown.table.costs_ms.get(key, nan) for shown in tables)
            cells.append(number(second / first) if first else "–")
        rows.append(cells)
    flush = [index for index, name in enumerate(head) if index > 1 and not name.endswith("flags")]
    return folded(f"The numbers of {len(rows)} blocks", table(head, rows, flush), opened=True)


def _cells(entry: Entry | None) -> Iterable[str]:
    if entry is None:
        return ["–"] * 5
    ci = 100 * entry.relative_ci if entry.latency_ms else nan
    rounds = str(entry.rounds) if entry.rounds else "–"
    return [number(entry.cost_ms), number(entry.latency_ms), number(ci, 2), rounds, ", ".join(entry.flags)]
