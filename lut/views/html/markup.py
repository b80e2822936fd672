"""Markup from foreign text: whatever comes from a table or a file enters a page through these, which escape it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from math import isfinite

from lut.words import encodable


@dataclass(frozen=True)
class Html:
    """Markup that may be written as it is."""

    markup: str


def text(value: object) -> Html:
    """`value` as text: escaped, without control characters."""
    shown = "".join(c if c.isprintable() or c in "\n " else "?" for c in encodable(str(value)))
    return Html(escape(shown))


def code(value: object) -> Html:
    """A key, a hash or a command."""
    return Html(f"<code>{text(value).markup}</code>")


def key(value: object) -> Html:
    """A key that stands in one line, as in a table."""
    return Html(f'<code class="key">{text(value).markup}</code>')


def paragraph(*parts: str | Html, kind: str = "") -> Html:
    """A paragraph of texts and markup; `kind` is `note` for what stands below a plot."""
    return Html(f'<p class="{kind}">{"".join(markup_of(part) for part in parts)}</p>')


def heading(value: str) -> Html:
    """A heading within a section."""
    return Html(f"<h3>{text(value).markup}</h3>")


def listed(items: Iterable[str | Html]) -> Html:
    """A list with a line for each item."""
    return Html(f"<ul>{''.join(f'<li>{markup_of(item)}</li>' for item in items)}</ul>")


def table(head: Sequence[str], rows: Iterable[Sequence[str | Html]], right: Iterable[int] = ()) -> Html:
    """A table that scrolls within its own frame where it is long; the columns in `right` are flush right."""
    flush = set(right)

    def line(cells: Sequence[str | Html], tag: str) -> str:
        made = (
            f"<{tag}{' class=right' if index in flush else ''}>{markup_of(cell)}</{tag}>"
            for index, cell in enumerate(cells)
        )
        return f"<tr>{''.join(made)}</tr>"

    body = "\n".join(line(row, "td") for row in rows)
    return Html(f'<div class="frame"><table><thead>{line(head, "th")}</thead><tbody>\n{body}\n</tbody></table></div>')


def facts(rows: Iterable[tuple[str, str | Html]]) -> Html:
    """Names and what they are, a line each."""
    lines = (f"<tr><td class=name>{markup_of(name)}</td><td>{markup_of(value)}</td></tr>" for name, value in rows)
    return Html(f'<div class="frame"><table><tbody>{"".join(lines)}</tbody></table></div>')


def folded(title: str, *pieces: Html, opened: bool = False) -> Html:
    """What is opened, or closed, by a click on its title."""
    inner = "\n".join(piece.markup for piece in pieces)
    return Html(f"<details{' open' * opened}><summary>{text(title).markup}</summary>\n{inner}\n</details>")


def beside(*pieces: Html) -> Html:
    """Pieces side by side where there is room."""
    return Html(f'<div class="beside">{"".join(f"<div>{piece.markup}</div>" for piece in pieces)}</div>')


def number(value: float, decimals: int | None = None) -> str:
    """A number as tables show it; a dash for what is not known."""
    if not isfinite(value):
        return "–"
    return f"{value:.5g}" if decimals is None else f"{value:.{decimals}f}"


def markup_of(part: str | Html) -> str:
    """Markup as it is, anything else as text."""
    return part.markup if isinstance(part, Html) else text(part).markup
