"""From block specs to ONNX files, through torch's TorchScript exporter: some 17 ms for a block.

Batch-norm is folded into the convolutions by the exporter, as in any deployed network.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from devices.backend import Artefact
from devices.errors import one_line
from lut.blocks import BlockSpec
from profiler.build.artefacts import ArtefactCache, input_shape
from profiler.build.memory import activation_bytes
from profiler.build.modules import build_block, build_network, randomise, scheme_sha256
from profiler.errors import ExportError

OPSET = 17
_VERSION = 1  # raise it when the same blocks are written as another file


def write_onnx(module: nn.Module, shape: tuple[int, ...], path: Path) -> None:
    """Export an eval-mode module for inputs of `shape` (batch first), named `input` and `output`.

    Raises `ExportError` if torch cannot.
    """
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

    def __init__(self, cache: ArtefactCache, batch: int) -> None:
        self._cache, self._batch = cache, batch

    def make(self, name: str, specs: Sequence[BlockSpec]) -> Artefact:
        """The file of a block or a network. Raises `ExportError`, `CacheError`."""
        shape = input_shape(specs, self._batch)

        def write(path: Path) -> None:
            module = build_block(specs[0]) if len(specs) == 1 else build_network(specs)
            write_onnx(randomise(module), shape, path)

        path = self._cache.path(self._identity(specs), ".onnx", write)
        return Artefact(name, "onnx", shape, path, activation_bytes=activation_bytes(specs, self._batch))

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
        }

    def is_cached(self, specs: Sequence[BlockSpec]) -> bool:
        """Whether `make` finds the file instead of exporting it."""
        return self._cache.find(self._identity(specs), ".onnx") is not None

    def _identity(self, specs: Sequence[BlockSpec]) -> Mapping[str, Any]:
        return {**self.identity(), "blocks": [spec.key for spec in specs]}


def onnx_factory(cache: ArtefactCache, batch: int) -> OnnxFactory:
    """The factory for ONNX."""
    return OnnxFactory(cache, batch)
