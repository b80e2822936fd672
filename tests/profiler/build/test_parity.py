from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from profiler.build.export_onnx import write_onnx
from profiler.build.parity import check_parity, parity, relative_difference, run_file
from profiler.errors import ExportError

SHAPE = (2, 3, 8, 8)


@pytest.fixture(scope="module")
def conv() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Hardswish()).eval()


@pytest.fixture(scope="module")
def onnx_file(conv: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("parity") / "conv.onnx"
    write_onnx(conv, SHAPE, path)
    return path


def test_difference_is_relative_to_the_largest_expected_value() -> None:
    found, expected = np.float32([1.0, -3.9]), np.float32([1.2, -4.0])
    assert relative_difference(found, expected) == pytest.approx(0.2 / 4.0)


@pytest.mark.parametrize(("found", "expected"), [([np.nan], [1.0]), ([np.inf], [1.0]), ([1e-9], [0.0])])
def test_values_without_a_scale_differ_infinitely(found: list[float], expected: list[float]) -> None:
    assert relative_difference(np.float32(found), np.float32(expected)) == float("inf")


def test_zeros_equal_zeros() -> None:
    assert relative_difference(np.zeros(3, np.float32), np.zeros(3, np.float32)) == 0.0


def test_another_shape_is_an_error_that_names_both() -> None:
    with pytest.raises(ExportError, match=r"\(2, 3\) where torch gives \(3, 2\)"):
        relative_difference(np.zeros((2, 3), np.float32), np.zeros((3, 2), np.float32))


def test_an_onnx_file_agrees_with_its_module(conv: nn.Module, onnx_file: Path) -> None:
    assert parity(conv, onnx_file, SHAPE) < 1e-5


def test_a_pt2_file_agrees_with_its_module(conv: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "conv.pt2"
    torch.export.save(torch.export.export(conv, (torch.zeros(SHAPE),)), path)
    assert parity(conv, path, SHAPE) < 1e-6


def test_a_file_that_computes_something_else_is_refused_with_the_difference(onnx_file: Path) -> None:
    other = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Hardswish()).eval()
    with pytest.raises(ExportError, match=r"\.onnx file differs from torch by .* limit is 0\.0001"):
        check_parity(other, onnx_file, SHAPE)


@pytest.mark.parametrize("suffix", [".tflite", ".onnx", ".pt2"])
def test_a_damaged_file_is_one_line(
    conv: nn.Module, tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(b"not a network" * 10)
    with pytest.raises(ExportError, match="cannot be run") as caught:
        parity(conv, path, SHAPE)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().out == ""


def test_a_suffix_without_a_runtime_is_refused() -> None:
    with pytest.raises(ExportError, match=r"no runtime for 'a.bin'; files that can be run end in \.tflite, "):
        run_file(Path("a.bin"), np.zeros(SHAPE, np.float32))
