"""`--help` of every command answers at once: it imports none of the heavy libraries."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
HEAVY = ("torch", "pandas", "onnxruntime", "matplotlib", "pyarrow", "bokeh")
RUN = """
import importlib, sys
module, _, function = sys.argv.pop(1).partition(":")
try:
    getattr(importlib.import_module(module), function)()
finally:
    print("imported:", *sorted(set(sys.modules) & set({heavy!r})), file=sys.stderr)
"""


def run_help(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", RUN.format(heavy=HEAVY), SCRIPTS[script], *arguments, "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_help_imports_no_heavy_library(script):
    done = run_help(script)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "imported:\n"
    assert f"Usage: {script}" in done.stdout


def test_the_commands_are_the_four_that_are_promised():
    assert sorted(SCRIPTS) == ["pnag-generate", "pnag-lut", "pnag-profile", "pnag-train"]


@pytest.mark.parametrize("command", ["show", "check", "diff", "export", "import", "fleet", "trace", "report"])
def test_help_of_the_tables_commands_imports_no_heavy_library(command):
    done = run_help("pnag-lut", command)
    assert (done.returncode, done.stderr) == (0, "imported:\n")
