"""Search spaces as data: which architectures exist, of which blocks they are made, how they are encoded."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from lut.blocks import Activation, BlockSpec, ConvSpec, HeadSpec, MBConvSpec, divisible
from pnag.errors import ArchitectureError, SpaceError
from pnag.space.architecture import Architecture
from pnag.space.cost import CostModel
from pnag.space.form import checked
from pnag.space.tokens import Tokens, resolution_indices, unit_tokens

if TYPE_CHECKING:
    from lut.table import LatencyTable

_MOST_COMBINATIONS = 10_000_000  # of the layers within units: each has its cost in memory


@dataclass(frozen=True)
class SearchSpace:
    """A once-for-all MobileNetV3 space. Channels are before the width multiplier.

    An architecture is encoded as `length` small integers, unit by unit: the index of the depth, then for
    each of `layers` layers the expand ratio and the kernel, each 0 for a layer that is absent and 1 + the
    index of the choice otherwise. Shapes are (n, length), dtype int8.

    >>> space = SearchSpace("ofa-mbv3-w1.2", 1.2)
    >>> len(space.blocks()), space.length
    (93, 45)
    >>> smallest, _ = space.extremes()
    >>> space.decode(space.encode([smallest])) == [smallest]
    True

    Where there are several `resolutions` to choose from, in ascending order, `resolution` is the largest of them, and
    the encoding ends in the index of an architecture's own. `stem`, `first`, `head` and `layer_block` are those of
    `resolution`; `at` gives the space of another one.
    """

    name: str
    width: float
    resolution: int = 224
    classes: int = 1000
    depths: tuple[int, ...] = (2, 3, 4)
    kernels: tuple[int, ...] = (3, 5, 7)
    expands: tuple[int, ...] = (3, 4, 6)
    stem_channels: int = 16
    unit_channels: tuple[int, ...] = (24, 40, 80, 112, 160)
    unit_strides: tuple[int, ...] = (2, 2, 2, 1, 2)
    unit_activations: tuple[Activation, ...] = ("relu", "relu", "hswish", "hswish", "hswish")
    unit_squeeze_excite: tuple[bool, ...] = (False, True, False, True, True)
    final_expand_channels: int = 960
    feature_channels: int = 1280
    resolutions: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for what in ("depths", "kernels", "expands"):
            choices = getattr(self, what)
            if not choices or min(choices) < 1 or len(set(choices)) != len(choices):
                raise SpaceError(f"{what} {choices} of space {self.name}; give different numbers from 1 on")
        if self.resolutions and (
            len(self.resolutions) < 2
            or list(self.resolutions) != sorted(set(self.resolutions))
            or self.resolutions[-1] != self.resolution
        ):
            raise SpaceError(
                f"resolutions {self.resolutions} of space {self.name} at {self.resolution}; give several in ascending "
                "order, of which `resolution` is the last"
            )
        choices = 1 + len(self.kernels) * (1 + len(self.expands))
        tables = math.log(max(self.units, 1) * self.resolution_choices) + self.layers * math.log(choices)
        if tables > math.log(_MOST_COMBINATIONS):
            raise SpaceError(
                f"space {self.name} has {self.units} units of up to {self.layers} layers with {len(self.kernels)} "
                f"kernels and {len(self.expands)} expands to choose from, more than "
                f"{_MOST_COMBINATIONS:,} combinations within the units; give fewer of them"
            )
        if any(kernel % 2 == 0 for kernel in self.kernels):
            raise SpaceError(f"kernels {self.kernels} of space {self.name}; even kernels have no centre, take odd ones")
        by_unit = (self.unit_channels, self.unit_strides, self.unit_activations, self.unit_squeeze_excite)
        if len({len(values) for values in by_unit}) != 1 or not self.unit_channels:
            raise SpaceError(
                f"space {self.name} describes {', '.join(str(len(values)) for values in by_unit)} units by channels, "
                "strides, activations and squeeze-excites; describe each unit in all four"
            )

    # -- shape of the encoding ------------------------------------------------------------------------

    @property
    def units(self) -> int:
        """How many units of layers there are."""
        return len(self.unit_channels)

    @property
    def layers(self) -> int:
        """The most layers a unit may have."""
        return max(self.depths)

    @property
    def tokens_per_unit(self) -> int:
        """One depth, then an expand ratio and a kernel for each layer."""
        return 1 + 2 * self.layers

    @property
    def length(self) -> int:
        """Tokens of one encoded architecture."""
        return self.units * self.tokens_per_unit + (1 if self.resolutions else 0)

    @property
    def sides(self) -> tuple[int, ...]:
        """The resolutions of the space in pixels, ascending: one or several."""
        return self.resolutions or (self.resolution,)

    @property
    def resolution_choices(self) -> int:
        """How many resolutions there are to choose from."""
        return len(self.sides)

    @cached_property
    def token_choices(self) -> tuple[int, ...]:
        """How many choices each token has when its layer is present; shape (length,)."""
        unit = (len(self.depths), *((len(self.expands), len(self.kernels)) * self.layers))
        return unit * self.units + ((len(self.resolutions),) if self.resolutions else ())

    def at(self, resolution: int) -> Self:
        """The same space with that one resolution."""
        return replace(self, resolution=resolution, resolutions=())

    @cached_property
    def by_resolution(self) -> Mapping[int, Self]:
        """The space of each resolution alone."""
        return {side: self.at(side) for side in self.sides}

    def alone(self, architecture: Architecture) -> tuple[Self, Architecture]:
        """The space of an architecture's own resolution, and the architecture in it, which then does not name it.

        Raises `ArchitectureError` if it is not of this space.
        """
        self.check(architecture)
        return self.by_resolution[architecture.resolution or self.resolution], replace(architecture, resolution=None)

    # -- blocks -----------------------------------------------------------------------------------------

    def _channels(self, channels: int) -> int:
        return divisible(channels * self.width)

    @cached_property
    def stem(self) -> ConvSpec:
        """The first convolution."""
        return ConvSpec(3, self._channels(self.stem_channels), 3, 2, "hswish", self.resolution)

    @cached_property
    def first(self) -> MBConvSpec:
        """The block between stem and units, the same in every network."""
        channels, side, _ = self.stem.output_shape
        return MBConvSpec(channels, channels, 3, 1, 1, "relu", False, side)

    @cached_property
    def _unit_inputs(self) -> tuple[tuple[int, int], ...]:
        """Channels and side that enter each unit and, last, the head."""
        channels, side = self.first.output_shape[:2]
        inputs = [(channels, side)]
        for out, stride in zip(self.unit_channels, self.unit_strides, strict=True):
            channels, side = self._channels(out), (side - 1) // stride + 1
            inputs.append((channels, side))
        return tuple(inputs)

    @cached_property
    def head(self) -> HeadSpec:
        """Final expansion, pooling, feature mix and classifier."""
        channels, side = self._unit_inputs[-1]
        mid, features = self._channels(self.final_expand_channels), self._channels(self.feature_channels)
        return HeadSpec(channels, mid, features, self.classes, "hswish", side)

    def layer_block(self, unit: int, layer: int, kernel: int, expand: int) -> MBConvSpec:
        """The block at a position, both counted from 0. Later layers of a unit are all alike."""
        channels_in, side = self._unit_inputs[unit if layer == 0 else unit + 1]
        return MBConvSpec(
            in_channels=channels_in,
            out_channels=self._channels(self.unit_channels[unit]),
            kernel=kernel,
            expand=expand,
            stride=self.unit_strides[unit] if layer == 0 else 1,
            activation=self.unit_activations[unit],
            squeeze_excite=self.unit_squeeze_excite[unit],
            resolution=side,
        )

    def decompose(self, architecture: Architecture) -> tuple[BlockSpec, ...]:
        """The blocks of a network in order, stem to head. Raises `ArchitectureError` if it is not of this space."""
        alone, architecture = self.alone(architecture)
        layers = (
            alone.layer_block(unit, layer, *architecture.layer(unit, layer))
            for unit, depth in enumerate(architecture.depths)
            for layer in range(depth)
        )
        return (alone.stem, alone.first, *layers, alone.head)

    def blocks(self) -> tuple[BlockSpec, ...]:
        """Every distinct block of the space, by resolution in network order: what a table must hold."""
        if self.resolutions:
            return tuple(dict.fromkeys(block for alone in self.by_resolution.values() for block in alone.blocks()))
        layers = (
            self.layer_block(unit, min(layer, 1), kernel, expand)
            for unit in range(self.units)
            for layer in range(self.layers)
            for expand in self.expands
            for kernel in self.kernels
        )
        return tuple(dict.fromkeys((self.stem, self.first, *layers, self.head)))

    # -- codecs -----------------------------------------------------------------------------------------

    def check(self, architecture: Architecture) -> None:
        """Raise `ArchitectureError` unless every number is a choice of this space."""
        if len(architecture.depths) != self.units or architecture.layers_per_unit != self.layers:
            raise ArchitectureError(
                f"an architecture of {len(architecture.depths)} units of {architecture.layers_per_unit} layers; "
                f"space {self.name} has {self.units} of {self.layers}"
            )
        for what, values, choices in (
            ("depth", architecture.depths, self.depths),
            ("kernel", tuple(k for k in architecture.kernels if k), self.kernels),
            ("expand", tuple(e for e in architecture.expands if e), self.expands),
        ):
            for value in values:
                if value not in choices:
                    raise ArchitectureError(f"{what} {value} is not in space {self.name}; choose from {choices}")
        if architecture.resolution is None and not self.resolutions:
            return
        if architecture.resolution not in self.sides:
            sides = ", ".join(map(str, self.sides))
            at = "without a" if architecture.resolution is None else f"with {architecture.resolution} as its"
            raise ArchitectureError(
                f"an architecture {at} resolution; space {self.name} has {sides}: end it in @{self.resolution}, say"
            )

    def encode(self, architectures: Iterable[Architecture]) -> Tokens:
        """Tokens of architectures, shape (n, length). Raises `ArchitectureError` if one is not of this space."""
        rows = [self._encode(architecture) for architecture in architectures]
        return np.array(rows, dtype=np.int8).reshape(len(rows), self.length)

    def _encode(self, architecture: Architecture) -> list[int]:
        self.check(architecture)
        row: list[int] = []
        for unit, depth in enumerate(architecture.depths):
            row.append(self.depths.index(depth))
            for layer in range(self.layers):
                if layer < depth:
                    kernel, expand = architecture.layer(unit, layer)
                    row += (1 + self.expands.index(expand), 1 + self.kernels.index(kernel))
                else:
                    row += (0, 0)
        return [*row, self.resolutions.index(architecture.resolution or 0)] if self.resolutions else row

    def decode(self, tokens: Tokens) -> list[Architecture]:
        """Architectures of tokens of shape (n, length); the inverse of `encode`."""
        expands, kernels = (0, *self.expands), (0, *self.kernels)
        sides = [self.resolutions[i] if self.resolutions else None for i in resolution_indices(self, tokens).tolist()]
        return [
            Architecture(
                tuple(self.depths[d] for d in row[:, 0].tolist()),
                tuple(kernels[k] for k in row[:, 2::2].ravel().tolist()),
                tuple(expands[e] for e in row[:, 1::2].ravel().tolist()),
                side,
            )
            for row, side in zip(unit_tokens(self, tokens), sides, strict=True)
        ]

    def canonical(self, tokens: Tokens) -> Tokens:
        """A copy with the tokens of absent layers set to 0; present layers keep theirs, at least 1."""
        tokens = np.array(tokens, dtype=np.int8)
        by_unit = unit_tokens(self, tokens)
        depth = np.array(self.depths)[by_unit[:, :, 0]]
        present = np.repeat(np.arange(self.layers) < depth[..., None], 2, axis=2)
        by_unit[:, :, 1:] = np.where(present, np.maximum(by_unit[:, :, 1:], 1), 0)
        layers = by_unit.reshape(len(tokens), self.units * self.tokens_per_unit)
        return np.concatenate([layers, tokens[:, self.units * self.tokens_per_unit :]], axis=1)

    def sample(self, n: int, rng: np.random.Generator) -> Tokens:
        """`n` architectures with every choice uniform, encoded; shape (n, length)."""
        choices = np.array(self.token_choices)
        offset = np.ones(self.length, dtype=np.int8)
        offset[:: self.tokens_per_unit] = 0
        drawn = (rng.random((n, self.length)) * choices).astype(np.int8) + offset
        return self.canonical(drawn)

    def extremes(self) -> tuple[Architecture, Architecture]:
        """The architectures with the smallest and the largest choice everywhere."""

        def uniform(depth: int, kernel: int, expand: int, resolution: int) -> Architecture:
            present = ((True,) * depth + (False,) * (self.layers - depth)) * self.units
            kernels, expands = (tuple(value if p else 0 for p in present) for value in (kernel, expand))
            return Architecture((depth,) * self.units, kernels, expands, resolution if self.resolutions else None)

        smallest = uniform(min(self.depths), min(self.kernels), min(self.expands), self.sides[0])
        return smallest, uniform(max(self.depths), max(self.kernels), max(self.expands), self.sides[-1])

    # -- identity ---------------------------------------------------------------------------------------

    def cost_model(self, table: LatencyTable) -> CostModel:
        """c(a) over encoded architectures, from a table of this space. Raises `SpaceError`, `MissingBlockError`."""
        self.require_same_family(self.from_dict(table.metadata.space), "the table")
        costs = self.sum_over_blocks(lambda block: table.cost_ms([block]) - table.intercept_ms)
        if self.resolutions:
            return replace(costs, constant_ms=table.intercept_ms)
        return replace(costs, constant_ms=table.cost_ms([self.stem, self.first, self.head]))

    def macs_model(self) -> CostModel:
        """Multiply-accumulates for one image in place of milliseconds, where there is no table."""
        return self.sum_over_blocks(lambda block: float(block.macs))

    def sum_over_blocks(self, value: Callable[[BlockSpec], float]) -> CostModel:
        """The model of any quantity that is a sum over a network's blocks, `value` of each."""
        layers = [
            [
                [
                    [[value(alone.layer_block(unit, layer, k, e)) for k in self.kernels] for e in self.expands]
                    for layer in (0, 1)
                ]
                for unit in range(self.units)
            ]
            for alone in self.by_resolution.values()
        ]
        shared = [sum(map(value, (alone.stem, alone.first, alone.head))) for alone in self.by_resolution.values()]
        if not self.resolutions:
            return CostModel(self, shared[0], np.array(layers[0], dtype=float))
        return CostModel(self, 0.0, np.array(layers, dtype=float), np.array(shared, dtype=float))

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain JSON values; `resolutions` only where there are several."""
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return plain if self.resolutions else {key: value for key, value in plain.items() if key != "resolutions"}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`. Raises `SpaceError` for unknown or missing fields, and for other values."""
        try:
            known = {f.name for f in fields(cls)} & values.keys()
            return cls(**{**values, **{key: checked(f"a search space with {key}", key, values[key]) for key in known}})
        except (AttributeError, TypeError) as error:
            raise SpaceError(f"not a search space ({error}); give the fields that `to_dict` writes") from error

    def family(self) -> dict[str, Any]:
        """What tables, supernets and archives must share: all but name, resolutions and classes."""
        plain = self.to_dict()
        return {k: value for k, value in plain.items() if k not in ("name", "resolution", "resolutions", "classes")}

    def require_same_family(self, other: SearchSpace, what: str) -> None:
        """Raise `SpaceError` unless `other`, the space of `what`, has the same width and choices."""
        mine, theirs = self.family(), other.family()
        for key in mine:
            if mine[key] != theirs[key]:
                raise SpaceError(
                    f"{what} is of space {other.name} with {key} {theirs[key]}, not of {self.name} with {mine[key]}; "
                    "use the two of one space"
                )


def decode_strings(space: SearchSpace, texts: Sequence[str]) -> Tokens:
    """Tokens of architectures given by their public strings, shape (n, length)."""
    return space.encode([Architecture.parse(text) for text in texts])
