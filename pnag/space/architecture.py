"""An architecture by value, and its public string `depths:kernels:expands`, `@192` after it where that is a choice."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from lut.words import quoted
from pnag.errors import ArchitectureError

Numbers = tuple[int, ...]

_NUMBER = re.compile(r"0|[1-9][0-9]{0,3}")


@dataclass(frozen=True, order=True)
class Architecture:
    """Depth of each unit, kernel and expand ratio of each layer; 0 for a layer beyond its unit's depth.

    `depths` has shape (units,), `kernels` and `expands` have shape (units · layers,), unit by unit. `resolution` is the
    side of the images in pixels, None where it goes without saying.
    Whether the numbers are choices of a space is for `SearchSpace.check` to say. Raises
    `ArchitectureError` for counts that do not fit, or for layers present beyond the depth or absent within.

    >>> architecture = Architecture.parse("2,2:3,5,7,3:4,6,3,4")
    >>> architecture.depths, architecture.layer(1, 0)
    ((2, 2), (7, 3))
    >>> str(architecture)
    '2,2:3,5,7,3:4,6,3,4'
    """

    depths: Numbers
    kernels: Numbers
    expands: Numbers
    resolution: int | None = None

    def __post_init__(self) -> None:
        units, layers = len(self.depths), len(self.kernels)
        if units == 0 or layers == 0 or layers % units or len(self.expands) != layers:
            raise ArchitectureError(
                f"an architecture of {units} depths, {layers} kernels and {len(self.expands)} expands; "
                "kernels and expands are as many as units times layers, for instance 5, 20 and 20"
            )
        per_unit = layers // units
        if max(self.depths) > per_unit:
            raise ArchitectureError(f"a depth of {max(self.depths)} in units of {per_unit} layers; no unit is deeper")
        for position, (kernel, expand) in enumerate(zip(self.kernels, self.expands, strict=True)):
            unit, layer = divmod(position, per_unit)
            present = layer < self.depths[unit]
            if present != (kernel > 0) or present != (expand > 0):
                raise ArchitectureError(
                    f"unit {unit + 1} has depth {self.depths[unit]} but layer {layer + 1} has kernel {kernel} and "
                    f"expand {expand}; layers within the depth have both, layers beyond it have 0 and 0"
                )

    @property
    def layers_per_unit(self) -> int:
        """Layers that a unit may have at most."""
        return len(self.kernels) // len(self.depths)

    def layer(self, unit: int, layer: int) -> tuple[int, int]:
        """Kernel and expand ratio of a layer, both counted from 0."""
        position = unit * self.layers_per_unit + layer
        return self.kernels[position], self.expands[position]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the public string back; `str(Architecture.parse(s)) == s`. Raises `ArchitectureError`."""
        body, at, side = text.strip().partition("@")
        parts = body.split(":")
        if len(parts) != 3:
            raise ArchitectureError(
                f"{quoted(text, 120)} has {len(parts)} parts; an architecture is 'depths:kernels:expands'"
            )
        depths, kernels, expands = (_numbers(part, text) for part in parts)
        return cls(depths, kernels, expands, _number(side, text) if at else None)

    def __str__(self) -> str:
        body = ":".join(",".join(map(str, part)) for part in (self.depths, self.kernels, self.expands))
        return body if self.resolution is None else f"{body}@{self.resolution}"


def _numbers(part: str, text: str) -> Numbers:
    return tuple(_number(word, text) for word in part.split(","))


def _number(word: str, text: str) -> int:
    if _NUMBER.fullmatch(word) is None:
        raise ArchitectureError(
            f"{quoted(word, 40)} in {quoted(text, 120)} is not a number; write digits separated by commas"
        )
    return int(word)
