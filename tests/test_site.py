"""The documentation as a site: built strictly, which is its check of links, and complete."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mkdocs")

ROOT = Path(__file__).parents[1]
CONFIG = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(place)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return place


def test_every_page_is_in_the_navigation():
    named = set(re.findall(r": ([\w/.-]+\.md)$", CONFIG, re.M))
    assert {path.name for path in (ROOT / "docs").glob("*.md")} <= named


def test_links_between_places_in_the_repository_are_turned(site: Path):
    start = (site / "index.html").read_text(encoding="utf-8")
    assert 'href="table/"' in start
    assert 'href="benchmarks/results/wandering_host/"' in start
    assert 'href="examples/budgets.py"' in start
    assert (site / "examples" / "budgets.py").read_bytes() == (ROOT / "examples" / "budgets.py").read_bytes()
    assert (site / "frontier.png").is_file()
    guide = (site / "add_a_device" / "index.html").read_text(encoding="utf-8")
    assert 'href="../examples/add_a_device/"' in guide
    assert "torch_cpu.toml" in (site / "examples" / "add_a_device" / "index.html").read_text(encoding="utf-8")


def test_the_reference_is_of_the_docstrings_and_of_the_commands(site: Path):
    tables = (site / "reference" / "lut" / "index.html").read_text(encoding="utf-8")
    assert 'id="lut.LatencyTable.load"' in tables
    assert "Read a table; raises" in tables
    assert "_from_parts" not in tables
    learning = (site / "reference" / "pnag" / "index.html").read_text(encoding="utf-8")
    assert 'id="pnag.Generator"' in learning
    commands = (site / "reference" / "commands" / "index.html").read_text(encoding="utf-8")
    assert "pnag-lut fleet add" in commands
    assert "--fail-above" in commands


def test_nothing_is_fetched_from_elsewhere(site: Path):
    page = (site / "index.html").read_text(encoding="utf-8")
    assert not re.findall(r'<(?:link|script|img)[^>]+(?:href|src)="https?://[^"]+\.(?:css|js|png|woff2?)', page)
