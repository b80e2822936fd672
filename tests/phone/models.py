"""Models for a phone that only says how long things take: a block's time grows with its work."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from devices.backend import Artefact
from lut.blocks import BlockSpec
from profiler.build.export_tflite import file_precision
from profiler.build.modules import Network
from tests.phone.tool import fake_model

_US_PER_MAC, _US_PER_BLOCK, _US_PER_NETWORK = 2e-4, 40.0, 150.0


def latency_us(specs: Sequence[BlockSpec]) -> float:
    """What the phone takes for these blocks in a row; a network costs a constant more than its blocks."""
    own = sum(_US_PER_BLOCK + _US_PER_MAC * spec.macs for spec in specs)
    return own + (_US_PER_NETWORK if len(specs) > 1 else 0.0)


class PhoneModels:
    """A factory of `.tflite` files that are none."""

    def __init__(self, folder: Path, batch: int = 1, precision: str = "float32", said: list[str] | None = None) -> None:
        self._folder, self._batch, self._precision = folder, batch, precision
        self._said = [] if said is None else said

    def identity(self) -> Mapping[str, Any]:
        return {"format": "tflite"}

    def make(self, name: str, specs: Sequence[BlockSpec]) -> Artefact:
        time_us = latency_us(specs)
        path = self._folder / f"{hashlib.sha256(name.encode()).hexdigest()}.tflite"
        side = specs[0].input_shape[1]
        return Artefact(name, "tflite", (1, side, side, 3), fake_model(path, time_us, 1000 * len(specs)))

    def of_network(self, name: str, network: Network, specs: Sequence[BlockSpec], stem: Path) -> Artefact:
        """The conversion is another's affair: the file only says what it takes."""
        shape = (self._batch, *specs[0].input_shape)
        self._said.append(f"converted {shape} {file_precision(self._precision)}")
        path = fake_model(stem.with_suffix(".tflite"), latency_us(network.specs))
        return Artefact(name, "tflite", (shape[0], *shape[2:], shape[1]), path)
