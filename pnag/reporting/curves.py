"""How the trainings of a run went: its supernet, its generator, and networks that were trained by themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from lut.errors import LutError
from lut.journal import read_lines
from lut.views.html.charts import BLUE, GREEN, ORANGE, PINK, chart, key_at, point_out, source, spread_rows, straight
from lut.views.html.markup import Html, heading, paragraph
from lut.views.html.page import Plots, Section
from pnag.reporting.source import RunSource
from pnag.runs.run import FINETUNED, LEARNING, SUPERNET
from pnag.supernet import CURVE

TITLE = "Training"
_MOST_NETWORKS = 8  # fine-tuned ones that have a plot
_ROOM = 0.35  # of what is drawn, below it, for the legend
_STEPS = (("kept", "drawn networks that keep their budget", GREEN), ("used", "of the budget that they cost", ORANGE))

Row = Mapping[str, Any]


def curves_section(of: RunSource) -> Section:
    """Loss and accuracy over the epochs, the generator's over its steps."""
    pieces: list[Html | Plots] = []
    missing: list[str] = []
    directory = of.run.directory
    rows = _rows(directory / SUPERNET / CURVE, missing)
    if rows:
        pieces += [heading("The supernet"), _training(rows), paragraph(_supernet_told(of), kind="note")]
    elif of.run.done("supernet") is None:
        missing.append("No supernet was trained in this run: its accuracies were given, or come with the program.")
    else:
        missing.append("The supernet was given, not trained in this run, so there is no curve of its training.")
    steps = _rows(directory / LEARNING, missing)
    if steps:
        pieces += [heading("The generator"), _steps(steps)]
    else:
        missing.append(
            f"How the generator's training went was not kept: method {of.run.asked.get('method')} has none over all "
            "budgets, or the run is of an older release."
        )
    folders = sorted(path.parent for path in (directory / FINETUNED).glob(f"*/{CURVE}"))
    for folder in folders[:_MOST_NETWORKS]:
        if own := _rows(folder / CURVE, missing):
            pieces += [heading(f"A network by itself, {FINETUNED}/{folder.name}"), _training(own)]
    if len(folders) > _MOST_NETWORKS:
        missing.append(
            f"Of {len(folders)} networks that were trained by themselves, {_MOST_NETWORKS} curves are shown."
        )
    return Section(TITLE, tuple(pieces), tuple(missing))


def _rows(path: Path, missing: list[str]) -> list[Row]:
    """The rows of a curve; what is no row of one is left out, and a damaged file is said to be missing."""
    try:
        found = read_lines(path)
    except (OSError, LutError) as error:
        missing.append(f"A curve cannot be read: {error}")
        return []
    return [row for row in found if isinstance(row, dict) and _number(row.get("step"))]


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _training(rows: Sequence[Row]) -> Plots:
    """Loss, and accuracy on validation images, over the epochs."""
    some = [rows[row] for row in spread_rows(len(rows))]
    drawn = [_lines("loss", "", some, [("loss", "of the step", BLUE)])]
    columns = (
        ("val_largest", "largest network", BLUE),
        ("val_smallest", "smallest network", ORANGE),
        ("val", "the network", BLUE),
    )
    judged = [column for column in columns if any(_number(row.get(column[0])) for row in rows)]
    if judged:
        drawn.append(_lines("accuracy on validation images", "%", rows, judged, factor=100))
    return Plots(tuple(drawn))


def _lines(
    title: str, unit: str, rows: Sequence[Row], columns: Sequence[tuple[str, str, str]], *, factor: float = 1
) -> Any:
    drawn = chart(title, "epoch", unit, height=260)
    for name, label, colour in columns:
        points = [(row, _value(row, name)) for row in rows]
        known = [(row, factor * value) for row, value in points if value is not None and _number(row.get("epoch"))]
        if not known:
            continue
        data = source(
            epoch=[float(row["epoch"]) for row, _ in known], value=[value for _, value in known],
            step=[int(row["step"]) for row, _ in known],
        )  # fmt: skip
        drawn.line("epoch", "value", source=data, line_color=colour, line_alpha=0.5, legend_label=label)
        dots = drawn.scatter("epoch", "value", source=data, size=4, color=colour)
        point_out(drawn, [dots], [(label, f"@value{{0.000}} {unit}"), ("epoch", "@epoch{0.0}"), ("step", "@step")])
    key_at(drawn, "bottom_right" if unit else "top_right")
    return drawn


def _value(row: Row, name: str) -> float | None:
    if name == "loss":  # that of the first network of the step
        losses = row.get("losses")
        value = losses[0] if isinstance(losses, list) and losses else None
    else:
        value = row.get(name)
    return float(value) if _number(value) and value is not None else None


def _steps(rows: Sequence[Row]) -> Plots:
    shares = chart("what the generator draws", "step of the policy gradient", "%", height=260)
    for column in _STEPS:
        _step_line(shares, rows, column, 100)
    values = [100 * float(row[name]) for row in rows for name, _, _ in _STEPS if _number(row.get(name))]
    if values:
        low, high = straight(min(values), max(values))
        shares.y_range.start, shares.y_range.end = low - _ROOM * (high - low), high
    key_at(shares, "bottom_right")
    entropy = chart("entropy of a network that is drawn", "step of the policy gradient", "nats", height=260)
    _step_line(entropy, rows, ("entropy", "entropy", PINK), 1)
    return Plots((shares, entropy))


def _step_line(drawn: Any, rows: Sequence[Row], column: tuple[str, str, str], factor: float) -> None:
    name, label, colour = column
    known = [row for row in rows if _number(row.get(name))]
    if not known:
        return
    data = source(
        step=[int(row["step"]) for row in known], value=[factor * float(row[name]) for row in known],
        loss=[float(row["loss"]) if _number(row.get("loss")) else float("nan") for row in known],
    )  # fmt: skip
    line = drawn.line("step", "value", source=data, line_color=colour, line_width=1.6, legend_label=label)
    point_out(drawn, [line], [(label, "@value{0.0}"), ("step", "@step"), ("loss", "@loss{0.000}")])
    if name == "entropy":
        drawn.legend.visible = False


def _supernet_told(of: RunSource) -> str:
    record = of.run.done("supernet") or {}
    data, seconds = record.get("data"), record.get("seconds")
    images = data.get("name", "images") if isinstance(data, dict) else "images"
    return f"Trained on {images}" + (f" in {seconds:.0f} s." if _number(seconds) else ".")
