"""What a block is: everything that determines its cost, and the canonical key a table is indexed by."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from lut.errors import BlockKeyError
from lut.words import quoted

Activation = Literal["relu", "hswish"]

_N = r"([1-9]\d*)"
_CONV = re.compile(rf"conv-i{_N}-o{_N}-k{_N}-s{_N}-(relu|hswish)@{_N}", re.ASCII)
_MBCONV = re.compile(rf"mbconv-i{_N}-o{_N}-k{_N}-e{_N}-s{_N}-(relu|hswish)-se([01])@{_N}", re.ASCII)
_HEAD = re.compile(rf"head-i{_N}-m{_N}-f{_N}-o{_N}-(relu|hswish)@{_N}", re.ASCII)


def divisible(value: float, divisor: int = 8) -> int:
    """Round a channel count to a multiple of `divisor`, never more than 10 % below `value`.

    Source: MobileNet's `_make_divisible`, as used by once-for-all.
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def output_side(side: int, kernel: int, stride: int) -> int:
    """Side of a convolution's square output for padding `kernel // 2`."""
    return (side + 2 * (kernel // 2) - kernel) // stride + 1


@dataclass(frozen=True)
class BlockSpec(ABC):
    """A block of a network, by value. `key` is its canonical string and a table's primary key.

    >>> parse_block("conv-i3-o24-k3-s2-hswish@224").macs
    8128512
    """

    kind: ClassVar[str]

    @property
    @abstractmethod
    def key(self) -> str:
        """The canonical string; `parse_block(spec.key) == spec`."""

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one input image."""

    @property
    @abstractmethod
    def output_shape(self) -> tuple[int, ...]:
        """Channels, height and width of one output, or (classes,) for a head."""

    @property
    @abstractmethod
    def macs(self) -> int:
        """Multiply-accumulates of the convolution and linear layers, for one image."""

    @property
    @abstractmethod
    def params(self) -> int:
        """Learnable parameters, batch-norm scales and shifts included."""

    @classmethod
    @abstractmethod
    def from_key(cls, key: str) -> Self:
        """Read a key of this kind back, or raise `BlockKeyError`."""

    def __str__(self) -> str:
        return self.key


def _fields(pattern: re.Pattern[str], key: str) -> tuple[str, ...]:
    match = pattern.fullmatch(key)
    if match is None:
        raise BlockKeyError(
            f"{quoted(key, 120)} is not a block key; keys look like 'mbconv-i24-o32-k5-e4-s2-relu-se0@112'"
        )
    return match.groups()


@dataclass(frozen=True)
class ConvSpec(BlockSpec):
    """A convolution with batch-norm and activation: the stem.

    >>> ConvSpec(3, 24, kernel=3, stride=2, activation="hswish", resolution=224).key
    'conv-i3-o24-k3-s2-hswish@224'
    """

    kind: ClassVar[str] = "conv"

    in_channels: int
    out_channels: int
    kernel: int
    stride: int
    activation: Activation
    resolution: int

    @property
    def key(self) -> str:
        """For example `conv-i3-o24-k3-s2-hswish@224`."""
        return (
            f"conv-i{self.in_channels}-o{self.out_channels}-k{self.kernel}-s{self.stride}"
            f"-{self.activation}@{self.resolution}"
        )

    @classmethod
    def from_key(cls, key: str) -> Self:
        """Read a key of this kind back, or raise `BlockKeyError`."""
        i, o, k, s, activation, side = _fields(_CONV, key)
        return cls(int(i), int(o), int(k), int(s), _activation(activation), int(side))

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(in_channels, side, side)."""
        return self.in_channels, self.resolution, self.resolution

    @property
    def output_shape(self) -> tuple[int, ...]:
        """(out_channels, side, side)."""
        side = output_side(self.resolution, self.kernel, self.stride)
        return self.out_channels, side, side

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        side = output_side(self.resolution, self.kernel, self.stride)
        return self.in_channels * self.out_channels * self.kernel**2 * side**2

    @property
    def params(self) -> int:
        """Convolution weights and the batch-norm's scale and shift."""
        return self.in_channels * self.out_channels * self.kernel**2 + 2 * self.out_channels


@dataclass(frozen=True)
class MBConvSpec(BlockSpec):
    """A mobile inverted bottleneck: expand 1x1, depthwise, squeeze-excite, project 1x1, residual.

    With `expand` 1 there is no expanding convolution. The residual is there where stride is 1 and the
    channel counts agree.

    >>> block = MBConvSpec(24, 32, 5, 4, 2, "relu", squeeze_excite=False, resolution=112)
    >>> block.key, block.output_shape
    ('mbconv-i24-o32-k5-e4-s2-relu-se0@112', (32, 56, 56))
    """

    kind: ClassVar[str] = "mbconv"

    in_channels: int
    out_channels: int
    kernel: int
    expand: int
    stride: int
    activation: Activation
    squeeze_excite: bool
    resolution: int

    @property
    def key(self) -> str:
        """For example `mbconv-i24-o32-k5-e4-s2-relu-se0@112`."""
        return (
            f"mbconv-i{self.in_channels}-o{self.out_channels}-k{self.kernel}-e{self.expand}-s{self.stride}"
            f"-{self.activation}-se{int(self.squeeze_excite)}@{self.resolution}"
        )

    @classmethod
    def from_key(cls, key: str) -> Self:
        """Read a key of this kind back, or raise `BlockKeyError`."""
        i, o, k, e, s, activation, se, side = _fields(_MBCONV, key)
        return cls(int(i), int(o), int(k), int(e), int(s), _activation(activation), se == "1", int(side))

    @property
    def inner_channels(self) -> int:
        """Channels between the two point-wise convolutions."""
        return self.in_channels if self.expand == 1 else divisible(self.in_channels * self.expand)

    @property
    def squeeze_channels(self) -> int:
        """Channels inside the squeeze-excite."""
        return divisible(self.inner_channels // 4)

    @property
    def residual(self) -> bool:
        """Whether the input is added to the output."""
        return self.stride == 1 and self.in_channels == self.out_channels

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(in_channels, side, side)."""
        return self.in_channels, self.resolution, self.resolution

    @property
    def output_shape(self) -> tuple[int, ...]:
        """(out_channels, side, side)."""
        side = output_side(self.resolution, self.kernel, self.stride)
        return self.out_channels, side, side

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        inner, area = self.inner_channels, self.output_shape[1] ** 2
        expand = self.in_channels * inner * self.resolution**2 if self.expand != 1 else 0
        squeeze = 2 * inner * self.squeeze_channels if self.squeeze_excite else 0
        return expand + inner * self.kernel**2 * area + squeeze + inner * self.out_channels * area

    @property
    def params(self) -> int:
        """Weights, biases (squeeze-excite only) and batch-norm parameters."""
        inner, squeezed = self.inner_channels, self.squeeze_channels
        expand = self.in_channels * inner + 2 * inner if self.expand != 1 else 0
        squeeze = 2 * inner * squeezed + inner + squeezed if self.squeeze_excite else 0
        project = inner * self.out_channels + 2 * self.out_channels
        return expand + inner * self.kernel**2 + 2 * inner + squeeze + project


@dataclass(frozen=True)
class HeadSpec(BlockSpec):
    """1x1 convolution + batch-norm, global average, 1x1 feature mix without batch-norm, classifier.

    >>> HeadSpec(192, 1152, 1536, 1000, "hswish", 7).key
    'head-i192-m1152-f1536-o1000-hswish@7'
    """

    kind: ClassVar[str] = "head"

    in_channels: int
    mid_channels: int
    features: int
    classes: int
    activation: Activation
    resolution: int

    @property
    def key(self) -> str:
        """For example `head-i192-m1152-f1536-o1000-hswish@7`."""
        return (
            f"head-i{self.in_channels}-m{self.mid_channels}-f{self.features}-o{self.classes}"
            f"-{self.activation}@{self.resolution}"
        )

    @classmethod
    def from_key(cls, key: str) -> Self:
        """Read a key of this kind back, or raise `BlockKeyError`."""
        i, m, f, o, activation, side = _fields(_HEAD, key)
        return cls(int(i), int(m), int(f), int(o), _activation(activation), int(side))

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(in_channels, side, side)."""
        return self.in_channels, self.resolution, self.resolution

    @property
    def output_shape(self) -> tuple[int, ...]:
        """(classes,)."""
        return (self.classes,)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        spatial = self.in_channels * self.mid_channels * self.resolution**2
        return spatial + self.mid_channels * self.features + self.features * self.classes

    @property
    def params(self) -> int:
        """Weights, the classifier's bias and the batch-norm of the first convolution."""
        expand = self.in_channels * self.mid_channels + 2 * self.mid_channels
        return expand + self.mid_channels * self.features + self.features * self.classes + self.classes


def _activation(text: str) -> Activation:
    return "relu" if text == "relu" else "hswish"


KINDS: dict[str, type[BlockSpec]] = {spec.kind: spec for spec in (ConvSpec, MBConvSpec, HeadSpec)}


def parse_block(key: str) -> BlockSpec:
    """The spec whose canonical key is `key`; raises `BlockKeyError` for any other string."""
    kind = KINDS.get(key.partition("-")[0])
    if kind is None:
        raise BlockKeyError(f"{quoted(key, 120)} is not a block key; kinds of block are {', '.join(KINDS)}")
    return kind.from_key(key)
