"""The guides' worked examples: what they print is what lies in `examples/`, and it runs from outside the repository."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from devices import load_spec, open_backend
from devices.errors import RuntimeUnavailableError, UnknownDeviceError
from lut.table import LatencyTable
from pnag.space.spaces import load_space
from tests.pnag.commands import MAIN, runner

ROOT = Path(__file__).parents[2]
DEVICE = ROOT / "examples" / "add_a_device"
SPACE = ROOT / "examples" / "add_a_space" / "half.toml"
SMALL = "--space ofa-mbv3-w0.25 --resolution 32 --classes 10 --calibrate 4 --holdout 3 --stop rounds,min_rounds=2"


def run(folder: Path, *command: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    places = [str(place) for place in (path, ROOT) if place]
    counted = {name for name in os.environ if name.startswith("SLIPCOVER_")}  # lines of this repository, not theirs
    environment = {name: value for name, value in os.environ.items() if name not in counted}
    environment["PYTHONPATH"] = os.pathsep.join(places)
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("page", "file"),
    [
        ("add_a_device.md", DEVICE / "torch_cpu_device.py"),
        ("add_a_device.md", DEVICE / "torch_cpu.toml"),
        ("add_a_device.md", DEVICE / "test_torch_cpu_device.py"),
        ("add_a_space.md", SPACE),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_guide_prints_the_file_that_is_tested(page: str, file: Path):
    blocks = re.findall(r"^```\w*\n(.*?)^```$", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.M | re.S)
    assert file.read_text(encoding="utf-8") in blocks


@pytest.mark.slow
def test_a_device_in_a_package_of_its_own_passes_the_contract_and_is_profiled(tmp_path: Path):
    package = tmp_path / "elsewhere"
    shutil.copytree(DEVICE, package, ignore=shutil.ignore_patterns("__pycache__"))
    contract = run(package, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_torch_cpu_device.py", path=package)
    assert contract.returncode == 0, contract.stdout
    words = f"--device elsewhere/torch_cpu.toml {SMALL} --out t.parquet --json"
    profiled = run(tmp_path, "-m", "profiler.cli", *words.split(), path=package)
    assert profiled.returncode == 0, profiled.stderr
    table = LatencyTable.load(tmp_path / "t.parquet")
    assert json.loads(profiled.stdout)["table"] == "t.parquet"
    assert len(table.blocks) == 93
    assert not [entry.reason for entry in table.blocks.values() if entry.failed]
    assert table.metadata.runtime["name"] == "torch"
    assert table.metadata.device["model"]


def test_a_registered_back_end_is_found_by_its_short_name(tmp_path: Path):
    shutil.copy(DEVICE / "torch_cpu_device.py", tmp_path)
    entry = re.search(r"^torch-cpu = .*$", (DEVICE / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    assert entry is not None
    info = tmp_path / "pnag_torch_cpu-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pnag-torch-cpu\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(f"[pnag.backends]\n{entry[0].replace(chr(34), '')}\n")
    (tmp_path / "short.toml").write_text('name = "short"\ntitle = "by its short name"\nbackend = "torch-cpu"\n')
    script = "from devices import *; print(open_backend(load_spec('short.toml')).runtime()['name'])"
    done = run(tmp_path, "-c", script, path=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "torch"), done.stderr


@pytest.mark.parametrize(
    ("backend", "kind", "said"),
    [
        ("nowhere.at_all:open", RuntimeUnavailableError, "cannot be imported"),
        ("json:open_nothing", UnknownDeviceError, "is not there"),
        ("json:__name__", UnknownDeviceError, "is no function"),
        ("unheard-of", UnknownDeviceError, "known are .*litert.*or name a function"),
    ],
)
def test_a_back_end_that_is_not_there_is_named(tmp_path: Path, backend: str, kind: type[Exception], said: str):
    path = tmp_path / "d.toml"
    path.write_text(f'name = "d"\ntitle = "a device"\nbackend = "{backend}"\n')
    with pytest.raises(kind, match=said):
        open_backend(load_spec(str(path)))


def test_a_space_of_ones_own_is_profiled_trained_generated_and_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def command(name: str, words: str) -> dict[str, Any]:
        ended = runner(MAIN[name], capsys, monkeypatch)(*words.split(), "--json")
        assert ended.code == 0, ended.err
        return ended.document

    monkeypatch.chdir(tmp_path)
    shutil.copy(SPACE, tmp_path)
    (tmp_path / "fake.toml").write_text('name = "fake"\ntitle = "fake device"\nbackend = "fake"\n')
    profile = "--device fake.toml --space half.toml --calibrate 10 --holdout 6 --out half.parquet"
    assert command("pnag-profile", profile)["blocks"] == len(load_space(str(SPACE)).blocks())
    train = "--lut half.parquet --data digits --resolution 32 --epochs 0.1 --architectures 20 --method random --out run"
    command("pnag-train", train)
    table = LatencyTable.load(tmp_path / "half.parquet")
    costs = load_space(str(SPACE)).cost_model(table)
    budget_ms = sum(costs.range_ms) / 2
    generate = f"{budget_ms}ms --from run --export model.onnx"
    (network,) = command("pnag-generate", generate)["networks"]
    assert network["cost_ms"] <= budget_ms
    assert (tmp_path / "model.onnx").stat().st_size > 10_000


def test_the_example_in_python_answers_three_budgets(tmp_path: Path):
    done = run(tmp_path, str(ROOT / "examples" / "budgets.py"), str(ROOT / "lut" / "tables" / "cpu_epyc.parquet"))
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^ *([\d.]+) ms: +([\d.]+) ms predicted, ([\d,:]+)$", done.stdout, re.M)
    assert len(rows) == 3
    assert all(float(cost) <= float(budget) for budget, cost, _ in rows)
