"""The page of a run: its table first, then what was learnt from it."""

from __future__ import annotations

from pathlib import Path

from lut.views.html.page import write_page
from lut.views.html.report import lead, table_sections, title_of
from pnag.reporting.curves import curves_section
from pnag.reporting.frontier import frontier_section
from pnag.reporting.networks import networks_section
from pnag.reporting.source import RunSource


def write_run_report(path: Path, of: RunSource, *, created: str) -> None:
    """Write it by atomic rename. `created` says when it is made.

    Raises `RunError` or `TableFormatError` for a run that is not whole, `OutputError`.
    """
    sections = [*table_sections([of.shown]), curves_section(of), frontier_section(of), networks_section(of)]
    write_page(path, f"{of.run.directory.name}: {title_of(of.shown)}", lead(created, of.made_by), sections)
