"""How the plots of a report look: one size of text, one set of colours, tooltips that show what is pointed at.

Texts that come from tables and files stand in tooltips only, as data: as a title or a label Bokeh would read some of
them as formulas. Colours are of Okabe and Ito's palette, which colour-blind readers can tell apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from bokeh.plotting import figure as Figure

BLUE, ORANGE, GREEN, PINK, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8a929b"
_LEFT_PX = 66  # so that plots under each other begin at one line
MOST_POINTS = 4000  # of one kind in a plot: more are neither seen nor quick

Array = NDArray[np.float64]


def chart(title: str, x_label: str = "", y_label: str = "", *, height: int = 340, **options: Any) -> Figure:
    """An empty plot as wide as its place, `height` pixels high; the wheel zooms only once its tool is chosen."""
    from bokeh.plotting import figure

    drawn = figure(
        title=title, x_axis_label=x_label or None, y_axis_label=y_label or None, height=height,
        sizing_mode="stretch_width", tools="pan,wheel_zoom,box_zoom,reset,save", active_drag=None, **options,
    )  # fmt: skip
    drawn.toolbar.logo = None
    drawn.toolbar.autohide = True
    drawn.min_border_left = _LEFT_PX
    drawn.title.text_font_size = "14px"
    drawn.axis.axis_label_text_font_style = "normal"
    drawn.axis.axis_label_text_font_size = "13px"
    drawn.axis.major_label_text_font_size = "12px"
    drawn.grid.grid_line_color = "#e7eaee"
    drawn.outline_line_color = "#d5dae0"
    return drawn


def point_out(drawn: Figure, glyphs: Sequence[Any], shown: Sequence[tuple[str, str]]) -> None:
    """A tooltip on these glyphs: names, and the columns or formats of their source (`@cost{0.0000} ms`)."""
    from bokeh.models import HoverTool

    drawn.add_tools(HoverTool(renderers=list(glyphs), tooltips=list(shown)))


def source(**columns: Any) -> Any:
    """The data behind glyphs, by column, all of one length."""
    from bokeh.models import ColumnDataSource

    return ColumnDataSource({name: _column(values) for name, values in columns.items()})


def _column(values: Any) -> Any:
    array = np.asarray(values)
    if array.dtype.kind == "f":  # half of the bytes, and more digits than a screen or a tooltip has
        return array.astype(np.float32)
    return [str(value) for value in values] if array.dtype.kind in "OUS" else array


def key_at(drawn: Figure, place: str = "top_left", *, across: bool = False) -> None:
    """Put the legend there, small, its parts beside each other if `across`; a click hides what is named.

    Without anything named there is none.
    """
    if not drawn.legend:
        return
    drawn.legend.location = place
    drawn.legend.label_text_font_size = "12px"
    drawn.legend.background_fill_alpha = 0.85
    drawn.legend.orientation = "horizontal" if across else "vertical"
    drawn.legend.click_policy = "hide"
    drawn.legend.spacing, drawn.legend.padding = 1, 6


def spread_rows(n: int, most: int = MOST_POINTS) -> NDArray[np.intp]:
    """Which of `n` rows to show: all, or at most so many, evenly spread."""
    return np.arange(n) if n <= most else np.unique(np.linspace(0, n - 1, most).round().astype(np.intp))


def straight(low: float, high: float, share: float = 0.05) -> tuple[float, float]:
    """A range of an axis that leaves some room around its values."""
    room = share * (high - low) or 0.1 * abs(high) or 1.0
    return low - room, high + room
