"""What blocks have in common: corrections that all blocks of one resolution, kernel or expansion share.

A cache that holds the activations of small blocks only, or a gap before each kernel of a squeeze-excite, shifts
many blocks alike. Few networks tell such a shift well, while they tell 93 single corrections badly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from lut.blocks import BlockSpec, MBConvSpec, parse_block
from lut.errors import BlockKeyError

Array = NDArray[np.float64]

_RELATIVE: tuple[Callable[[BlockSpec], object], ...] = (
    lambda spec: spec.input_shape[1],
    lambda spec: spec.kernel if isinstance(spec, MBConvSpec) else None,
    lambda spec: spec.expand if isinstance(spec, MBConvSpec) else None,
)


def mega_weights(keys: Sequence[str]) -> Array | None:
    """Millions of parameters of each block, shape (blocks,); None for keys of other blocks."""
    try:
        return np.array([parse_block(key).params / 1e6 for key in keys])
    except BlockKeyError:
        return None


def shared_columns(keys: Sequence[str], latency: Array) -> Array:
    """What a unit of each shared correction adds to each block, in ms; shape (blocks, corrections).

    Corrections are relative to the block's latency, one for each resolution, kernel and expansion, and one
    absolute for squeeze-excites, in units of the median latency. No columns for keys of other blocks.
    """
    try:
        specs = [parse_block(key) for key in keys]
    except BlockKeyError:
        return np.empty((len(keys), 0))
    columns = []
    for trait in _RELATIVE:
        values = [trait(spec) for spec in specs]
        columns += [latency * [value == other for value in values] for other in dict.fromkeys(values) if other]
    attention = np.array([isinstance(spec, MBConvSpec) and spec.squeeze_excite for spec in specs], dtype=float)
    return np.stack([*columns, attention * np.median(latency)], axis=1)
