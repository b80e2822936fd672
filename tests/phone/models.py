"""Models for a phone that only says how long things take: a block's time grows with its work."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from devices.backend import Artefact
from lut.blocks import BlockSpec
from tests.phone.tool import fake_model

_US_PER_MAC, _US_PER_BLOCK, _US_PER_NETWORK = 2e-4, 40.0, 150.0


def latency_us(specs: Sequence[BlockSpec]) -> float:
    """What the phone takes for these blocks in a row; a network costs a constant more than its blocks."""
    own = sum(_US_PER_BLOCK + _US_PER_MAC * spec.macs for spec in specs)
    return own + (_US_PER_NETWORK if len(specs) > 1 else 0.0)


class PhoneModels:
    """A factory of `.tflite` files that are none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def identity(self) -> Mapping[str, Any]:
        return {"format": "tflite"}

    def make(self, name: str, specs: Sequence[BlockSpec]) -> Artefact:
        time_us = latency_us(specs)
        path = self._folder / f"{hashlib.sha256(name.encode()).hexdigest()}.tflite"
        side = specs[0].input_shape[1]
        return Artefact(name, "tflite", (1, side, side, 3), fake_model(path, time_us, 1000 * len(specs)))
