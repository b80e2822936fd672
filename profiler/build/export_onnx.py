"""From block specs to ONNX files, through torch's TorchScript exporter: some 17 ms for a block.

Batch-norm is folded into the convolutions by the exporter, as in any deployed network.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from devices.backend import Artefact
from devices.errors import one_line
from lut.blocks import BlockSpec
from profiler.build.artefacts import ArtefactCache, input_shape
from profiler.build.memory import activation_bytes
from profiler.build.modules import build_block, build_network, randomise, scheme_sha256
from profiler.build.parity import Precision, bits_of_file
from profiler.errors import ExportError

OPSET = 17
_CALIBRATION_IMAGES = 16
_VERSION = 1  # raise it when the same blocks are written as another file


def write_onnx(
    module: nn.Module,
    shape: tuple[int, ...],
    path: Path,
    precision: Precision = "float32",
    *,
    calibration: Tensor | None = None,
) -> None:
    """Export an eval-mode module for inputs of `shape` (batch first), named `input` and `output`.

    `dynamic-int8` has 8-bit weights and quantises activations as it runs; `int8` has 8 bits between float32 ends, with
    ranges from `calibration` (n, C, H, W), or from normal inputs without it. Raises `ExportError` if torch or ONNX
    Runtime's quantiser cannot.
    """
    if precision == "float32":
        _write_float(module, shape, path)
        return
    with tempfile.TemporaryDirectory(prefix="pnag-quantise-") as folder:
        plain = Path(folder) / "float32.onnx"
        _write_float(module, shape, plain)
        if calibration is None:
            generator = torch.Generator().manual_seed(0)
            calibration = torch.randn(max(_CALIBRATION_IMAGES, shape[0]), *shape[1:], generator=generator)
        try:
            _quantise(plain, path, precision, calibration, shape[0])
        except OSError:
            raise
        except Exception as error:  # the quantiser's errors have no base of their own
            raise ExportError(f"ONNX Runtime cannot quantise the network: {one_line(error)}") from error


def _quantise(plain: Path, path: Path, precision: Precision, calibration: Tensor, batch: int) -> None:
    """8 bits as ONNX Runtime's guide has them: activations unsigned, weights of a channel under one scale."""
    from onnxruntime import quantization

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it recommends a pre-processing that the exporter has done
    try:
        if precision == "dynamic-int8":
            quantization.quantize_dynamic(plain, path, weight_type=quantization.QuantType.QUInt8)
            return
        quantization.quantize_static(
            plain,
            path,
            _Batches(calibration, batch),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            reduce_range=True,  # or sums of products overflow on processors without 8-bit dot products
        )
    finally:
        root.setLevel(level)


class _Batches:
    """Whole batches of images, one after the other, as the quantiser asks for them."""

    def __init__(self, images: Tensor, batch: int) -> None:
        self._batches = iter([part for part in torch.split(images, batch) if len(part) == batch])

    def get_next(self) -> dict[str, Any] | None:
        """The next batch by the input's name; None at the end."""
        batch = next(self._batches, None)
        return None if batch is None else {"input": np.ascontiguousarray(batch.numpy())}


def _write_float(module: nn.Module, shape: tuple[int, ...], path: Path) -> None:
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                (torch.randn(shape, generator=torch.Generator().manual_seed(0)),),
                str(path),
                dynamo=False,
                opset_version=OPSET,
                input_names=["input"],
                output_names=["output"],
            )
    except OSError:
        raise
    except Exception as error:  # whatever the exporter raises for a module that it does not know
        raise ExportError(f"torch cannot export to ONNX: {one_line(error)}") from error
    finally:
        logger.setLevel(level)


class OnnxFactory:
    """ONNX files with random weights, from the cache or freshly exported."""

    def __init__(self, cache: ArtefactCache, batch: int, precision: Precision = "float32") -> None:
        self._cache, self._batch, self._precision = cache, batch, precision

    def make(self, name: str, specs: Sequence[BlockSpec]) -> Artefact:
        """The file of a block or a network. Raises `ExportError`, `CacheError`."""
        shape = input_shape(specs, self._batch)

        def write(path: Path) -> None:
            module = build_block(specs[0]) if len(specs) == 1 else build_network(specs)
            write_onnx(randomise(module), shape, path, self._precision)

        return self.of_file(name, specs, self._cache.path(self._identity(specs), ".onnx", write))

    def of_network(self, name: str, network: nn.Module, specs: Sequence[BlockSpec], stem: Path) -> Artefact:
        """The file of a network with its own weights, beside `stem`. Raises `ExportError`."""
        path = stem.with_suffix(".onnx")
        write_onnx(network, input_shape(specs, self._batch), path, self._precision)
        return self.of_file(name, specs, path)

    def of_file(self, name: str, specs: Sequence[BlockSpec], path: Path) -> Artefact:
        """A network that is in a file already."""
        taken = activation_bytes(specs, self._batch)
        return Artefact(name, "onnx", input_shape(specs, self._batch), path, activation_bytes=taken)

    def of_module(
        self, name: str, build: Callable[[], nn.Module], image: tuple[int, int, int], about: Mapping[str, Any]
    ) -> Artefact:
        """A network of other layers, from the cache or freshly exported. Raises `ExportError`, `CacheError`."""
        shape = (self._batch, *image)

        def write(path: Path) -> None:
            write_onnx(randomise(build()), shape, path, self._precision)

        identity = {**self.identity(), **about, "image": list(image)}
        return Artefact(name, "onnx", shape, self._cache.path(identity, ".onnx", write))

    def identity(self) -> Mapping[str, Any]:
        """What the files depend on beside their blocks: torch is the exporter too."""
        return {
            "format": "onnx",
            "version": _VERSION,
            "torch": torch.__version__,
            "onnx": version("onnx"),
            "opset": OPSET,
            "scheme_sha256": scheme_sha256(),
            "batch": self._batch,
            **({} if self._precision == "float32" else {"precision": self._precision, "onnxruntime": _runtime()}),
        }

    def is_cached(self, specs: Sequence[BlockSpec]) -> bool:
        """Whether `make` finds the file instead of exporting it."""
        return self._cache.find(self._identity(specs), ".onnx") is not None

    def _identity(self, specs: Sequence[BlockSpec]) -> Mapping[str, Any]:
        return {**self.identity(), "blocks": [spec.key for spec in specs]}


def _runtime() -> str:
    import onnxruntime

    return str(onnxruntime.__version__)


def onnx_factory(cache: ArtefactCache, batch: int, precision: str = "float32") -> OnnxFactory:
    """The factory for ONNX files for a device that computes in `precision`."""
    return OnnxFactory(cache, batch, bits_of_file(precision))
