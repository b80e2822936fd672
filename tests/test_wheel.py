"""Wheel and source distribution: built from the tree, complete, and at work where nothing of the tree is at hand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path, PurePosixPath

import pytest

from tests.tables import TINY, made_up_table
from tests.test_packaging import OURS, PROJECT, ROOT

DATA = ("py.typed", "*.toml", "*.parquet", "*.npz", "*.csv")
MOST_BYTES, MOST_SOURCE_BYTES = 4 << 20, 8 << 20
MADE = {"build", "dist", "demo", "runs", "site"}  # at the root, by the project's commands
BUILD = "import sys; from setuptools import build_meta; build_meta.build_{}(sys.argv[1])"
# One process for all that needs torch, which takes seconds to import.
IMPORT_ALL = """
import importlib, pathlib, runpy, sys
script, place, *names = sys.argv[1:]
places = {pathlib.Path(importlib.import_module(name).__file__) for name in names}
strange = [str(found) for found in places if pathlib.Path(place) not in found.parents]
if strange or len(places) != len(names):
    sys.exit(f"not of the installed copy: {strange}")
sys.argv = [script, "--list-devices"]
runpy.run_path(script, run_name="__main__")
"""


def packaged() -> set[str]:
    """Files of the tree that an installation needs: modules, and the data that they read."""
    patterns = ("*.py", *(f"{'**/' * ('.' in name)}{name}" for name in DATA))
    found = {path for package in OURS for pattern in patterns for path in (ROOT / package).rglob(pattern)}
    return {path.relative_to(ROOT).as_posix() for path in found if "tables" not in path.relative_to(ROOT).parts}


def made(folder: str, names: list[str]) -> set[str]:
    """What is no part of the tree."""
    hidden = {name for name in names if name.startswith(".") or name == "__pycache__" or name.endswith(".egg-info")}
    return hidden | (MADE if Path(folder) == ROOT else set())


def call(*words: object, cwd: Path) -> str:
    """What a program prints, run without our paths in its environment."""
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "SLIPCOVER_", "PNAG_"))
    }
    done = subprocess.run([*map(str, words)], cwd=cwd, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source distribution, made of a copy of the tree, and the wheel that is made of its content alone."""
    place = tmp_path_factory.mktemp("built")
    shutil.copytree(ROOT, place / "tree", ignore=made)
    call(sys.executable, "-c", BUILD.format("sdist"), place / "dist", cwd=place / "tree")
    (sdist,) = (place / "dist").iterdir()
    with tarfile.open(sdist) as archive:
        archive.extractall(place, filter="data")
    call(sys.executable, "-c", BUILD.format("wheel"), place / "wheel", cwd=place / sdist.name.removesuffix(".tar.gz"))
    (wheel,) = (place / "wheel").iterdir()
    return sdist, wheel


@pytest.fixture(scope="module")
def installed(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts' folder of an environment that holds the wheel, and sees what else is installed here."""
    place = tmp_path_factory.mktemp("bare") / "env"
    call(sys.executable, "-m", "venv", "--without-pip", place, cwd=place.parent)
    scripts = place / "bin"
    install = ("install", "--quiet", "--no-deps", "--no-index", "--no-compile", built[1])
    call(sys.executable, "-m", "pip", "--python", scripts / "python", *install, cwd=place.parent)
    # A path in such a file is not searched for others of its kind, so the editable installation stays out of sight.
    (library,) = place.glob("lib/python*/site-packages")
    (library / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    return scripts


def test_the_wheel_holds_every_module_and_all_their_data(built: tuple[Path, Path]):
    names = set(zipfile.ZipFile(built[1]).namelist())
    assert {name for name in names if ".dist-info/" not in name} == packaged()
    about = f"pnag-{PROJECT['project']['version']}.dist-info"
    assert {f"{about}/METADATA", f"{about}/licenses/LICENSE", f"{about}/entry_points.txt"} <= names
    assert {PurePosixPath(name).suffix for name in packaged()} == {".py", ".typed", ".toml", ".parquet", ".npz", ".csv"}
    assert built[1].stat().st_size < MOST_BYTES


def test_the_source_distribution_holds_what_a_developer_needs(built: tuple[Path, Path]):
    with tarfile.open(built[0]) as archive:
        names = {PurePosixPath(*PurePosixPath(name).parts[1:]).as_posix() for name in archive.getnames()}
    folders = ("benchmarks", "docs", "examples", "tests")
    ours = {path.relative_to(ROOT).as_posix() for name in folders for path in (ROOT / name).rglob("*.*")}
    wanted = {name for name in ours if not name.endswith(".pyc") and (ROOT / name).is_file()}
    assert wanted | packaged() <= names
    assert {"LICENSE", "README.md", "CHANGELOG.md", "Makefile", "constraints.txt", "pyproject.toml"} <= names
    assert not [name for name in names if name.endswith(".pyc")]
    assert built[0].stat().st_size < MOST_SOURCE_BYTES


def test_the_wheel_says_what_it_is(built: tuple[Path, Path]):
    with zipfile.ZipFile(built[1]) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        about = Parser().parsestr(archive.read(name).decode())
    assert about["License-Expression"] == PROJECT["project"]["license"]
    assert about["Requires-Python"] == PROJECT["project"]["requires-python"]
    assert about["Description-Content-Type"] == "text/markdown"
    assert "Typing :: Typed" in about.get_all("Classifier", [])
    assert set(about.get_all("Provides-Extra", [])) == set(PROJECT["project"]["optional-dependencies"])


def test_the_installed_commands_work_outside_the_repository(installed: Path, tmp_path: Path):
    made_up_table(TINY).save(tmp_path / "t.parquet")
    version = f"pnag {PROJECT['project']['version']}\n"
    assert call(installed / "pnag-profile", "--version", cwd=tmp_path) == version
    assert "Abacus 3" in call(installed / "pnag-lut", "show", "t.parquet", cwd=tmp_path)
    scripts = {path.name for path in installed.glob("pnag*")}
    assert scripts == set(PROJECT["project"]["scripts"])


def test_every_installed_module_can_be_imported_and_devices_are_listed(installed: Path, tmp_path: Path):
    modules = [name.removesuffix(".py") for name in packaged() if name.endswith(".py")]
    names = sorted(module.removesuffix("/__init__").replace("/", ".") for module in modules)
    script = installed / "pnag-profile"
    assert "cpu_tflite" in call(installed / "python", "-c", IMPORT_ALL, script, installed.parent, *names, cwd=tmp_path)
