"""The graph inside a `.tflite` file: operators by name, constants by value, and what shapes follow from others."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiler.errors import TemplateError

Shape = tuple[int, ...]
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")  # operators with inputs (data, weights, bias)
_SAME = 0  # the schema's Padding.SAME; VALID is 1
_DTYPES: Mapping[int, np.dtype[Any]] = {
    0: np.dtype(np.float32),
    2: np.dtype(np.int32),
    9: np.dtype(np.int8),
}  # of the schema's TensorType


def graph_of(model: Any) -> Any:
    """The only subgraph of a `ModelT`. Raises `TemplateError` where there are several."""
    if len(model.subgraphs) != 1:
        raise TemplateError(f"the file has {len(model.subgraphs)} graphs, not one; convert it whole")
    return model.subgraphs[0]


def name_of(model: Any, operator: Any) -> str:
    """The operator's name in TFLite's schema, for instance `CONV_2D`."""
    return _names().get(model.operatorCodes[operator.opcodeIndex].builtinCode, "CUSTOM")


def _names() -> Mapping[int, str]:
    from ai_edge_litert import schema_py_generated as schema

    return {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}


def shape_of(tensor: Any) -> Shape:
    """A tensor's shape; () for a scalar."""
    return tuple(int(side) for side in tensor.shape) if tensor.shape is not None else ()


def constant(model: Any, tensor: Any) -> NDArray[Any] | None:
    """A tensor's value as the file has it; None for one that is computed. Raises `TemplateError` for unknown types."""
    data = model.buffers[tensor.buffer].data
    if data is None or not len(data):
        return None
    if tensor.type not in _DTYPES:
        raise TemplateError(f"constants of TensorType {tensor.type} are not known here; convert the network whole")
    values: NDArray[Any] = np.asarray(data, np.uint8).view(_DTYPES[tensor.type]).reshape(shape_of(tensor))
    return values


def set_constant(model: Any, tensor: Any, values: NDArray[Any]) -> None:
    """Give a constant tensor another value; its shape follows. The buffer must not be another tensor's too."""
    tensor.shape = list(values.shape)
    model.buffers[tensor.buffer].data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)


# -- shapes ---------------------------------------------------------------------------------------------------

_Inputs = list[tuple[Shape, NDArray[Any] | None]]


def output_shape(model: Any, operator: Any) -> Shape:
    """The shape of an operator's one output, from its inputs'. Raises `TemplateError` for an unknown operator."""
    tensors = graph_of(model).tensors
    inputs = [(shape_of(tensors[index]), constant(model, tensors[index])) for index in operator.inputs]
    name = name_of(model, operator)
    rule = _RULES.get(name)
    if rule is None:
        raise TemplateError(f"the converter used {name}, whose shapes are not known here")
    return rule(inputs, operator.builtinOptions)


def _like_input(inputs: _Inputs, options: Any) -> Shape:
    return inputs[0][0]


def _broadcast(inputs: _Inputs, options: Any) -> Shape:
    return tuple(np.broadcast_shapes(*(shape for shape, _ in inputs)))


def _padded(inputs: _Inputs, options: Any) -> Shape:
    (shape, _), (_, paddings) = inputs
    if paddings is None:
        raise TemplateError("the converter computes paddings")
    return tuple(side + int(sum(both)) for side, both in zip(shape, paddings, strict=True))


def _sides(inputs: _Inputs, options: Any) -> tuple[int, int, int]:
    """Batch, height and width of a convolution's output."""
    (batch, *sides, _), weights = inputs[0][0], inputs[1][0]
    if (options.dilationHFactor, options.dilationWFactor) != (1, 1):
        raise TemplateError("the converter used dilation")
    reach = (0, 0) if options.padding == _SAME else (weights[1] - 1, weights[2] - 1)
    height, width = (
        -(-(side - less) // stride)
        for side, less, stride in zip(sides, reach, (options.strideH, options.strideW), strict=True)
    )
    return batch, height, width


def _depthwise(inputs: _Inputs, options: Any) -> Shape:
    return (*_sides(inputs, options), inputs[1][0][3])


def _dense_convolved(inputs: _Inputs, options: Any) -> Shape:
    return (*_sides(inputs, options), inputs[1][0][0])


def _mean(inputs: _Inputs, options: Any) -> Shape:
    (shape, _), (_, axes) = inputs
    if axes is None or not options.keepDims:
        raise TemplateError("the converter used a mean that is not known here")
    gone = {int(axis) % len(shape) for axis in axes.ravel()}
    return tuple(1 if axis in gone else side for axis, side in enumerate(shape))


def _fully_connected(inputs: _Inputs, options: Any) -> Shape:
    units, features = inputs[1][0]
    if options.keepNumDims:
        raise TemplateError("the converter used a fully connected layer that keeps dimensions")
    return int(np.prod(inputs[0][0])) // features, units


_RULES: Mapping[str, Callable[[_Inputs, Any], Shape]] = {
    "ADD": _broadcast,
    "CONV_2D": _dense_convolved,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _fully_connected,
    "HARD_SWISH": _like_input,
    "MEAN": _mean,
    "MUL": _broadcast,
    "PAD": _padded,
}


# -- what two files have in common ------------------------------------------------------------------------------


def operations(model: Any, *, values: bool = True) -> list[tuple[Any, ...]]:
    """What a file computes, independent of names and of the order of its tensors: one tuple an operator, in order.

    Name, version, options, inputs and outputs. A computed tensor is its number in order of appearance with
    type, shape and quantisation; a constant has the digest of its content instead of a number, or none without
    `values`. Two files with equal lists do the same, operator by operator.
    """
    graph = graph_of(model)
    numbers: dict[int, int] = {}

    def described(index: int) -> tuple[Any, ...]:
        if index < 0:
            return ()
        tensor = graph.tensors[index]
        data = model.buffers[tensor.buffer].data
        about = (tensor.type, shape_of(tensor), _quantisation(tensor.quantization))
        if data is None or not len(data):
            return numbers.setdefault(index, len(numbers)), *about
        return hashlib.sha256(np.asarray(data).tobytes()).hexdigest() if values else "constant", *about

    listed: list[tuple[Any, ...]] = [("inputs", *map(described, graph.inputs))]
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        options = sorted(vars(operator.builtinOptions).items()) if operator.builtinOptions is not None else []
        ends = tuple(map(described, operator.inputs)), tuple(map(described, operator.outputs))
        listed.append((name_of(model, operator), code.version, tuple(options), *ends))
    return [*listed, ("outputs", *map(described, graph.outputs))]


def _quantisation(found: Any) -> tuple[Any, ...]:
    if found is None or found.scale is None:
        return ()
    zeros = () if found.zeroPoint is None else tuple(map(int, found.zeroPoint))
    return tuple(map(float, found.scale)), zeros, int(found.quantizedDimension)
