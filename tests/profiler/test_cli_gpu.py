"""What `pnag-profile` passes to a GPU's back-end, and what the others answer to such options."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch

from devices.cuda import backend as cuda
from devices.errors import RuntimeUnavailableError
from profiler.cli import app
from profiler.console import run_app


@pytest.fixture
def profile(monkeypatch, capsys, tmp_path):
    """Runs the command in a folder of its own; gives exit status and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["pnag-profile", *arguments])
        with pytest.raises(SystemExit) as caught:
            run_app(app, "pnag-profile")
        return caught.value.code, capsys.readouterr().err

    return run


def test_precision_batch_mode_layout_and_cache_reach_the_back_end(profile, monkeypatch):
    seen: dict[str, Any] = {}
    real = cuda.CudaMode.from_options

    def from_options(precision, *layers):
        seen["mode"] = real(precision, *layers)
        raise RuntimeUnavailableError("seen enough; stop")

    monkeypatch.setattr(cuda.CudaMode, "from_options", from_options)
    options = ("--precision", "bfloat16", "--mode", "eager", "--channels-last", "--cold", "--gpu", "1", "--batch", "64")
    assert profile("--device", "cuda", *options) == (3, "pnag-profile: seen enough; stop\n")
    assert seen["mode"] == cuda.CudaMode("bfloat16", "eager", channels_last=True, cold=True, gpu=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--device", "cuda", "--precision", "int8"),
            "precision 'int8' is unknown to a GPU; choose from float32, tf32",
        ),
        (("--device", "titan_x", "--mode", "fast"), "mode 'fast' is unknown to a GPU; choose from eager, graph"),
        (("--device", "cpu", "--cold"), "device cpu takes no --cold"),
        (("--device", "cpu", "--channels-last"), "device cpu takes no --channels-last"),
        (("--device", "cpu", "--mode", "graph"), "device cpu takes no --mode"),
        (("--device", "cpu", "--precision", "tf32"), "device cpu measures float32, not tf32"),
        (("--device", "cuda", "--delegate", "gpu"), "device cuda takes no --delegate"),
        (("--device", "cuda_trt", "--precision", "float32"), "provider tensorrt computes in tf32 or float16"),
    ],
)
def test_an_option_that_a_device_does_not_have_is_refused(profile, arguments, message):
    status, err = profile(*arguments)
    assert status == 2
    assert message in err
    assert len(err.splitlines()) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_there_is_one_line_and_nothing_is_written(profile, tmp_path):
    status, err = profile("--device", "titan_x")
    assert status == 3
    assert len(err.splitlines()) == 1
    assert "no NVIDIA" in err or "without CUDA" in err
    assert list(tmp_path.rglob("*.parquet")) == []
