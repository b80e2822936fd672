"""What MkDocs does beside building `docs/`: pages from elsewhere in the repository, and pages that are generated.

Pages link to each other by their places in the repository, so that they work there as they lie. Here those outside
`docs/` join the site, and the links are turned.
"""

from __future__ import annotations

import importlib
import posixpath
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
HOME, INDEX = "README.md", "index.md"
PROJECT = ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
RESULTS = "benchmarks/results"
# The modules of each page of the reference: packages with what they offer, then what is used beside.
REFERENCE: Mapping[str, tuple[str, ...]] = {
    "lut": ("lut", "lut.compare", "lut.exchange", "lut.formats.fleet"),
    "pnag": (
        "pnag", "pnag.generator.learning", "pnag.search.limits", "pnag.delivery.metadata", "pnag.accuracy.archive",
        "pnag.errors",
    ),
    "devices": ("devices", "devices.host", "devices.timing", "devices.testing", "devices.errors"),
}  # fmt: skip
_LINK = re.compile(r"(?<=\]\()([^)\s#]+)(?=[)#])")
_WIDTH = 100  # of the help of commands, in letters
_SCHEME = re.compile(r"[a-z]+:")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside `docs/`, all files that a page links to, and the generated pages."""
    results = sorted((ROOT / RESULTS).glob("*.md"))
    for name in (HOME, *PROJECT, *(path.relative_to(ROOT).as_posix() for path in results)):
        files.append(File.generated(config, in_site(name), abs_src_path=str(ROOT / name)))
    files.append(File.generated(config, "results.md", content=_results(results)))
    files.append(File.generated(config, "reference/commands.md", content=_commands()))
    for page, modules in REFERENCE.items():
        files.append(File.generated(config, f"reference/{page}.md", content=_reference(modules)))
    for file in list(files.documentation_pages()):
        for name in _targets(file):
            if not files.get_file_from_path(in_site(name)):
                files.append(_linked(config, name))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links between places in the repository as links between places in the site."""
    here = in_repository(page.file.src_uri)

    def turned(match: re.Match[str]) -> str:
        name = _resolved(here, match[0])
        return (
            match[0] if name is None else posixpath.relpath(in_site(name), posixpath.dirname(page.file.src_uri) or ".")
        )

    return _LINK.sub(turned, markdown)


def in_site(name: str) -> str:
    """Where what has this place in the repository lies in the site."""
    if name == HOME:
        return INDEX
    if (ROOT / name).is_dir():
        return f"{name}/{INDEX}"
    return name.removeprefix("docs/")


def in_repository(uri: str) -> str:
    """The inverse for pages."""
    if uri == INDEX:
        return HOME
    return uri if (ROOT / uri).exists() else f"docs/{uri}"


def _targets(file: File) -> Iterator[str]:
    """Places in the repository that a page links to."""
    here = in_repository(file.src_uri)
    for link in _LINK.findall(file.content_string):
        if (name := _resolved(here, link)) is not None:
            yield name


def _resolved(here: str, link: str) -> str | None:
    """The place in the repository that a link means; None where it is another kind of link, or nothing is there."""
    if _SCHEME.match(link):
        return None
    name = posixpath.normpath(posixpath.join(posixpath.dirname(here), link))
    return name if (ROOT / name).exists() and not name.startswith("..") else None


def _linked(config: MkDocsConfig, name: str) -> File:
    """A file that a page links to; of a folder the list of its files, which lie where the list links to."""
    if not (ROOT / name).is_dir():
        return File.generated(config, in_site(name), abs_src_path=str(ROOT / name))
    inside = sorted(path for path in (ROOT / name).iterdir() if path.is_file())
    blocks = [f"## {path.name}\n\n```{path.suffix[1:]}\n{path.read_text(encoding='utf-8')}```\n" for path in inside]
    return File.generated(config, in_site(name), content="\n".join([f"# {name}\n", *blocks]))


def _results(pages: list[Path]) -> str:
    rows = [f"- [{_title(path)}]({RESULTS}/{path.name})" for path in pages]
    return "\n".join(["# What was measured", "", "Each with the machine and the versions beside it.", "", *rows, ""])


def _title(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((line.lstrip("# ") for line in lines if line.startswith("# ")), path.stem.replace("_", " "))


def _reference(modules: tuple[str, ...]) -> str:
    return "\n".join([f"# {modules[0]}\n", *(f"## `{name}`\n\n::: {name}\n" for name in modules)])


def _commands() -> str:
    """`--help` of every command."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    parts = ["# Commands", ""]
    for script, entry in scripts.items():
        app = importlib.import_module(entry.partition(":")[0]).app
        parts += _help(script, typer.main.get_command(app))
    return "\n".join(parts)


def _help(name: str, command: Any) -> Iterator[str]:
    context = typer.Context(command, info_name=name, terminal_width=_WIDTH, max_content_width=_WIDTH)
    yield f"## {name}\n\n```text\n{command.get_help(context)}\n```\n"
    for inner, below in getattr(command, "commands", {}).items():
        yield from _help(f"{name} {inner}", below)
