"""The report of one table, or of two side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lut.version import tool_version
from lut.views.html.facts import device_name, facts_section, runtime_name
from lut.views.html.fidelity import fidelity_section
from lut.views.html.heatmap import heat_section
from lut.views.html.history import history_section
from lut.views.html.markup import Html, code, paragraph
from lut.views.html.noise import noise_section
from lut.views.html.page import Section, write_page
from lut.views.html.shown import Shown, lettered


def write_table_report(path: str | Path, tables: Sequence[Shown], *, created: str, command: str = "") -> None:
    """Write a report of one or two tables by atomic rename.

    `created` says when it is made, `command` by which words. Raises `OutputError`.
    """
    name = " and ".join(dict.fromkeys(title_of(shown) for shown in tables))
    write_page(path, f"Latency of blocks: {name}", lead(created, command), table_sections(tables))


def table_sections(tables: Sequence[Shown]) -> list[Section]:
    """What tables tell, a section for each matter; two tables are called A and B."""
    shown = lettered(tables)
    makers = (facts_section, heat_section, fidelity_section, noise_section, history_section)
    return [make(shown) for make in makers]


def title_of(shown: Shown) -> str:
    """Device and runtime of a table."""
    return f"{device_name(shown.table)}, {runtime_name(shown.table)}"


def lead(created: str, command: str) -> list[Html]:
    """When and how a report was made."""
    lines = [
        paragraph(
            f"Made {created} by pnag {tool_version()}. Point at a plot to read it; click a legend to hide a part."
        )
    ]
    return [*lines, paragraph("By the command ", code(command))] if command else lines
