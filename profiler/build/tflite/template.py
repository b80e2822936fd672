"""Files of blocks that differ in sizes and weights only, made from one that the converter wrote.

Converting takes seconds, since every operator is traced, lowered and optimised. The result depends on little: the
kind of block, its activation, stride and squeeze-excite, and whether a few sides are even or one pixel (`pattern`).
A `Template` is the converter's file of a small block of such a kind, with the knowledge which constant is which
layer's weight. It is accepted only if filling in that same block gives the converter's file bit by bit.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from devices.folding import fold_batch_norm
from lut.blocks import BlockSpec, ConvSpec, HeadSpec, MBConvSpec
from profiler.build.tflite.file import pack, unpack
from profiler.build.tflite.graph import WEIGHTED, constant, graph_of, name_of, output_shape, set_constant
from profiler.errors import TemplateError

Array = NDArray[np.float32]
Layer = nn.Conv2d | nn.Linear
_BIAS_SHIFTS = (0.0, 3.0)  # hard-sigmoid(x) is relu6(x + 3) / 6, and the converter adds 3 to the bias before it
_EVEN, _ODD = 8, 7  # sides of patterns
_LEAST_CHANNELS = 2  # convolutions of a single channel may become other operators


def pattern(spec: BlockSpec) -> BlockSpec | None:
    """The small block that the converter turns into the same operators as `spec`; None where that is not known.

    With an odd side, TFLite's own padding for stride 2 is that of torch and no PAD is needed. The mean of a
    single pixel is left out.
    """
    match spec:
        case ConvSpec() if _is_usual(spec.kernel, spec.stride, spec.in_channels, spec.out_channels):
            side = _pattern_side(spec.resolution, spec.stride)
            return replace(spec, in_channels=3, out_channels=16, kernel=3, resolution=side)
        case MBConvSpec() if _is_usual(spec.kernel, spec.stride, spec.in_channels, spec.squeeze_channels):
            out, expand = 8 if spec.residual else 16, 1 if spec.expand == 1 else 4
            side = _pattern_side(spec.resolution, spec.stride)
            return replace(spec, in_channels=8, out_channels=out, kernel=3, expand=expand, resolution=side)
        case HeadSpec() if min(spec.in_channels, spec.mid_channels, spec.features, spec.classes) >= _LEAST_CHANNELS:
            side = _pattern_side(spec.resolution, 1)
            return HeadSpec(8, 32, 16, 10, spec.activation, side)
        case _:
            return None


def _is_usual(kernel: int, stride: int, *channels: int) -> bool:
    return kernel % 2 == 1 and kernel >= 3 and stride in (1, 2) and min(channels) >= _LEAST_CHANNELS


def _pattern_side(side: int, stride: int) -> int:
    if side <= stride:  # one pixel at the end
        return side
    return _ODD if stride == 2 and side % 2 else _EVEN


def layers_of(module: nn.Module) -> tuple[Layer, ...]:
    """Convolutions and linear layers in order, each with the batch-norm behind it taken in."""
    return tuple(layer for layer in fold_batch_norm(module).modules() if isinstance(layer, nn.Conv2d | nn.Linear))


@dataclass(frozen=True)
class Template:
    """A converted block, as a `ModelT`, and its layers' operators. Make it with `learn`, use it with `fill`."""

    model: Any
    bias_shifts: tuple[float, ...]

    @classmethod
    def learn(cls, content: bytes, module: nn.Module) -> Template:
        """From the converter's file of `module`. Raises `TemplateError` if `fill` cannot make that file again."""
        try:
            model = unpack(content)
        except Exception as error:  # the parser has no errors of its own, down to struct.error
            raise TemplateError(f"the file of a template is damaged ({type(error).__name__})") from error
        layers, found = layers_of(module), [biases for _, biases in _weighted(model)]
        if len(layers) != len(found):
            raise TemplateError(f"the converter made {len(found)} operators with weights of {len(layers)} layers")
        shifts = tuple(_shift(layer, biases) for layer, biases in zip(layers, found, strict=True))
        template = cls(model, shifts)
        shape = graph_of(model).tensors[graph_of(model).inputs[0]].shape
        if pack(template.fill(layers, shape)) != pack(model):
            raise TemplateError("the converter's file holds something else than the layers' weights")
        return template

    def fill(self, layers: Sequence[Layer], input_shape: Sequence[int]) -> Any:
        """The `ModelT` of a block with these layers for inputs of `input_shape` (B, H, W, C)."""
        model = copy.deepcopy(self.model)
        graph = graph_of(model)
        graph.tensors[graph.inputs[0]].shape = list(input_shape)
        todo = iter(zip(layers, self.bias_shifts, strict=True))
        for number, operator in enumerate(graph.operators):
            name = name_of(model, operator)
            if name in WEIGHTED:
                layer, shift = next(todo)
                weights, biases = (graph.tensors[index] for index in operator.inputs[1:])
                set_constant(model, weights, _weights(layer, name))
                set_constant(model, biases, _biases(layer, shift))
                _check_stride(layer, operator)
            elif name == "PAD":
                padded = layers[sum(name_of(model, other) in WEIGHTED for other in graph.operators[:number])]
                set_constant(model, graph.tensors[operator.inputs[1]], _paddings(padded))
            (output,) = operator.outputs
            graph.tensors[output].shape = list(output_shape(model, operator))
        return model


def _weighted(model: Any) -> Iterator[tuple[Any, Array]]:
    """Operators with weights, in order, and their biases."""
    graph = graph_of(model)
    for operator in graph.operators:
        if name_of(model, operator) not in WEIGHTED:
            continue
        biases = constant(model, graph.tensors[operator.inputs[2]]) if len(operator.inputs) == 3 else None
        if biases is None:
            raise TemplateError("the converter left out a bias")
        yield operator, biases


def _shift(layer: Layer, found: Array) -> float:
    for shift in _BIAS_SHIFTS:
        if np.array_equal(_biases(layer, shift), found):
            return shift
    raise TemplateError("the converter changed a bias by more than is known here")


def _weights(layer: Layer, name: str) -> Array:
    values = layer.weight.detach()
    if name == "CONV_2D":
        values = values.permute(0, 2, 3, 1)  # (out, in, k, k) -> (out, k, k, in)
    elif name == "DEPTHWISE_CONV_2D":
        values = values.permute(1, 2, 3, 0)  # (channels, 1, k, k) -> (1, k, k, channels)
    array: Array = values.contiguous().numpy()
    return array


def _biases(layer: Layer, shift: float) -> Array:
    if layer.bias is None:
        return np.full(layer.weight.shape[0], shift, np.float32)
    array: Array = layer.bias.detach().numpy() + np.float32(shift)
    return array


def _paddings(layer: Layer) -> NDArray[np.int32]:
    if not isinstance(layer, nn.Conv2d):
        raise TemplateError("the converter pads before a layer that is no convolution")
    height, width = (int(side) for side in layer.padding)
    return np.array([(0, 0), (height, height), (width, width), (0, 0)], np.int32)


def _check_stride(layer: Layer, operator: Any) -> None:
    options = operator.builtinOptions
    if isinstance(layer, nn.Conv2d) and layer.stride != (options.strideH, options.strideW):
        raise TemplateError(f"a layer has stride {layer.stride}, its template {options.strideH, options.strideW}")
