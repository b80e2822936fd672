"""A report as a test reads it: its text by section, its tables, and what a browser would load."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

LOADING = ("src", "srcset", "data", "action", "poster")  # attributes that make a browser load an address


@dataclass
class Page(HTMLParser):
    """The parts of a page."""

    titles: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    items: list[str] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)
    plots: int = 0
    words: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[str] = []

    @classmethod
    def read(cls, path: Path) -> Page:
        page = cls()
        page.feed(path.read_text(encoding="utf-8"))
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        self.loaded += [str(value) for name, value in given.items() if name in LOADING]
        if tag == "link":
            self.loaded.append(str(given["href"]))
        self.plots += "data-root-id" in given
        if tag not in ("meta", "link"):
            self._open.append(tag)
        new = {"tr": self.rows, "h2": self.titles, "li": self.items, "code": self.codes, "script": self.scripts}
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag in new:
            new[tag].append("")  # type: ignore[arg-type]

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        inside = set(self._open)
        if "script" in inside:
            self.scripts[-1] += data
            return
        if "style" not in inside:
            self.words += data
        if inside & {"td", "th"}:
            self.rows[-1][-1] += data
        for tag, into in (("h2", self.titles), ("li", self.items), ("code", self.codes)):
            if tag in inside:
                into[-1] += data

    def row_of(self, text: str) -> list[str]:
        """The one row that has this cell."""
        (row,) = (row for row in self.rows if text in row)
        return row
