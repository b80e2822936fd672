"""A network as a file that can be shipped: written whole, run, compared with torch, with its history inside."""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lut.files import replacing
from lut.version import tool_version
from pnag.delivery.metadata import (
    PT2_ENTRY,
    describe_onnx,
    describe_tflite,
    read_metadata,
    to_text,
)
from pnag.errors import ModelFileError
from profiler.build.export_onnx import write_onnx
from profiler.build.export_tflite import tflite_bytes
from profiler.build.parity import Precision, check_parity
from profiler.build.quiet import cause_of, quiet
from profiler.errors import ExportError

QUANTISED = (".tflite", ".onnx")

__all__ = ["FORMATS", "ExportReport", "check_target", "export_network", "read_metadata"]


@dataclass(frozen=True)
class ExportReport:
    """What was written. `relative_difference` to torch is None for `.json`, which holds no weights."""

    path: Path
    format: str
    precision: Precision
    sha256: str
    relative_difference: float | None
    bytes: int
    metadata: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The report for a command's JSON document; the metadata stays in the file."""
        return {
            "path": str(self.path),
            "format": self.format,
            "precision": self.precision,
            "sha256": self.sha256,
            "relative_difference": self.relative_difference,
            "bytes": self.bytes,
            "weights": self.metadata.get("weights"),
            "accuracy": self.metadata.get("accuracy"),
            "matches_table": self.metadata.get("matches_table"),
            "latency": self.metadata.get("latency"),
        }


@dataclass(frozen=True)
class _Job:
    network: nn.Module
    input_shape: tuple[int, ...]
    labels: Sequence[str] | None
    precision: Precision
    calibration: Tensor | None
    debug: bool


def check_target(path: str | Path, precision: Precision = "float32") -> str:
    """The suffix of `path` without its dot. Raises `ModelFileError` if it names no format, or not one in `precision`.

    For commands that want to say so before long work.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise ModelFileError(f"'{path.name}' names no format; its suffix must be one of {', '.join(FORMATS)}")
    if precision != "float32" and path.suffix not in QUANTISED:
        raise ModelFileError(
            f"precision {precision} is not to be had as {path.suffix}; export to {' or '.join(QUANTISED)}"
        )
    return path.suffix[1:]


def export_network(
    network: nn.Module,
    path: str | Path,
    *,
    input_shape: Sequence[int],
    metadata: Mapping[str, Any],
    precision: Precision = "float32",
    calibration: Tensor | None = None,
    examine: Callable[[Path], Mapping[str, Any]] | None = None,
    debug: bool = False,
) -> ExportReport:
    """Write `network` (eval mode, on the CPU) for inputs of `input_shape` (B, C, H, W) in the suffix's format.

    `.tflite` has channels last at both ends. It and `.onnx` may have 8 bits, with ranges from `calibration`
    (n, C, H, W); `.pt2` (torch.export) and `.json` (everything known, no weights) are float32. `metadata` as
    `pnag.delivery.metadata.describe_network` gives it goes into the file. The file is run and compared with
    torch before it appears at `path`; what was there before stays if anything fails. `examine` is given the finished
    file, but for its description, and what it finds (the file's accuracy) joins the description.

    Raises `ModelFileError` for an unknown suffix, `ExportError` if the network cannot be converted or the
    file differs from torch by more than `profiler.build.parity.PARITY_LIMITS` (1e-4 in float32), `OutputError`.
    """
    path = Path(path)
    format_name = check_target(path, precision)
    if network.training:
        raise ExportError("the network is in training mode, so its batch-norms are not fixed; call eval() first")
    about = {
        **metadata,
        "format": format_name,
        "precision": precision,
        "layout": "NHWC" if format_name == "tflite" else "NCHW",
        "input_shape": list(input_shape),
        "tool": f"pnag {tool_version()}",
    }
    shape = tuple(input_shape)
    job = _Job(network, shape, metadata.get("labels"), precision, calibration, debug)
    _ = to_text(about)  # what JSON does not know is refused before the work
    with replacing(path) as temporary:
        describe = FORMATS[path.suffix](job)
        content = describe(about)
        temporary.write_bytes(content)
        runs = path.suffix != ".json"
        difference = (
            check_parity(network, temporary, shape, precision, images=calibration, debug=debug) if runs else None
        )
        if examine is not None and runs:
            about |= examine(temporary)
            content = describe(about)
            temporary.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return ExportReport(path, format_name, precision, digest, difference, len(content), about)


Describe = Callable[[Mapping[str, Any]], bytes]  # from a description to the whole file with it inside


def _tflite(job: _Job) -> Describe:
    model = tflite_bytes(job.network, job.input_shape, job.precision, calibration=job.calibration, debug=job.debug)
    return lambda about: describe_tflite(model, about, job.labels)


def _onnx(job: _Job) -> Describe:
    with tempfile.TemporaryDirectory() as folder, quiet(debug=job.debug):
        file = Path(folder) / "network.onnx"
        write_onnx(job.network, job.input_shape, file, job.precision, calibration=job.calibration)
        model = file.read_bytes()
    return lambda about: describe_onnx(model, about)


def _pt2(job: _Job) -> Describe:
    with quiet(debug=job.debug) as said:
        try:
            program = torch.export.export(job.network, (torch.zeros(job.input_shape),))
        except Exception as error:  # torch.export has no common base for what it cannot trace
            raise ExportError(f"torch.export cannot trace the network: {cause_of(error, said())}") from error

    def describe(about: Mapping[str, Any]) -> bytes:
        file, text = io.BytesIO(), to_text(about)
        with quiet(debug=job.debug) as said:
            try:
                torch.export.save(program, file, extra_files={PT2_ENTRY: text})
            except Exception as error:  # nor for what it cannot write
                raise ExportError(f"torch.export cannot write the network: {cause_of(error, said())}") from error
        return file.getvalue()

    return describe


def _json(job: _Job) -> Describe:
    return lambda about: f"{to_text(about)}\n".encode()


FORMATS: Mapping[str, Callable[[_Job], Describe]] = {".tflite": _tflite, ".onnx": _onnx, ".pt2": _pt2, ".json": _json}
