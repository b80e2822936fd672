"""Does an exported file compute what the torch module computes? Run it on this machine and compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from devices.host.litert_runtime import open_interpreter
from profiler.build.quiet import cause_of, quiet
from profiler.errors import ExportError

if TYPE_CHECKING:
    from torch import Tensor, nn

Array = NDArray[np.float32]
Precision = Literal["float32", "dynamic-int8", "int8"]

_JUDGED_IMAGES = 16
_EIGHT_BITS: tuple[Precision, ...] = ("dynamic-int8", "int8")


def bits_of_file(precision: str) -> Precision:
    """What a file is in for a runtime that computes in `precision`: 8 bits are the file's, all else the runtime's."""
    return next((known for known in _EIGHT_BITS if known == precision), "float32")


# The largest relative difference that an export may have. A float32 file does the same sums in another order
# (1e-6 is usual). With 8 bits the difference is the quantisation's own: these limits catch a broken file, not
# an inaccurate one, for the largest difference is that of the worst value among all (clipped peaks).
PARITY_LIMITS: Mapping[Precision, float] = {"float32": 1e-4, "dynamic-int8": 0.1, "int8": 0.5}


def relative_difference(found: Array, expected: Array) -> float:
    """max |found − expected| / max |expected| of two arrays of one shape; infinite where a value is NaN.

    Raises `ExportError` if the shapes differ.
    """
    if found.shape != expected.shape:
        raise ExportError(f"the file gives shape {found.shape} where torch gives {expected.shape}; export it again")
    difference = float(np.abs(found - expected).max(initial=0.0))
    scale = float(np.abs(expected).max(initial=0.0))
    if not np.isfinite(difference):
        return float("inf")
    return difference / scale if scale else (float("inf") if difference else 0.0)


def open_file(path: Path) -> Callable[[Array], Array]:
    """Load a `.tflite`, `.onnx` or `.pt2` file; the callable maps images (B, C, H, W) to its outputs.

    Both are in torch's layout: files with channels last take and give them so, and 8-bit ends are quantised
    and dequantised here. Raises `ExportError` for another suffix, and whatever the runtime raises for a file
    that it refuses.
    """
    opener = _OPENERS.get(path.suffix)
    if opener is None:
        raise ExportError(f"no runtime for '{path.name}'; files that can be run end in {', '.join(_OPENERS)}")
    run = opener(path)
    return lambda images: run(np.ascontiguousarray(images, dtype=np.float32))


def run_file(path: Path, images: Array) -> Array:
    """What a file gives for `images` of shape (B, C, H, W), once; see `open_file`."""
    return open_file(path)(images)


def parity(
    module: nn.Module,
    path: Path,
    input_shape: Sequence[int],
    *,
    images: Tensor | None = None,
    seed: int = 0,
    debug: bool = False,
) -> float:
    """Relative difference between the file and `module` (eval mode) on inputs of shape (B, C, H, W).

    The inputs are normal ones. A file whose ranges are of `images` (n, C, H, W) is judged on the first 16 of these,
    by root mean squares in the place of maxima: its peaks are clipped by design.

    Raises `ExportError` if the file cannot be run or gives another shape.
    """
    import torch

    batch = input_shape[0]
    if images is not None and len(images) >= batch:
        parts = [
            part.numpy() for part in torch.split(images[: max(batch, _JUDGED_IMAGES)], batch) if len(part) == batch
        ]
    else:
        parts = [np.random.default_rng(seed).standard_normal(tuple(input_shape), dtype=np.float32)]
    with torch.no_grad():
        expected = np.concatenate([module(torch.from_numpy(part)).numpy() for part in parts])
    with quiet(debug=debug) as said:
        try:
            run = open_file(path)
            found = np.concatenate([run(part) for part in parts])
        except ExportError:
            raise
        except Exception as error:  # every runtime has errors of its own, without a common base
            raise ExportError(
                f"the {path.suffix} file was written but cannot be run: {cause_of(error, said())}"
            ) from error
    return relative_difference(found, expected) if images is None else relative_rms(found, expected)


def relative_rms(found: Array, expected: Array) -> float:
    """Root mean square of found − expected over that of expected; infinite where a value is NaN or all are 0.

    Raises `ExportError` if the shapes differ.
    """
    if found.shape != expected.shape:
        raise ExportError(f"the file gives shape {found.shape} where torch gives {expected.shape}; export it again")
    error, scale = (float(np.sqrt(np.square(values).mean())) for values in (found - expected, expected))
    return error / scale if scale and np.isfinite(error) else float("inf")


def check_parity(
    module: nn.Module,
    path: Path,
    input_shape: Sequence[int],
    precision: Precision = "float32",
    *,
    images: Tensor | None = None,
    debug: bool = False,
) -> float:
    """The relative difference, or `ExportError` if it is beyond `PARITY_LIMITS[precision]`."""
    difference = parity(module, path, input_shape, images=images, debug=debug)
    limit = PARITY_LIMITS[precision]
    if not difference <= limit:
        raise ExportError(
            f"the {path.suffix} file differs from torch by {difference:.2g} (relative, {precision}; "
            f"the limit is {limit:g}); it is not to be used, try another format or precision"
        )
    return difference


def _open_tflite(path: Path) -> Callable[[Array], Array]:
    interpreter = open_interpreter(path)
    entry, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def run(images: Array) -> Array:
        interpreter.set_tensor(entry["index"], _quantised(images.transpose(0, 2, 3, 1), entry))
        interpreter.invoke()
        values = _dequantised(interpreter.get_tensor(result["index"]), result)
        return values.transpose(0, 3, 1, 2) if values.ndim == 4 else values

    return run


def _quantised(values: Array, tensor: Mapping[str, Any]) -> NDArray[Any]:
    dtype = np.dtype(tensor["dtype"])
    if dtype.kind == "f":
        return np.ascontiguousarray(values, dtype)
    scale, zero = tensor["quantization"]
    limits = np.iinfo(dtype)
    quantised: NDArray[Any] = np.clip(np.round(values / scale) + zero, limits.min, limits.max).astype(dtype)
    return quantised


def _dequantised(values: NDArray[Any], tensor: Mapping[str, Any]) -> Array:
    scale, zero = (1.0, 0) if values.dtype.kind == "f" else tensor["quantization"]
    plain: Array = (values.astype(np.float32) - zero) * np.float32(scale)
    return plain


def _open_onnx(path: Path) -> Callable[[Array], Array]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(images: Array) -> Array:
        found: Array = session.run(None, {name: images})[0]
        return found

    return run


def _open_pt2(path: Path) -> Callable[[Array], Array]:
    import torch

    module = torch.export.load(path).module()

    def run(images: Array) -> Array:
        with torch.no_grad():
            found: Array = module(torch.from_numpy(images)).numpy()
        return found

    return run


_OPENERS: Mapping[str, Callable[[Path], Callable[[Array], Array]]] = {
    ".tflite": _open_tflite,
    ".onnx": _open_onnx,
    ".pt2": _open_pt2,
}
