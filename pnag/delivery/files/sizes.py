"""How large a model file will be, before it is made: weights, and what a format adds for each channel, block and file.

Batch-norms are folded into the convolutions in the formats that runtimes read, so that a channel keeps one number of
the two; `.pt2` keeps both, and the running statistics. What a format adds is an allowance, meant to be too large rather
than too small: of the exported networks in benchmarks/results/export_parity.md, predictions are 0.4 to 1.4 % above the
files in float32, 4.6 to 6.1 % in 8 bits. Those files name no classes, for which there is an allowance too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lut.blocks import BlockSpec, ConvSpec, HeadSpec, MBConvSpec
from pnag.space.cost import CostModel
from pnag.space.search_space import SearchSpace

_CHANNEL_NAMES_BYTES = 96  # of a class in the description and the list of labels, which is an allowance


@dataclass(frozen=True)
class FileForm:
    """Bytes of a format: of a weight, of an output channel beside its weights, of a block, of a file."""

    weight: float
    channel: float
    block: float
    file: float


FORMS: Mapping[tuple[str, str], FileForm] = {
    (".tflite", "float32"): FileForm(4, 4, 8192, 65536),
    (".tflite", "dynamic-int8"): FileForm(1, 24, 8192, 65536),
    (".tflite", "int8"): FileForm(1, 32, 8192, 65536),
    (".onnx", "float32"): FileForm(4, 4, 8192, 65536),
    (".onnx", "dynamic-int8"): FileForm(1, 16, 16384, 65536),
    (".onnx", "int8"): FileForm(1, 16, 32768, 65536),
    (".pt2", "float32"): FileForm(4, 20, 32768, 524288),
}


def file_sizes(space: SearchSpace, suffix: str, precision: str) -> CostModel:
    """Bytes at most of the files of a format for networks of a space, in place of milliseconds.

    A format that has no such precision is in float32, as its files are.
    """
    form = FORMS.get((suffix, precision)) or FORMS[suffix, "float32"]
    base = form.file + _CHANNEL_NAMES_BYTES * space.classes

    def of_block(block: BlockSpec) -> float:
        weights, channels = weights_of(block)
        shared = base if isinstance(block, HeadSpec) else 0.0
        return form.weight * weights + form.channel * channels + form.block + shared

    return space.sum_over_blocks(of_block)


def weights_of(block: BlockSpec) -> tuple[int, int]:
    """Weights of a block's convolutions and linear layers, and their output channels: each has one number more."""
    if isinstance(block, ConvSpec):
        return block.in_channels * block.out_channels * block.kernel**2, block.out_channels
    if isinstance(block, MBConvSpec):
        inner, squeezed = block.inner_channels, block.squeeze_channels
        expand = (block.in_channels * inner, inner) if block.expand != 1 else (0, 0)
        squeeze = (2 * inner * squeezed, inner + squeezed) if block.squeeze_excite else (0, 0)
        weights = expand[0] + inner * block.kernel**2 + squeeze[0] + inner * block.out_channels
        return weights, expand[1] + inner + squeeze[1] + block.out_channels
    if isinstance(block, HeadSpec):
        weights = block.in_channels * block.mid_channels + block.mid_channels * block.features
        return weights + block.features * block.classes, block.mid_channels + block.features + block.classes
    raise TypeError(f"no weights are known of a {type(block).__name__}")
