"""One `.tflite` file out of those of its parts in order, as the converter would have written the whole."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from profiler.build.tflite.graph import graph_of, shape_of
from profiler.errors import TemplateError

_RUNTIME_ENTRY = b"min_runtime_version"  # the metadata that differs between parts


def compose(parts: Sequence[Any]) -> Any:
    """The `ModelT` of a chain: each part (a `ModelT` with one input and one output) takes what the former gives.

    Equal constants are kept once, as the converter does. Signature and metadata are those of the first part,
    with the last one's output; the oldest runtime that will do is the newest that a part needs. The parts stay
    as they are, but share their constants' data with the result. Raises `TemplateError` for parts that do not fit.
    """
    if not parts:
        raise TemplateError("a chain of no parts has no file")
    joint = _Joint(copy.deepcopy(_without_constants(parts[0])))
    for number, part in enumerate(parts):
        joint.append(part, number, last=number == len(parts) - 1)
    return joint.finished(parts)


def _without_constants(model: Any) -> Any:
    """The frame of a model: no graph, no constants."""
    frame = copy.copy(model)
    graph = copy.copy(graph_of(model))
    graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [], []
    frame.subgraphs, frame.operatorCodes, frame.metadata = [graph], [], []
    frame.buffers = model.buffers[:1]  # the first one is empty and stands for none
    return frame


class _Joint:
    """The model that grows, and where its things are."""

    def __init__(self, model: Any) -> None:
        self.model, self.graph = model, graph_of(model)
        self._codes: dict[tuple[Any, ...], int] = {}
        self._constants: dict[tuple[Any, ...], int] = {}
        self._end = -1  # the tensor that the next part takes

    def append(self, part: Any, number: int, *, last: bool) -> None:
        """Add a part's operators, tensors and constants."""
        graph = graph_of(part)
        if len(graph.inputs) != 1 or len(graph.outputs) != 1:
            raise TemplateError("a part of a chain has one input and one output")
        places: dict[int, int] = {-1: -1}  # of an optional input that is left out
        for index, tensor in enumerate(graph.tensors):
            if index == graph.inputs[0] and number:
                self._check_fit(tensor)
                places[index] = self._end
            else:
                keeps_name = (index == graph.inputs[0]) or (last and index == graph.outputs[0])
                places[index] = self._tensor(part, tensor, "" if keeps_name else f"{number}/")
        for operator in graph.operators:
            added = copy.copy(operator)
            added.opcodeIndex = self._code(part.operatorCodes[operator.opcodeIndex])
            added.inputs = [places[int(index)] for index in operator.inputs]
            added.outputs = [places[int(index)] for index in operator.outputs]
            self.graph.operators.append(added)
        if not number:
            self.graph.inputs = [places[int(graph.inputs[0])]]
        self._end = places[int(graph.outputs[0])]

    def _check_fit(self, tensor: Any) -> None:
        given = self.graph.tensors[self._end]
        if (shape_of(given), given.type) != (shape_of(tensor), tensor.type):
            raise TemplateError(f"a part gives {shape_of(given)} where the next takes {shape_of(tensor)}")

    def _tensor(self, part: Any, tensor: Any, prefix: str) -> int:
        data = part.buffers[tensor.buffer].data
        is_constant = data is not None and len(data) > 0
        key = (tensor.type, shape_of(tensor), np.asarray(data).tobytes()) if is_constant else ()
        if is_constant and key in self._constants:
            return self._constants[key]
        added = copy.copy(tensor)
        added.name = prefix.encode() + tensor.name  # names of blocks repeat, and quantisers go by name
        added.buffer = len(self.model.buffers)
        self.model.buffers.append(copy.copy(part.buffers[tensor.buffer]))
        self.graph.tensors.append(added)
        place = len(self.graph.tensors) - 1
        if is_constant:
            self._constants[key] = place
        return place

    def _code(self, code: Any) -> int:
        key = (code.builtinCode, code.version, code.customCode)
        if key not in self._codes:
            self._codes[key] = len(self.model.operatorCodes)
            self.model.operatorCodes.append(copy.copy(code))
        return self._codes[key]

    def finished(self, parts: Sequence[Any]) -> Any:
        """The whole model, its entry and metadata set."""
        self.graph.outputs = [self._end]
        for signature in self.model.signatureDefs or []:
            signature.inputs[0].tensorIndex, signature.outputs[0].tensorIndex = self.graph.inputs[0], self._end
        newest = max(parts, key=_oldest_runtime)
        for entry in newest.metadata or []:
            added = copy.copy(entry)
            added.buffer = len(self.model.buffers)
            self.model.buffers.append(copy.copy(newest.buffers[entry.buffer]))
            self.model.metadata.append(added)
        return self.model


def _oldest_runtime(model: Any) -> tuple[int, ...]:
    """The version of TFLite that a file asks for; () where it says none."""
    for entry in model.metadata or []:
        if entry.name == _RUNTIME_ENTRY:
            text = bytes(np.asarray(model.buffers[entry.buffer].data, np.uint8)).rstrip(b"\0").decode()
            return tuple(int(number) for number in text.split(".") if number.isdigit())
    return ()
