"""Any torch module as a `.tflite` file by litert-torch, and float files in 8 bits by the AI Edge Quantizer."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from devices.folding import fold_batch_norm
from profiler.build.parity import Precision
from profiler.build.quiet import cause_of, quiet
from profiler.build.tflite.file import pack, unpack
from profiler.errors import ExportError

_SIGNATURE, _INPUT = "serving_default", "args_0"  # what litert-torch calls the model's entry and its input
_CALIBRATION_IMAGES = 16
_CONVERTERS = ("litert-torch", "litert-converter", "ai-edge-quantizer", "torch")


def converter_versions() -> dict[str, str]:
    """The versions that a converted file depends on, by distribution."""
    return {name: version(name) for name in _CONVERTERS}


def convert(
    module: nn.Module,
    input_shape: Sequence[int],
    precision: Precision = "float32",
    *,
    calibration: Tensor | None = None,
    debug: bool = False,
) -> bytes:
    """The file of `module` (eval mode) for inputs of `input_shape` (B, C, H, W), channels last at both ends.

    `calibration` (n, C, H, W) as for `quantise`. Takes seconds, more for more operators. Raises `ExportError`.
    """
    example = torch.zeros(tuple(input_shape))
    with quiet(debug=debug) as said, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "float32.tflite"
        try:
            _convert_float(module, example, path)
        except Exception as error:  # the converter's stages have errors of their own, without a common base
            raise ExportError(f"litert-torch cannot convert the module: {cause_of(error, said())}") from error
        content = path.read_bytes()
    return quantise(content, input_shape, precision, calibration=calibration, debug=debug)


def _convert_float(module: nn.Module, example: Tensor, path: Path) -> None:
    import litert_torch

    with torch.no_grad():
        image_like = module(example).ndim == 4
    folded = fold_batch_norm(module)  # the converter would do it too, in half as long again
    wrapped = litert_torch.to_channel_last_io(folded, args=[0], outputs=[0] if image_like else [])
    model = litert_torch.convert(wrapped.eval(), (example.permute(0, 2, 3, 1).contiguous(),))
    model.export(str(path))


def quantise(
    content: bytes,
    input_shape: Sequence[int],
    precision: Precision,
    *,
    calibration: Tensor | None = None,
    debug: bool = False,
) -> bytes:
    """A float32 file in `precision`: itself, or in 8 bits as `export_tflite` says. Raises `ExportError`.

    Ranges come from `calibration` (n, C, H, W) or, without it, from normal inputs.
    """
    if precision == "float32":
        return content
    if calibration is None:
        generator = torch.Generator().manual_seed(0)
        calibration = torch.randn(_CALIBRATION_IMAGES, *input_shape[1:], generator=generator)
    with quiet(debug=debug) as said, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "float32.tflite"
        path.write_bytes(content)
        try:
            return _quantise(path, precision, calibration, input_shape[0])
        except Exception as error:  # as above
            raise ExportError(f"the file cannot be quantised to {precision}: {cause_of(error, said())}") from error


def _quantise(float_path: Path, precision: Precision, calibration: Tensor, batch: int) -> bytes:
    from ai_edge_quantizer import qtyping, quantizer, recipe, recipe_manager

    operation, whole_tensor = qtyping.TFLOperationName, qtyping.QuantGranularity.TENSORWISE
    chosen = recipe.static_wi8_ai8()
    if precision == "dynamic-int8":
        dynamic = recipe_manager.RecipeManager()
        dynamic.add_dynamic_config(".*", operation.ALL_SUPPORTED, num_bits=8)
        # Runtimes up to 2.14 at least take the first channel's scale for all of a fully connected layer's.
        dynamic.add_dynamic_config(".*", operation.FULLY_CONNECTED, num_bits=8, granularity=whole_tensor)
        chosen = dynamic.get_quantization_recipe()
    work = quantizer.Quantizer(str(float_path), chosen)
    ranges: Any = None
    if precision == "int8":
        images = calibration.permute(0, 2, 3, 1).numpy().astype(np.float32)  # (n, H, W, C)
        batches = np.resize(images, (-(-len(images) // batch), batch, *images.shape[1:]))  # the last one filled up
        ranges = work.calibrate({_SIGNATURE: [{_INPUT: one} for one in batches]})
    return pack(unpack(bytes(work.quantize(ranges).quantized_model)))
