"""What the package says of itself is complete: rooms, dependencies, tested versions."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from fnmatch import fnmatch
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
OURS = ("devices", "lut", "profiler", "pnag")
OWNERS = packages_distributions()
OPTIONAL = {"pynvml", "tflite_runtime", "usb1", "torch_tensorrt", "tensorrt", "pytest"}


def distribution(requirement: str) -> str:
    return re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def imported() -> set[str]:
    """Top-level names that our modules import."""
    names: set[str] = set()
    for path in (path for package in OURS for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names) - set(OURS) - OPTIONAL


def test_every_folder_with_modules_is_a_package_of_the_wheel():
    folders = {path.parent.relative_to(ROOT) for package in OURS for path in (ROOT / package).rglob("*.py")}
    assert sorted(".".join(folder.parts) for folder in folders) == sorted(PROJECT["tool"]["setuptools"]["packages"])


def test_no_folder_of_tests_is_passed_over(pytestconfig: pytest.Config):
    folders = {part for path in (ROOT / "tests").rglob("test_*.py") for part in path.relative_to(ROOT).parts[:-1]}
    passed_over = pytestconfig.getini("norecursedirs")
    assert not [name for name in sorted(folders) for pattern in passed_over if fnmatch(name, pattern)]


@pytest.mark.parametrize("name", sorted(imported()))
def test_what_is_imported_is_declared(name):
    declared = {distribution(requirement) for requirement in PROJECT["project"]["dependencies"]}
    found = {owner.lower().replace("_", "-") for owner in OWNERS.get(name, [name])}
    assert found & declared, f"{name} is imported and comes with {', '.join(found)}, which pyproject.toml does not name"


def test_a_tested_version_is_written_down_for_every_dependency():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    tested = {distribution(line) for line in lines if line and not line.startswith("#")}
    declared = {distribution(requirement) for requirement in PROJECT["project"]["dependencies"]}
    assert declared <= tested, f"constraints.txt lacks {', '.join(sorted(declared - tested))}"


OF_OTHERS = {"onnxruntime-gpu"}  # takes the place of a dependency
ADVICE = re.compile(r"pip install (?:-\S+ )*'?([A-Za-z][\w-]*)")


def test_advice_names_only_packages_that_are_depended_on():
    """Not this project's own name either: on the index it may belong to somebody else."""
    extras = PROJECT["project"]["optional-dependencies"]
    needed = [*PROJECT["project"]["dependencies"], *(name for names in extras.values() for name in names)]
    known = {distribution(requirement) for requirement in needed} | OF_OTHERS
    places = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(p for o in OURS for p in (ROOT / o).rglob("*.py"))]
    named = {name for path in places for name in ADVICE.findall(path.read_text(encoding="utf-8"))}
    assert "adb-shell" in named
    assert {name.lower() for name in named} <= known
