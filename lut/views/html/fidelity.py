"""Predicted against measured: whole networks, those that the table was calibrated with and those it had not seen."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

from lut.entry import Entry
from lut.views.html.charts import BLUE, GREY, ORANGE, chart, key_at, point_out, source, straight
from lut.views.html.markup import Html, code, folded, number, paragraph, table
from lut.views.html.page import Plots, Section
from lut.views.html.shown import Shown
from lut.views.told import calibration_text, fidelity_text

TITLE = "Predicted against measured"
BAND = 0.05
_ROLES = (("calibration", "used in calibration", GREY, "circle"), ("holdout", "unseen", BLUE, "diamond"))


def fidelity_section(tables: Sequence[Shown]) -> Section:
    """How sums of blocks compare with whole networks."""
    drawn = [shown for shown in tables if any(_known(shown, role) for role, *_ in _ROLES)]
    missing = [
        shown.said("no whole network was measured with it, so how well costs add up is not known")
        for shown in tables
        if shown not in drawn
    ]
    missing += [
        shown.said("all its networks are of the calibration; how well unseen ones are predicted was not judged")
        for shown in drawn
        if shown.table.metadata.fidelity is None
    ]
    if not drawn:
        return Section(TITLE, (), tuple(missing))
    above = tuple(_against(shown) for shown in drawn)
    below = tuple(_errors(shown, of.x_range) for shown, of in zip(drawn, above, strict=True))
    pieces: list[Html | Plots] = [Plots(above), Plots(below)]
    pieces += [
        paragraph(shown.said(f"fidelity: {fidelity_text(shown.table.metadata.fidelity)}."), kind="note")
        for shown in drawn
    ]
    pieces += [
        paragraph(shown.said(f"calibration: {calibration_text(shown.table.metadata.calibration)}."), kind="note")
        for shown in drawn
    ]
    pieces += [_numbers(shown) for shown in drawn]
    return Section(TITLE, tuple(pieces), tuple(missing))


def _known(shown: Shown, role: str) -> list[Entry]:
    return [entry for entry in shown.table.networks(role) if isfinite(entry.cost_ms) and entry.cost_ms > 0]


def _against(shown: Shown) -> Any:
    drawn = chart(shown.titled("whole networks"), "predicted by the table, ms", "measured, ms", height=360)
    known = [entry for role, *_ in _ROLES for entry in _known(shown, role)]
    times = [time for entry in known for time in (entry.cost_ms, entry.latency_ms)]
    low, high = straight(min(times), max(times))
    line = [max(0.0, low), high]
    drawn.varea(
        line, [(1 - BAND) * x for x in line], [(1 + BAND) * x for x in line], fill_color=ORANGE, fill_alpha=0.15,
        legend_label=f"±{100 * BAND:.0f} %",
    )  # fmt: skip
    drawn.line(line, line, line_color="#000000", legend_label="measured = predicted")
    _scatter(drawn, shown, "measured")
    key_at(drawn)
    return drawn


def _errors(shown: Shown, x_range: Any) -> Any:
    drawn = chart("", "predicted by the table, ms", "error, %", height=220, x_range=x_range)
    from bokeh.models import BoxAnnotation, Span

    drawn.add_layout(
        BoxAnnotation(bottom=-100 * BAND, top=100 * BAND, fill_color=ORANGE, fill_alpha=0.12, level="underlay")
    )
    drawn.add_layout(Span(location=0, dimension="width", line_color="#000000", line_width=1))
    _scatter(drawn, shown, "error")
    furthest = max(
        abs(100 * (entry.latency_ms / entry.cost_ms - 1)) for role, *_ in _ROLES for entry in _known(shown, role)
    )
    drawn.y_range.start, drawn.y_range.end = -1.15 * max(furthest, 100 * BAND), 1.15 * max(furthest, 100 * BAND)
    if drawn.legend:
        drawn.legend.visible = False
    return drawn


def _scatter(drawn: Any, shown: Shown, column: str) -> None:
    for role, label, colour, marker in _ROLES:
        entries = _known(shown, role)
        if not entries:
            continue
        glyphs = drawn.scatter(
            "predicted", column, size=8, marker=marker, line_color=colour, legend_label=f"{label} ({len(entries)})",
            fill_color=colour, fill_alpha=0.15 if role == "calibration" else 0.85,
            source=source(
                predicted=[entry.cost_ms for entry in entries], measured=[entry.latency_ms for entry in entries],
                error=[100 * (entry.latency_ms / entry.cost_ms - 1) for entry in entries],
                network=[entry.block for entry in entries],
            ),
        )  # fmt: skip
        point_out(drawn, [glyphs], [
            ("network", "@network"), ("predicted", "@predicted{0.000} ms"), ("measured", "@measured{0.000} ms"),
            ("error", "@error{+0.00} %"),
        ])  # fmt: skip


def _numbers(shown: Shown) -> Html:
    rows: list[list[str | Html]] = [
        [
            label, code(entry.block), number(entry.cost_ms), number(entry.latency_ms),
            number(100 * (entry.latency_ms / entry.cost_ms - 1), 2),
        ]
        for role, label, *_ in _ROLES
        for entry in _known(shown, role)
    ]  # fmt: skip
    head = ("used as", "network", "predicted, ms", "measured, ms", "error, %")
    return folded(shown.said(f"the numbers of {len(rows)} networks"), table(head, rows, (2, 3, 4)))
