"""One HTML file from sections: text, tables and plots, with the plotting library inside.

Text from tables and files is escaped (`markup`). Beside that a policy in the page's head lets no other script run than
the two that stand in the file, and nothing be loaded from anywhere.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lut.errors import OutputError
from lut.files import replacing, require_writable
from lut.views.html.markup import Html, listed, paragraph, text

if TYPE_CHECKING:
    from bokeh.models import LayoutDOM

SUFFIXES = (".html", ".htm")


@dataclass(frozen=True)
class Plots:
    """Plots that stand side by side where there is room."""

    models: tuple[LayoutDOM, ...]


Piece = Html | Plots


@dataclass(frozen=True)
class Section:
    """A part of a page.

    `missing` says in sentences what is not there, and why, `untried` what was not done, and which command does it; the
    page lists both at its end.
    """

    title: str
    pieces: tuple[Piece, ...] = ()
    missing: tuple[str, ...] = field(default=())
    untried: tuple[str, ...] = field(default=())


def require_report(path: str | Path) -> None:
    """Raise `OutputError` if no report could be written there; for commands that do long work first."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise OutputError(f"{path} is no page by its suffix; end it in {SUFFIXES[0]}")
    require_writable(path)


def write_page(path: str | Path, title: str, lead: Sequence[Html], sections: Sequence[Section]) -> None:
    """Write the page by atomic rename: the lead, the sections with pieces, and last what was not tried or is missing.

    Raises `OutputError`.
    """
    require_report(path)
    content = page(title, lead, sections)
    with replacing(path) as temporary:
        temporary.write_text(content, encoding="utf-8", newline="\n")


def page(title: str, lead: Sequence[Html], sections: Sequence[Section]) -> str:
    """The text of the page."""
    missing = list(dict.fromkeys(sentence for section in sections for sentence in section.missing))
    last = Section(
        "What is not in this report",
        (listed(missing),) if missing else (paragraph("Nothing that this report could show is missing."),),
    )
    untried = list(dict.fromkeys(sentence for section in sections for sentence in section.untried))
    ends = [Section("What was not tried", (listed(untried),)), last] if untried else [last]
    shown = [*(section for section in sections if section.pieces), *ends]
    models = {
        f"plot{number}": model
        for number, model in enumerate(
            model for section in shown for piece in section.pieces if isinstance(piece, Plots) for model in piece.models
        )
    }
    library, drawing, places = _embedded(models)
    order = iter(places)
    parts = [_section(section, number, order) for number, section in enumerate(shown, start=1)]
    links = "".join(
        f'<a href="#part{number}">{text(section.title).markup}</a>' for number, section in enumerate(shown, start=1)
    )
    return _PAGE.format(
        policy=_policy(library, drawing),
        title=text(title).markup,
        style=_STYLE,
        lead="\n".join(piece.markup for piece in lead),
        links=links,
        parts="\n".join(parts),
        library=library,
        drawing=drawing,
    )


def _section(section: Section, number: int, places: Any) -> str:
    made = [f'<section id="part{number}">', f"<h2>{text(section.title).markup}</h2>"]
    for piece in section.pieces:
        if isinstance(piece, Html):
            made.append(piece.markup)
        else:
            plots = "".join(f'<div class="plot">{next(places)}</div>' for _ in piece.models)
            made.append(f'<div class="beside">{plots}</div>')
    return "\n".join([*made, "</section>"])


def _embedded(models: dict[str, LayoutDOM]) -> tuple[str, str, list[str]]:
    """The library's code, the code that draws, and the place of each plot; all empty where there is no plot."""
    if not models:
        return "", "", []
    from bokeh.embed import components
    from bokeh.resources import Resources

    library = "\n".join(Resources(mode="inline", components=["bokeh"], log_level="warn").js_raw)
    drawing, divs = components(models, wrap_script=False)
    return _one_newline(library), _one_newline(str(drawing)), [str(divs[name]) for name in models]


def _one_newline(script: str) -> str:
    """As a browser sees it, which reads every line break as this one: the policy has the hash of that."""
    return script.replace("\r\n", "\n").replace("\r", "\n")


def _policy(*scripts: str) -> str:
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; font-src data:"


_STYLE = """
body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; color: #1d2329; margin: 0;
  background: #fff; }
html { overflow-x: clip; }
main, header { max-width: 1180px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 28px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 8px; }
h2 { font-size: 20px; margin: 40px 0 10px; padding-top: 14px; border-top: 1px solid #d5dae0; }
h3 { font-size: 16px; margin: 22px 0 6px; }
p { margin: 6px 0; max-width: 90ch; }
p.note { color: #55606c; font-size: 13.5px; }
nav { margin: 16px 0 0; font-size: 14px; }
nav a { margin-right: 18px; color: #0b5c94; white-space: nowrap; }
code { font: 12.5px/1.45 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
.frame { max-height: 420px; overflow: auto; border: 1px solid #d5dae0; border-radius: 4px; margin: 8px 0; }
table { border-collapse: collapse; font-size: 13.5px; width: 100%; }
th { position: sticky; top: 0; background: #eef1f4; text-align: left; font-weight: 600; white-space: nowrap; }
th, td { padding: 3px 10px; border-bottom: 1px solid #e7eaee; vertical-align: top; }
td { overflow-wrap: anywhere; }
.name, .key { white-space: nowrap; overflow-wrap: normal; }
.right { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.beside { display: flex; flex-wrap: wrap; gap: 18px; }
.beside > div { flex: 1 1 440px; min-width: 0; }
details { margin: 8px 0; }
summary { cursor: pointer; color: #0b5c94; }
li { margin: 3px 0; max-width: 90ch; }
footer { margin: 30px 0 40px; color: #55606c; font-size: 13.5px; }
@media print { .frame { max-height: none; } nav { display: none; } }
"""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
{lead}
<nav>{links}</nav>
</header>
<main>
{parts}
</main>
<script>{library}</script>
<script>{drawing}</script>
</body>
</html>
"""
