"""Pictures of a table: costs by unit and kind of block, predictions against measurements, one table against another.

Colours are of viridis and of Okabe and Ito's palette, which colour-blind readers can tell apart.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lut.blocks import MBConvSpec, parse_block
from lut.compare import TableDifference
from lut.entry import Entry
from lut.errors import LutError, OutputError
from lut.files import replacing
from lut.table import LatencyTable
from lut.views.groups import cost_grid, group_blocks, shape_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BAND = 0.05
SUFFIXES = (".png", ".svg", ".pdf")
_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#666666"
_KERNEL_STYLES = {3: ("o", _BLUE), 5: ("s", _ORANGE), 7: ("^", _GREEN)}
_DPI = 150


def plot_table(table: LatencyTable, path: str | Path) -> None:
    """Heat map of costs and, where whole networks were measured, predictions against measurements.

    Raises `LutError` if there is nothing to show, `OutputError` if the file cannot be written.
    """
    _require_suffix(path)
    networks = [*table.networks("calibration"), *table.networks("holdout")]
    figure = _figure((9.5, 13.0) if networks else (9.5, 6.6))
    if not networks:
        draw_costs(figure.add_subplot(), table)
    else:
        parts: Any = figure.subfigures(2, 1, height_ratios=(6.2, 6.4))
        upper, lower = parts
        draw_costs(upper.add_subplot(), table)
        draw_predictions(lower.subplots(2, 1, sharex=True, height_ratios=(3, 1.3)), table)
    figure.suptitle(_title(table), fontsize=12, fontweight="bold")
    _write(figure, path)


def plot_difference(difference: TableDifference, names: tuple[str, str], path: str | Path) -> None:
    """Latencies of the second table against those of the first, block by block. Raises `OutputError`."""
    _require_suffix(path)
    figure = _figure((7.5, 7.0))
    draw_difference(figure.add_subplot(), difference, names)
    _write(figure, path)


def draw_costs(axes: Axes, table: LatencyTable) -> None:
    """Cost in ms of unit layers: a row for each unit and position, a column for each expand and kernel."""
    from matplotlib.colors import LogNorm

    groups = group_blocks(parse_block(key) for key in table.costs_ms)
    rows = [group for group in groups if group.position]
    if not rows:
        raise LutError("the table has no blocks of units to show; profile the space first")
    columns, cost = cost_grid(rows, table.costs_ms)
    shown = np.ma.masked_invalid(cost)
    norm = LogNorm(float(shown.min()), max(float(shown.max()), 1.001 * float(shown.min())))
    image = axes.imshow(shown, norm=norm, cmap="viridis", aspect="auto")
    for (row, column), value in np.ndenumerate(cost):
        bright = np.isfinite(value) and norm(value) > 0.55
        text = f"{value:.3g}" if np.isfinite(value) else "–"
        axes.text(column, row, text, ha="center", va="center", fontsize=9, color="black" if bright else "white")
    axes.set_facecolor("#999999")
    axes.set_xticks(range(len(columns)), [f"{kernel}×{kernel}\nexpand {expand}" for expand, kernel in columns])
    axes.set_yticks(range(len(rows)), [f"{group.title} {group.position}\n{shape_text(group)}" for group in rows])
    axes.tick_params(length=0, labelsize=9)
    for row in range(1, len(rows)):
        if rows[row].title != rows[row - 1].title:
            axes.axhline(row - 0.5, color="white", linewidth=2)
    for column in range(1, len(columns)):
        if columns[column][0] != columns[column - 1][0]:
            axes.axvline(column - 0.5, color="white", linewidth=2)
    shared = [f"{g.title} {min(table.costs_ms[b.key] for b in g.blocks):.3g}" for g in groups if not g.position]
    axes.set_title("Cost of a block in a network, ms" + (f"  ({', '.join(shared)})" if shared else ""), fontsize=10)
    bar = axes.figure.colorbar(image, ax=axes, pad=0.015, fraction=0.04)
    _plain_log_ticks(bar.ax.yaxis)
    bar.set_label("ms, logarithmic")


def draw_predictions(axes: Any, table: LatencyTable) -> None:
    """Two axes, shape (2,): measured against predicted latency with a ±5 % band, and the error in percent."""
    above, below = axes
    known = [np.array([], dtype=float)]
    for role, label, style in (
        ("calibration", "used in calibration", {"facecolors": "none", "edgecolors": _GREY, "marker": "o"}),
        ("holdout", "unseen", {"color": _BLUE, "marker": "D"}),
    ):
        predicted, measured = _points(table.networks(role))
        if predicted.size:
            above.scatter(predicted, measured, s=26, label=f"{label} ({predicted.size})", zorder=3, **style)
            below.scatter(predicted, 100 * (measured / predicted - 1), s=26, zorder=3, **style)
            known += [predicted, measured]
    values = np.concatenate(known)
    if values.size == 0:
        raise LutError("no network of the table has a prediction to compare with; calibrate it first")
    margin = 0.05 * (np.ptp(values) or values.max())
    line = np.array([max(0.0, values.min() - margin), values.max() + margin])
    above.plot(line, line, color="black", linewidth=1, label="measured = predicted")
    band: dict[str, Any] = {"color": _ORANGE, "alpha": 0.15, "linewidth": 0, "label": f"±{100 * BAND:.0f} %"}
    above.fill_between(line, (1 - BAND) * line, (1 + BAND) * line, **band)
    below.axhspan(-100 * BAND, 100 * BAND, **band)
    below.axhline(0, color="black", linewidth=1)
    above.set(xlim=line, ylim=line, ylabel="measured, ms")
    below.set(xlabel="predicted by the table, ms", ylabel="error, %")
    fidelity = table.metadata.fidelity
    score = f": MAPE {fidelity.mape:.2%} on {fidelity.n} unseen" if fidelity else ""
    above.set_title(f"Whole networks{score}", fontsize=10)
    above.legend(loc="upper left", fontsize=9, framealpha=0.9)
    furthest = max(abs(limit) for limit in below.get_ylim())
    below.set_ylim(-furthest, furthest)
    for each in axes:
        each.grid(alpha=0.25)


def _points(networks: tuple[Entry, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Predicted and measured latencies in ms, each of shape (n,), of the networks that have both."""
    pairs = [(entry.cost_ms, entry.latency_ms) for entry in networks if np.isfinite(entry.cost_ms)]
    values = np.array(pairs, dtype=float).reshape(-1, 2)
    return values[:, 0], values[:, 1]


def draw_difference(axes: Axes, difference: TableDifference, names: tuple[str, str]) -> None:
    """Both latencies of every block on logarithmic axes, with the line of the median ratio."""
    layers = [(parse_block(block.block), block) for block in difference.blocks]
    for kernel, (marker, colour) in _KERNEL_STYLES.items():
        points = [b for spec, b in layers if isinstance(spec, MBConvSpec) and spec.kernel == kernel]
        if points:
            label = f"{kernel}×{kernel} ({len(points)})"
            _scatter(axes, points, marker=marker, color=colour, label=label, alpha=0.75)
    other = [b for spec, b in layers if not (isinstance(spec, MBConvSpec) and spec.kernel in _KERNEL_STYLES)]
    if other:
        _scatter(axes, other, marker="x", color="black", label=f"stem, head and others ({len(other)})")
    values = np.array([(b.a_ms, b.b_ms) for b in difference.blocks])
    line = np.array([values.min() / 1.2, values.max() * 1.2])
    axes.plot(line, line, color="black", linewidth=1, label="equal")
    ratio = difference.median_ratio
    axes.plot(line, ratio * line, color=_GREY, linewidth=1, linestyle="--", label=f"median ratio {ratio:.3g}")
    axes.set(xscale="log", yscale="log", xlim=line, ylim=line, xlabel=f"A: {names[0]}, ms", ylabel=f"B: {names[1]}, ms")
    for axis in (axes.xaxis, axes.yaxis):
        _plain_log_ticks(axis)
    axes.set_aspect("equal")
    axes.grid(alpha=0.25)
    axes.legend(loc="upper left", fontsize=9)
    axes.set_title(
        f"{len(difference.blocks)} blocks measured twice: median difference "
        f"{difference.median_absolute_difference:.2%}, rank correlation {difference.rank_correlation:.4f}",
        fontsize=10,
    )


def _plain_log_ticks(axis: Any) -> None:
    """1, 2, 5, 10 … written out, instead of powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def _scatter(axes: Axes, points: list[Any], **style: Any) -> None:
    axes.scatter([p.a_ms for p in points], [p.b_ms for p in points], s=30, zorder=3, **style)


def _title(table: LatencyTable) -> str:
    meta = table.metadata
    device = meta.device_name or "unknown device"
    runtime = " ".join(str(meta.runtime[key]) for key in ("name", "version") if meta.runtime.get(key))
    space = meta.space.get("name", "unknown space")
    return ", ".join(filter(None, (device, runtime, f"{space} at {meta.resolution}", f"batch {meta.batch}")))


def _require_suffix(path: str | Path) -> None:
    if Path(path).suffix.lower() not in SUFFIXES:
        raise OutputError(f"{path} is no picture by its suffix; use one of {', '.join(SUFFIXES)}")


def _figure(size_inches: tuple[float, float]) -> Figure:
    from matplotlib.figure import Figure  # not pyplot: no window system, no global state

    return Figure(figsize=size_inches, layout="constrained")


def _write(figure: Figure, path: str | Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=_DPI)
