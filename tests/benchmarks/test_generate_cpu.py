"""The benchmark of answers from end to end: a small space, a device that computes its times."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import generate_cpu
from lut.table import LatencyTable
from pnag.accuracy.archive import AccuracyArchive
from pnag.space.spaces import load_space


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a device and its table, in which the benchmark runs."""
    (tmp_path / "fake.toml").write_text('name = "fake"\ntitle = "fake device"\nbackend = "fake"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    profile = "--device fake.toml --space ofa-mbv3-w0.25 --resolution 32 --classes 10 --out table.parquet"
    generate_cpu.timed("profiler.cli", [*profile.split(), "--calibrate", "10", "--holdout", "10"])
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["generate_cpu", *words.split()])
    generate_cpu.main()


def test_a_run_is_trained_asked_and_measured(call: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = "--architectures 60 --method random --repeats 2 --budgets 30 --measure 4"
    run(monkeypatch, f"--lut table.parquet {sizes} --device fake.toml --folder .")
    text = (call / "generate_cpu.md").read_text()
    assert "made up with 0.1 % noise" in text
    content = json.loads((call / "generate_cpu.json").read_text())
    figures = {row["what"]: row for row in content["figures"]}
    training = figures["pnag-train, evaluator and generator on 60 architectures"]
    assert training["met"] == (float(training["measured"].removesuffix(" s")) <= 120)
    assert figures["of them kept as predicted, margin included"] == {
        "what": "of them kept as predicted, margin included", "measured": "30 of 30", "goal": "all", "met": True,
    }  # fmt: skip
    limit, budget = (
        float(figures[f"used of the {what}, mean"]["measured"].removesuffix(" %"))
        for what in ("limit (the budget less the margin)", "budget itself")
    )
    assert 50 < budget < limit <= 100
    assert len(content["cold_s"]) == 2
    kept = sum(network["measured_ms"] <= network["budget_ms"] for network in content["networks"])
    assert kept >= 3
    assert figures["networks within budget when measured, confidence 0.95"]["measured"] == f"{kept} of 4"
    assert float(figures["predicted against measured, MAPE"]["measured"].removesuffix(" %")) < 1


def test_accuracies_of_an_archive_are_cut_to_the_number_asked_for(call: Path) -> None:
    table = LatencyTable.load(call / "table.parquet")
    generate_cpu.write_accuracies(table, None, 50, call / "all.parquet")
    said = generate_cpu.write_accuracies(table, call / "all.parquet", 20, call / "some.parquet")
    assert said == "20 of the 50 of all.parquet"
    space = load_space("ofa-mbv3-w0.25")
    every, some = (AccuracyArchive.load(call / name, space) for name in ("all.parquet", "some.parquet"))
    known = dict(zip(map(str, every.architectures), every.accuracy.tolist(), strict=True))
    assert all(known[str(a)] == value for a, value in zip(some.architectures, some.accuracy.tolist(), strict=True))


@pytest.mark.parametrize("words", ["", "--from x --archive a.csv"])
def test_nothing_to_measure_is_said(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, words)
