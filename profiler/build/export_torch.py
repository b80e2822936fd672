"""Blocks and networks as torch modules in memory, for back-ends that run torch itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from devices.backend import Artefact
from lut.blocks import BlockSpec
from profiler.build.artefacts import ArtefactCache, input_shape
from profiler.build.modules import build_block, build_network, randomise, scheme_sha256
from profiler.errors import ExportError


class TorchFactory:
    """Modules with random weights, in eval mode. Batch-norm is in them: folding is the back-end's part."""

    def __init__(self, batch: int) -> None:
        self._batch = batch

    def identity(self) -> Mapping[str, Any]:
        """Layers, weights and torch, which builds them."""
        return {
            "format": "torch", "torch": torch.__version__, "scheme_sha256": scheme_sha256(), "batch": self._batch,
        }  # fmt: skip

    def make(self, name: str, specs: Sequence[BlockSpec]) -> Artefact:
        """The module of a block (one spec) or a network."""
        module = build_block(specs[0]) if len(specs) == 1 else build_network(specs)
        return Artefact(name, "torch", input_shape(specs, self._batch), module=randomise(module))

    def of_network(self, name: str, network: nn.Module, specs: Sequence[BlockSpec], stem: Path) -> Artefact:
        """The network itself."""
        return Artefact(name, "torch", input_shape(specs, self._batch), module=network)

    def of_file(self, name: str, specs: Sequence[BlockSpec], path: Path) -> Artefact:
        """Raises `ExportError`: no file is of this format."""
        raise ExportError(f"{path.name} is no torch module in memory; measure {name} without a file")

    def of_module(
        self, name: str, build: Callable[[], nn.Module], image: tuple[int, int, int], about: Mapping[str, Any]
    ) -> Artefact:
        """A network of other layers as it is built."""
        return Artefact(name, "torch", (self._batch, *image), module=randomise(build()))


def torch_factory(cache: ArtefactCache, batch: int, precision: str) -> TorchFactory:
    """A factory that writes no files: it needs no cache, and the precision is the back-end's part."""
    return TorchFactory(batch)
