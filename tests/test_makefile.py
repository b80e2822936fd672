"""The README's two commands are there, and what they run is there too."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize("target", re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(encoding="utf-8"), re.M))
def test_a_command_of_the_readme_is_a_target(target):
    assert re.search(rf"^{target}:", MAKEFILE, re.M)


@pytest.mark.parametrize("module", sorted(set(re.findall(r"-m ([\w.]+)", MAKEFILE))))
def test_a_module_that_make_runs_exists(module):
    assert find_spec(module) is not None
