"""The benchmark of a GPU from end to end, on a stand-in for the card and for the trained generator."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.gpu_all import FURTHER, USUAL, Bench, Variant, run_all
from devices import DeviceError, Slice
from devices.cuda import CudaBackend
from devices.cuda_mode import CudaMode
from lut.table import LatencyTable
from pnag.space import SearchSpace
from profiler.plan import block_units
from profiler.session import Sampling
from profiler.stopping import StopSettings
from tests.devices.gpu_stand_in import CARD, StandInStream

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


def generator(name: str, arguments: Sequence[str]) -> Mapping[str, Any]:
    """Stands in for training and generating: for each budget the dearest of many networks that keeps it."""
    if name == "pnag.cli_train":
        generator.table = Path(arguments[1])  # type: ignore[attr-defined]
        return {}
    costs = SPACE.cost_model(LatencyTable.load(generator.table))  # type: ignore[attr-defined]
    tokens = SPACE.sample(2000, np.random.default_rng(0))
    cost = costs(tokens)
    budgets = [float(text) for text in arguments[: arguments.index("--from")]]
    best = [np.where(cost <= 0.96 * budget, cost, -1.0).argmax() for budget in budgets]
    architectures = SPACE.decode(tokens[best])
    answers = zip(budgets, architectures, strict=True)
    return {"networks": [{"budget_ms": budget, "architecture": str(arch)} for budget, arch in answers]}


def test_everything_is_measured_reported_and_written(tmp_path: Path) -> None:
    out, results = tmp_path / "tables", tmp_path / "results"
    asked: list[str] = []

    def again(variant: Variant, path: Path) -> None:
        asked.append(variant.name)
        bench(out).table(variant, block_units(SPACE.blocks()), path, until_s=time.monotonic() + 600)

    run = bench(out)
    variants, further = [Variant("bfloat16", 2)], [Variant("float32", 1, cold=True)]
    text = run_all(run, variants, further, again=again, command=generator, results=results).read_text()
    assert sorted(path.name for path in out.iterdir()) == [
        "stand-in-1-bfloat16-b2.parquet",
        "stand-in-1-float32-b1-cold.parquet",
    ]
    assert asked == ["bfloat16-b2"]
    assert "20 budgets from" in text
    kept = re.search(r"(\d+) of 20 kept when measured", text)
    assert kept is not None
    assert int(kept[1]) >= 19
    difference = re.search(r"median block difference ([\d.]+) %", text)
    assert difference is not None
    assert float(difference[1]) <= 1.0
    assert "failed" not in text.replace("failed blocks", "")
    table = LatencyTable.load(out / "stand-in-1-bfloat16-b2.parquet")
    assert table.metadata.runtime["precision"] == "bfloat16"
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

    def command(name: str, arguments: Sequence[str]) -> Mapping[str, Any]:
        raise OSError("no such archive")

    def again(variant: Variant, path: Path) -> None:
        raise OSError("no such process")

    run = bench(tmp_path / "tables", seconds=590.0)
    run.opener, run.calibrate, run.holdout = opener, 0, 0
    variants = [Variant("float32", 1), Variant("tf32", 1)]
    text = run_all(run, variants, [], again=again, command=command, results=tmp_path).read_text()
    assert "tf32-b1: tf32 needs another card; take float32" in text
    assert "The second process failed: OSError: no such process" in text
    assert "The generator failed: OSError: no such archive" in text


def test_further_variants_are_left_out_when_time_is_up(tmp_path: Path) -> None:
    run = bench(tmp_path / "tables", seconds=0.0)
    run.calibrate = run.holdout = 0
    text = run_all(
        run, [Variant("float32", 1)], FURTHER, again=lambda v, p: None, command=generator, results=tmp_path
    ).read_text()
    assert text.count("no time was left") == len(FURTHER)


@pytest.mark.parametrize("variant", [*USUAL, *FURTHER, Variant("bfloat16", 256, "compile", True, True)])
def test_a_variant_reads_its_own_name(variant: Variant) -> None:
    assert Variant.parse(variant.name) == variant


@pytest.mark.parametrize("text", ["float32", "float32-b0", "float32-b1-fast", "b1-float32", "float32-b1-cold-nhwc"])
def test_another_text_is_no_variant(text: str) -> None:
    with pytest.raises(ValueError, match="is no variant; write for instance"):
        Variant.parse(text)
