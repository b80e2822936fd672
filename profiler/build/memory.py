"""What a network's activations take, and what this process may take: as many programs are loaded as fit."""

from __future__ import annotations

import math
from collections.abc import Sequence

from devices.host.allowance import usable_memory_bytes
from lut.blocks import BlockSpec, ConvSpec, HeadSpec, MBConvSpec

__all__ = ["activation_bytes", "usable_memory_bytes"]

_BYTES = 4  # of a float32


def activation_bytes(specs: Sequence[BlockSpec], batch: int) -> int:
    """The most that the activations of these blocks in a row hold at any time, for `batch` images in float32."""
    return _BYTES * batch * max(map(_alive, specs), default=0)


def _alive(spec: BlockSpec) -> int:
    """Values of one image that a block holds at once: its input, which a residual needs, and its two widest layers."""
    taken, side = math.prod(spec.input_shape), spec.input_shape[1]
    match spec:
        case ConvSpec():
            return taken + math.prod(spec.output_shape)
        case MBConvSpec():
            after = spec.output_shape[1]
            return taken + spec.inner_channels * (side**2 + after**2)
        case HeadSpec():
            return taken + spec.mid_channels * side**2 + spec.features
        case _:
            raise TypeError(f"no layers are known of a {type(spec).__name__}; add it to profiler.build.memory")
