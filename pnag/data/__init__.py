"""Image data sets: where they come from, how they are split, normalised and augmented.

In comes the name of a data set, such as `digits` or `imagefolder:DIR`. Out go splits that give batches of images and
labels. What needs no torch can be had from here without it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pnag.data.load import load_data
    from pnag.data.split import ImageData

__all__ = ["ImageData", "load_data"]

_LAZY = {"load_data": "pnag.data.load", "ImageData": "pnag.data.split"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'pnag.data' has no attribute '{name}'")
