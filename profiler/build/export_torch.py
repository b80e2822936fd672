"""Blocks and networks as torch modules in memory, for back-ends that run torch itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from devices.backend import Artefact
from lut.blocks import BlockSpec
from profiler.build.artefacts import ArtefactCache, input_shape
from profiler.build.modules import build_block, build_network, randomise, scheme_sha256


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


def torch_factory(cache: ArtefactCache, batch: int) -> TorchFactory:
    """A factory that writes no files, and so does not use the cache."""
    return TorchFactory(batch)
