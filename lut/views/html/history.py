"""The device over time: the reference block, all visits against their own block's median, temperature and clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import isfinite
from statistics import median
from typing import Any

from lut.views.html.charts import (
    BLUE,
    GREEN,
    GREY,
    MOST_POINTS,
    ORANGE,
    PINK,
    chart,
    key_at,
    point_out,
    source,
    spread_rows,
)
from lut.views.html.markup import Html, paragraph
from lut.views.html.page import Plots, Section
from lut.views.html.shown import Moment, Shown

TITLE = "The device over time"
_MINUTE_S = 60.0
_FURTHEST = 0.5  # of a visit from its median that the plot opens with; further ones are reached by zooming out


def _temperature(moment: Moment) -> float:
    return moment.temperature_c


def _clock(moment: Moment) -> float:
    return moment.clock_mhz


_STATES = (("temperature", "°C", ORANGE, _temperature), ("clock", "MHz", GREEN, _clock))


def history_section(tables: Sequence[Shown]) -> Section:
    """For each table whose session is known, what its reference, visits, temperature and clock were."""
    pieces: list[Html | Plots] = []
    missing = []
    for shown in tables:
        if not shown.moments:
            missing.append(shown.said(shown.no_moments))
            continue
        readings = [m for m in shown.moments if m.reference and isfinite(m.median_ms)]
        drawn = [part for part in (_readings(shown, readings), _visits(shown)) if part is not None]
        for name, unit, colour, of in _STATES:
            if any(isfinite(of(moment)) for moment in shown.moments):
                drawn.append(_state(shown, name, unit, colour, of))
            else:
                missing.append(shown.said(f"the device told no {name} during the session"))
        for other in drawn[1:]:
            other.x_range = drawn[0].x_range
        pieces += [Plots(tuple(drawn[at : at + 2])) for at in range(0, len(drawn), 2)]
        pieces.append(paragraph(shown.said(_told(shown, readings)), kind="note"))
        if (left_out := sum(not m.reference for m in shown.moments) - MOST_POINTS) > 0:
            missing.append(
                shown.said(f"{left_out} of the visits over time are not drawn; those that are, are evenly spread")
            )
    return Section(TITLE, tuple(pieces), tuple(missing))


def _told(shown: Shown, readings: Sequence[Moment]) -> str:
    visits = [moment for moment in shown.moments if not moment.reference]
    words = f"{len(visits)} visits in {shown.moments[-1].at_s / _MINUTE_S:.1f} minutes"
    if readings:
        times = sorted(reading.median_ms for reading in readings)
        low, high = times[len(times) // 20], times[-1 - len(times) // 20]
        words += f"; {len(readings)} readings of the reference, 90 % of them from {low:.4g} to {high:.4g} ms"
    flagged = Counter(flag for visit in visits for flag in visit.flags)
    if flagged:
        words += "; flags of visits: " + ", ".join(f"{flag} {count}" for flag, count in sorted(flagged.items()))
    return f"{words}."


def _readings(shown: Shown, readings: Sequence[Moment]) -> Any:
    """The reference block over time; None where it was not read."""
    if not readings:
        return None
    from bokeh.models import Span

    drawn = chart(shown.titled("the reference block"), "minutes since the session began", "ms", height=260)
    columns = source(
        minute=[moment.at_s / _MINUTE_S for moment in readings], ms=[moment.median_ms for moment in readings],
        flags=[", ".join(moment.flags) or "none" for moment in readings],
    )  # fmt: skip
    drawn.line("minute", "ms", source=columns, line_color=BLUE, line_alpha=0.35)
    points = drawn.scatter("minute", "ms", source=columns, size=5, color=BLUE)
    drawn.add_layout(
        Span(
            location=median(moment.median_ms for moment in readings),
            dimension="width",
            line_color=GREY,
            line_dash="dashed",
        )
    )
    point_out(drawn, [points], [("reference", "@ms{0.0000} ms"), ("at", "@minute{0.00} min"), ("flags", "@flags")])
    return drawn


def _visits(shown: Shown) -> Any:
    """Each visit as a share of its unit's median: what is common to all at a time is the device's speed."""
    visits = [moment for moment in shown.moments if not moment.reference and isfinite(moment.median_ms)]
    if not visits:
        return None
    of_unit: dict[str, list[float]] = {}
    for visit in visits:
        of_unit.setdefault(visit.unit, []).append(visit.median_ms)
    usual = {unit: median(times) for unit, times in of_unit.items()}
    drawn = chart(
        shown.titled("every visit against its own block's median"), "minutes since the session began", "%", height=260
    )
    some = [visits[row] for row in spread_rows(len(visits))]
    off = [100 * (visit.median_ms / usual[visit.unit] - 1) for visit in some]
    for label, colour, flagged in (("as usual", BLUE, False), ("flagged", PINK, True)):
        rows = [(visit, share) for visit, share in zip(some, off, strict=True) if bool(visit.flags) == flagged]
        if not rows:
            continue
        columns = source(
            minute=[visit.at_s / _MINUTE_S for visit, _ in rows], off=[share for _, share in rows],
            unit=[visit.unit for visit, _ in rows], flags=[", ".join(visit.flags) or "none" for visit, _ in rows],
        )  # fmt: skip
        points = drawn.scatter(
            "minute", "off", source=columns, size=3.5, color=colour, alpha=0.5, legend_label=f"{label} ({len(rows)})"
        )
        point_out(drawn, [points], [
            ("unit", "@unit"), ("off", "@off{+0.00} %"), ("at", "@minute{0.00} min"), ("flags", "@flags"),
        ])  # fmt: skip
    reach = min(max(abs(share) for share in off), 100 * _FURTHEST) or 1.0
    drawn.y_range.start, drawn.y_range.end = -1.1 * min(reach, abs(min(off)) or reach), 1.1 * reach
    key_at(drawn, "top_right", across=True)
    return drawn


def _state(shown: Shown, name: str, unit: str, colour: str, of: Callable[[Moment], float]) -> Any:
    drawn = chart(shown.titled(name), "minutes since the session began", unit, height=220)
    known = [moment for moment in shown.moments if isfinite(of(moment))]
    some = [known[row] for row in spread_rows(len(known))]
    columns = source(minute=[moment.at_s / _MINUTE_S for moment in some], value=[of(moment) for moment in some])
    drawn.line("minute", "value", source=columns, line_color=colour, line_alpha=0.4)
    points = drawn.scatter("minute", "value", source=columns, size=3.5, color=colour)
    point_out(drawn, [points], [(name, f"@value{{0.0}} {unit}"), ("at", "@minute{0.00} min")])
    return drawn
