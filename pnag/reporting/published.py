"""Published networks that were measured on the device, beside what the generator answers, by their top-1 in print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lut.table import LatencyTable
from lut.views.html.charts import BLUE, GREEN, ORANGE, PINK, chart, key_at, point_out, source
from lut.views.html.markup import Html, heading, paragraph
from lut.views.html.page import Plots
from pnag.accuracy.provenance import Published
from pnag.generator.generate import Candidate
from profiler.zoo.file import Zoo, ZooRow
from profiler.zoo.speed import device_speed

_LOOKS = ((ORANGE, "square"), (GREEN, "triangle"), (PINK, "diamond"))


def published_pieces(
    zoo: Zoo | None,
    table: LatencyTable,
    answers: Sequence[Candidate],
    published: Published | None,
    *,
    missing: list[str],
    untried: list[str],
) -> list[Html | Plots]:
    """A plot of them, and what it shows; nothing where none were measured, or accuracies cannot be compared.

    `published` says what predicted accuracies of the answers are worth; what is not there joins `missing` or `untried`.
    """
    if zoo is None:
        untried.append(
            "Published networks were not measured on this device as the table was, to stand beside; "
            "pnag-profile --device NAME --zoo does, into the folder of the table."
        )
        return []
    if published is None:
        missing.append(
            "Published networks are not beside ours: the accuracies of this run are not known as a published top-1."
        )
        return []
    speed = device_speed(zoo, table)
    drawn = chart("networks by latency and published top-1", "latency at the table's speed, ms", "top-1, %", height=420)
    _draw_ours(drawn, answers, published)
    for (name, rows), look in zip(_by_source(zoo).items(), _LOOKS, strict=False):
        _draw_rows(drawn, name, rows, 1 + speed.slowdown, look)
    key_at(drawn, "bottom_right")
    told = (
        f"{zoo.path}, measured {zoo.created}. Latencies of published networks are measured and put to the table's "
        f"speed; ours are predicted by the table. Our top-1 is what published, fine-tuned networks of the predicted "
        f"accuracy have, ± {published.deviation:.2%}. Networks at other resolutions than ours are among them: point at "
        "one to see its own."
    )
    return [heading("Published networks on this device"), Plots((drawn,)), paragraph(told, kind="note")]


def _by_source(zoo: Zoo) -> dict[str, list[ZooRow]]:
    """The networks with a latency and an accuracy in print, by who published them."""
    found: dict[str, list[ZooRow]] = {}
    for row in zoo.rows:
        if row.latency_ms is not None and row.network.top1 is not None:
            found.setdefault(row.network.source, []).append(row)
    return found


def _draw_ours(drawn: Any, answers: Sequence[Candidate], published: Published) -> None:
    columns = source(
        ms=[answer.cost_ms for answer in answers], top1=[100 * published.top1(answer.accuracy) for answer in answers],
        network=[str(answer.architecture) for answer in answers],
    )  # fmt: skip
    label = "generated, predicted"
    drawn.line("ms", "top1", source=columns, line_color=BLUE, line_width=2, line_alpha=0.5, legend_label=label)
    points = drawn.scatter("ms", "top1", source=columns, size=6, color=BLUE, legend_label=label)
    shown = [("network", "@network"), ("latency", "@ms{0.000} ms predicted"), ("top-1", "@top1{0.00} %")]
    point_out(drawn, [points], shown)


def _draw_rows(drawn: Any, name: str, rows: Sequence[ZooRow], slowdown: float, look: tuple[str, str]) -> None:
    colour, marker = look
    columns = source(
        ms=[(row.latency_ms or 0.0) / slowdown for row in rows], top1=[100 * (row.network.top1 or 0.0) for row in rows],
        name=[row.network.name for row in rows], side=[row.network.resolution for row in rows],
        measured=[row.latency_ms or 0.0 for row in rows],
    )  # fmt: skip
    points = drawn.scatter(
        "ms", "top1", source=columns, size=9, color=colour, marker=marker, alpha=0.85,
        legend_label=f"{name} ({len(rows)})",
    )  # fmt: skip
    point_out(drawn, [points], [
        ("network", "@name"), ("latency", "@ms{0.000} ms, measured @measured{0.000} ms"), ("top-1", "@top1{0.00} %"),
        ("pixels", "@side"),
    ])  # fmt: skip
