"""A torch module as a `.tflite` file, channels last at both ends, in float32 or 8 bits."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from devices.backend import Artefact
from devices.folding import fold_batch_norm
from lut.blocks import BlockSpec
from lut.files import replacing
from profiler.build.artefacts import ArtefactCache, input_shape
from profiler.build.modules import build_block, build_network, randomise
from profiler.build.parity import Precision, check_parity
from profiler.build.quiet import cause_of, quiet
from profiler.build.tflite_file import pack, unpack
from profiler.errors import ExportError

_SIGNATURE, _INPUT = "serving_default", "args_0"  # what litert-torch calls the model's entry and its input
_CALIBRATION_IMAGES = 16
_FILE_PRECISIONS: Mapping[str, Precision] = {
    "float32": "float32",
    "float16": "float32",
    "dynamic-int8": "dynamic-int8",
    "int8": "int8",
}
_VERSION = 2  # raise it when the same blocks are written as another file
_CONVERTERS = ("litert-torch", "litert-converter", "ai-edge-quantizer", "torch")


def export_tflite(
    module: nn.Module,
    input_shape: Sequence[int],
    path: Path,
    precision: Precision = "float32",
    *,
    calibration: Tensor | None = None,
    debug: bool = False,
) -> float:
    """Write `module` (eval mode) for inputs of `input_shape` (B, C, H, W); return its parity with torch.

    `dynamic-int8` has 8-bit weights and quantises activations as it runs; `int8` is 8 bits throughout, ends
    included, with ranges from `calibration` (n, C, H, W), or from normal inputs without it. The file is
    written, run and compared before it appears at `path`. Raises `ExportError` if the converter refuses the
    module or the file's outputs differ by more than `profiler.build.parity.PARITY_LIMITS`; `OutputError`.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(convert(module, input_shape, precision, calibration=calibration, debug=debug))
        return check_parity(module, temporary, input_shape, precision, debug=debug)


def convert(
    module: nn.Module,
    input_shape: Sequence[int],
    precision: Precision = "float32",
    *,
    calibration: Tensor | None = None,
    debug: bool = False,
) -> bytes:
    """The file's bytes, not yet compared with torch; arguments and errors as for `export_tflite`."""
    example = torch.zeros(tuple(input_shape))
    with quiet(debug=debug) as said, tempfile.TemporaryDirectory() as folder:
        try:
            float_path = Path(folder) / "float32.tflite"
            _convert_float(module, example, float_path)
            if precision == "float32":
                return float_path.read_bytes()
            if calibration is None:
                generator = torch.Generator().manual_seed(0)
                calibration = torch.randn(_CALIBRATION_IMAGES, *example.shape[1:], generator=generator)
            return _quantise(float_path, precision, calibration, example.shape[0])
        except Exception as error:  # the converter's stages have errors of their own, without a common base
            raise ExportError(f"litert-torch cannot convert the module: {cause_of(error, said())}") from error


def _convert_float(module: nn.Module, example: Tensor, path: Path) -> None:
    import litert_torch

    with torch.no_grad():
        image_like = module(example).ndim == 4
    folded = fold_batch_norm(module)  # the converter would do it too, in half as long again
    wrapped = litert_torch.to_channel_last_io(folded, args=[0], outputs=[0] if image_like else [])
    model = litert_torch.convert(wrapped.eval(), (example.permute(0, 2, 3, 1).contiguous(),))
    model.export(str(path))


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


class TfliteFactory:
    """`.tflite` files with random weights, from the cache or freshly converted and compared with torch."""

    def __init__(self, cache: ArtefactCache, batch: int, precision: Precision = "float32") -> None:
        self.cache, self.batch, self.precision = cache, batch, precision

    def make(self, name: str, specs: Sequence[BlockSpec]) -> Artefact:
        """The file of a block (one spec) or a network. Raises `ExportError`, `CacheError`."""
        shape = input_shape(specs, self.batch)

        def write(path: Path) -> None:
            module = build_block(specs[0]) if len(specs) == 1 else build_network(specs)
            export_tflite(randomise(module), shape, path, self.precision)

        path = self.cache.path(self._identity(specs), ".tflite", write)
        batch, channels, height, width = shape
        return Artefact(name, "tflite", (batch, height, width, channels), path)

    def is_cached(self, specs: Sequence[BlockSpec]) -> bool:
        """Whether `make` finds the file instead of converting for seconds."""
        return self.cache.find(self._identity(specs), ".tflite") is not None

    def _identity(self, specs: Sequence[BlockSpec]) -> Mapping[str, Any]:
        return {
            "format": "tflite",
            "version": _VERSION,
            "converters": {name: version(name) for name in _CONVERTERS},
            "precision": self.precision,
            "batch": self.batch,
            "blocks": [spec.key for spec in specs],
        }


def tflite_factory(cache: ArtefactCache, batch: int, precision: str = "float32") -> TfliteFactory:
    """The factory for TFLite files for a device that computes in `precision`; see `file_precision`."""
    return TfliteFactory(cache, batch, file_precision(precision))


def file_precision(precision: str) -> Precision:
    """What a file is in for a device that computes in `precision`: `float32`, `dynamic-int8` or `int8`.

    `float16` is how a delegate computes a float32 file. Raises `ExportError` for another precision.
    """
    of_file = _FILE_PRECISIONS.get(precision)
    if of_file is None:
        raise ExportError(f"unknown precision '{precision}'; choose from {', '.join(_FILE_PRECISIONS)}")
    return of_file
