"""The benchmark of a GPU from end to end, on a stand-in for the card and for the trained generator."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import gpu_all
from benchmarks.gpu_all import FURTHER, USUAL, Bench, Variant, run_all, shipped_archive
from benchmarks.supernet_step import Throughput, compare, noise_images
from devices import DeviceError, Slice
from devices.cuda.backend import CudaBackend
from devices.cuda.mode import CudaMode
from lut.table import LatencyTable
from pnag.accuracy.archive import AccuracyArchive
from pnag.space.search_space import SearchSpace
from pnag.supernet.training import make_fabric
from profiler.measure.plan import block_units
from profiler.measure.session import Sampling
from profiler.measure.stopping import StopSettings
from tests.devices.cuda.gpu_stand_in import CARD, StandInStream
from tests.pnag.tiny import TINY_CONFIG, TINY_SPACE
from tests.tables import made_up_table

SPACE = SearchSpace(
    "small", 0.25, resolution=32, classes=10, depths=(1, 2), kernels=(3, 5), expands=(3, 6),
    unit_channels=(24, 40, 80), unit_strides=(2, 2, 2), unit_activations=("relu", "relu", "hswish"),
    unit_squeeze_excite=(False, True, False),
)  # fmt: skip
QUICK = Sampling(
    block=Slice(min_time_s=0.003, min_runs=3),
    network=Slice(min_time_s=0.003, min_runs=3),
    reference=Slice(min_time_s=0.002, min_runs=3),
    warm_up_s=0.01,
    segment_s=0.2,
    stop=StopSettings(relative_ci=0.02, min_rounds=3, max_rounds=3),
)


def open_stand_in(variant: Variant) -> CudaBackend:
    stream = StandInStream(floor_s=30e-6)  # slow enough that few calls fill a graph: capturing takes real time
    mode = CudaMode(variant.precision, variant.mode, variant.channels_last, variant.cold)
    return CudaBackend(mode, CARD, torch.device("cpu"), stream, None, compiler=lambda m: m, clock=stream.clock)


def bench(out: Path, seconds: float = 600.0) -> Bench:
    return Bench(SPACE, open_stand_in, out, time.monotonic() + seconds, calibrate=12, holdout=6, sampling=QUICK)


def again(variant: Variant, path: Path) -> None:
    """In place of another process, which would look for a card."""
    other = bench(path.parent)
    other.table(variant, block_units(SPACE.blocks()), path, until_s=time.monotonic() + 600)


def command(module: str, arguments: Sequence[str]) -> Mapping[str, Any]:
    """The real commands, with a method that learns in no time."""
    quick = ["--method", "random"] if module == "pnag.cli_train" else []
    return gpu_all.run_command(module, [*arguments, *quick])


def steps(space: SearchSpace) -> Throughput:
    """The real steps, on the CPU."""
    config = replace(TINY_CONFIG, batch=8)
    return compare(space, noise_images(space, 40), config, make_fabric(accelerator="cpu"), seconds=0.2)


def said(text: str, pattern: str) -> float:
    """The number that the report gives there."""
    found = re.search(pattern, text)
    assert found is not None, text
    return float(found[1])


@pytest.mark.slow
def test_everything_is_measured_reported_and_written(tmp_path: Path) -> None:
    out = tmp_path / "tables"
    variants, further = [Variant("bfloat16", 2)], [Variant("float32", 1, cold=True)]
    text = run_all(
        bench(out), variants, further, again=again, command=command, throughput=steps, results=tmp_path
    ).read_text()
    assert sorted(path.name for path in out.iterdir()) == [
        "stand-in-1-bfloat16-b2.parquet",
        "stand-in-1-float32-b1-cold.parquet",
    ]
    assert "failed:" not in text
    assert said(text, r"Two processes \(bfloat16-b2\): median block difference ([\d.]+) %") <= 1.0
    assert "accuracies made up with 0.1 % noise (benchmarks/known_optimum.py), not measured; 20 budgets" in text
    assert said(text, r"(\d+) of 20 kept when measured") >= 19
    assert said(text, r"four networks: ([\d,.]+) images/s") > 0
    assert said(text, r"([\d.]+) times as many. Goal: 1.5 times") > 0
    table = LatencyTable.load(out / "stand-in-1-bfloat16-b2.parquet")
    assert table.metadata.runtime["precision"] == "bfloat16"
    assert table.metadata.device["options"] == {"mode": "graph", "channels_last": False, "cold": False}
    assert table.metadata.batch == 2
    fidelity = table.metadata.fidelity
    assert fidelity is not None
    assert fidelity.mape <= 0.02
    assert fidelity.within_5 == 1
    assert not any(entry.failed for entry in table.entries)


def test_what_fails_is_a_line_and_the_rest_goes_on(tmp_path: Path) -> None:
    def opener(variant: Variant) -> CudaBackend:
        if variant.precision == "tf32":
            raise DeviceError("tf32 needs another card; take float32")
        return open_stand_in(variant)

    def fails(*_: object) -> Any:
        raise RuntimeError("CUDA error: out of luck\nand a second line")

    run = bench(tmp_path / "tables", seconds=590.0)
    run.opener, run.calibrate, run.holdout = opener, 0, 0
    variants = [Variant("float32", 1), Variant("tf32", 1)]
    text = run_all(run, variants, [], again=fails, command=fails, throughput=fails, results=tmp_path).read_text()
    assert "tf32-b1 failed: DeviceError: tf32 needs another card; take float32" in text
    for what in ("The second process", "The generator", "The supernet's training step"):
        assert f"{what} failed: RuntimeError: CUDA error: out of luck\n" in text
    assert (tmp_path / "tables" / "stand-in-1-float32-b1.parquet").is_file()


def test_a_part_that_ends_the_process_leaves_the_report_of_those_before(tmp_path: Path) -> None:
    def killed(*_: object) -> Any:
        raise KeyboardInterrupt

    run = bench(tmp_path / "tables", seconds=590.0)
    run.calibrate, run.holdout = 0, 0
    with pytest.raises(KeyboardInterrupt):
        run_all(run, [Variant("float32", 1)], [], again=killed, command=killed, throughput=killed, results=tmp_path)
    assert "| float32-b1 |" in (tmp_path / "gpu.md").read_text()


def test_tables_share_the_time_and_further_ones_are_left_out_when_it_is_up(tmp_path: Path) -> None:
    run = bench(tmp_path / "tables", seconds=0.0)
    run.calibrate = run.holdout = 0
    text = run_all(
        run, [Variant("float32", 1)], FURTHER, again=again, command=command, throughput=steps, results=tmp_path
    ).read_text()
    assert "the time was up before every latency was known well enough" in text
    assert text.count("no time was left") == len(FURTHER)


def test_the_command_does_it_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_all, "load_space", lambda: SPACE)
    monkeypatch.setattr(gpu_all, "open_card", open_stand_in)
    monkeypatch.setattr(gpu_all, "measure_again", again)
    monkeypatch.setattr(gpu_all, "run_command", command)
    monkeypatch.setattr(gpu_all, "training_steps", steps)
    monkeypatch.setattr(gpu_all, "SAMPLING", QUICK)
    words = f"--out {tmp_path / 'tables'} --results {tmp_path} --variants float16-b1 --further"
    monkeypatch.setattr(sys, "argv", ["gpu_all", *words.split()])
    gpu_all.main()
    text = (tmp_path / "gpu.md").read_text()
    assert "NVIDIA Stand-in 1" in text
    assert "float16-b1" in text
    assert [path.name for path in (tmp_path / "tables").iterdir()] == ["stand-in-1-float16-b1.parquet"]


def test_blocks_alone_are_measured_to_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_all, "load_space", lambda: SPACE)
    monkeypatch.setattr(gpu_all, "open_card", open_stand_in)
    words = f"--blocks-of float32-b2 --minutes 0.05 --out {tmp_path / 'again.parquet'}"
    monkeypatch.setattr(sys, "argv", ["gpu_all", *words.split()])
    gpu_all.main()
    table = LatencyTable.load(tmp_path / "again.parquet")
    assert len(table.blocks) == len(SPACE.blocks())
    assert table.metadata.batch == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card here")
def test_without_a_card_there_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu_all", "--out", str(tmp_path), "--results", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        gpu_all.main()
    assert ended.value.code == 3
    assert capsys.readouterr().err.startswith("gpu_all: ")
    assert list(tmp_path.iterdir()) == []


def test_the_largest_archive_of_the_space_that_is_shipped_is_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    made_up_table(TINY_SPACE, calibration=2, holdout=2).save(tmp_path / "a-table.parquet")
    assert shipped_archive(SPACE, [tmp_path, tmp_path / "nowhere"]) is None
    for name, space, n in (("small", SPACE, 5), ("large", SPACE, 9), ("other", TINY_SPACE, 20)):
        tokens = np.unique(space.sample(n, rng), axis=0)
        AccuracyArchive(space, tokens, np.full(len(tokens), 0.5)).save(tmp_path / f"{name}.parquet")
    assert shipped_archive(SPACE, [tmp_path]) == tmp_path / "large.parquet"


@pytest.mark.parametrize("variant", [*USUAL, *FURTHER, Variant("bfloat16", 256, "compile", True, True)])
def test_a_variant_reads_its_own_name(variant: Variant) -> None:
    assert Variant.parse(variant.name) == variant


@pytest.mark.parametrize("text", ["float32", "float32-b0", "float32-b1-fast", "b1-float32", "float32-b1-cold-nhwc"])
def test_another_text_is_no_variant(text: str) -> None:
    with pytest.raises(ValueError, match="is no variant; write for instance"):
        Variant.parse(text)
