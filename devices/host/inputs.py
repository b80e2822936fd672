"""Inputs to measure with: random, the same at each run."""

from __future__ import annotations

from typing import Any

import numpy as np

_SEED = 0


def random_input(shape: tuple[int, ...], dtype: str) -> np.ndarray[Any, Any]:
    """Normal numbers of that shape, or uniform ones for integers: zeros would make some kernels faster."""
    rng = np.random.default_rng(_SEED)
    if np.issubdtype(np.dtype(dtype), np.integer):
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
    return np.ascontiguousarray(rng.standard_normal(shape).astype(dtype))
