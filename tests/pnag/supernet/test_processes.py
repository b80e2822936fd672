"""pnag-train on several processes: one run, written and told once, with the accuracies that one process finds alone."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pnag.accuracy.archive import AccuracyArchive
from pnag.data.load import load_data
from pnag.runs.run import ARCHIVE, Run
from pnag.supernet.evaluation import EvaluationImages, evaluate
from pnag.supernet.supernet import Supernet
from tests.pnag.tiny import TINY_SPACE
from tests.tables import made_up_table

ROOT = Path(__file__).parents[3]
SPACE = replace(TINY_SPACE, classes=10)
TWO = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "pnag.cli_train")


def train(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """`pnag-train` as two processes; evolution asks for accuracies in many small portions."""
    given = ("--lut", folder / "table.parquet", "--out", folder / "run", "--method", "evo", "--json", *words)
    return subprocess.run([*TWO, *map(str, given)], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made_up_table(SPACE).save(tmp_path / "table.parquet")
    return tmp_path


@pytest.mark.slow
def test_two_processes_make_one_run(folder: Path) -> None:
    words = ("--data", "digits", "--epochs", 0.5, "--architectures", 20)
    done = train(folder, *words)
    assert done.returncode == 0, done.stderr[-2000:]
    document = json.loads(done.stdout)
    run = Run.load(folder / "run")
    assert document["run"] == str(folder / "run")
    assert list(run.stages) == ["supernet", "archive", "table", "generator"]

    data = load_data("digits", resolution=32)
    supernet = Supernet.load(folder / "run" / run.stages["supernet"]["path"], SPACE)
    assert supernet.sha256() == run.stages["supernet"]["sha256"]
    archive = AccuracyArchive.load(run.path(ARCHIVE), SPACE)
    assert len(archive) == document["architectures"] > 20
    images = EvaluationImages(data, calibration=archive.source["calibration_images"])
    some = [0, 1, len(archive) - 2, len(archive) - 1]  # of both processes, and of the first and the last question
    alone = [evaluate(supernet, archive.architectures[row], data, images=images) for row in some]
    assert np.allclose(alone, archive.accuracy[some], atol=1e-9)
    assert list(run.directory.rglob("*journal*")) == []

    before = run.path("run.json").read_bytes()
    again = train(folder, *words)
    assert again.returncode == 0, again.stderr[-2000:]
    assert json.loads(again.stdout) == document
    assert run.path("run.json").read_bytes() == before


def test_what_is_wrong_is_told_by_one_process_and_nothing_is_written(folder: Path) -> None:
    done = train(folder, "--data", "imagefolder:nowhere")
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.count("pnag-train: ") == 1
    assert not (folder / "run").exists()
