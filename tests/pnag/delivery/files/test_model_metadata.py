"""What MediaPipe and others look for in a model file, read back by the numbers of its published schema."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from flatbuffers import encode, number_types, packer
from flatbuffers.table import Table

from pnag.delivery.files.model_metadata import onnx_properties, tflite_model_metadata
from pnag.delivery.metadata import describe_network
from pnag.space.spaces import load_space

SPACE = load_space("ofa-mbv3-w0.25", resolution=64, classes=3)
LABELS = ("Katze", "chien", "鳥")
MEAN, STD = (0.4, 0.5, 0.6), (0.1, 0.2, 0.25)


class Reader:
    """A table of a flatbuffer; slots count from 0."""

    def __init__(self, content: bytes, at: int) -> None:
        self._content, self._table = content, Table(content, at)

    @classmethod
    def of(cls, content: bytes) -> Reader:
        assert content[4:8] == b"M001"
        return cls(content, encode.Get(packer.uoffset, content, 0))

    def _place(self, slot: int) -> int:
        offset = self._table.Offset(4 + 2 * slot)
        return 0 if offset == 0 else self._table.Pos + offset

    def text(self, slot: int) -> str:
        place = self._place(slot)
        return self._table.String(place).decode() if place else ""

    def number(self, slot: int, flags: Any = number_types.Uint8Flags) -> int:
        place = self._place(slot)
        return self._table.Get(flags, place) if place else 0

    def table(self, slot: int) -> Reader:
        return Reader(self._content, self._table.Indirect(self._place(slot)))

    def tables(self, slot: int) -> list[Reader]:
        offset = self._place(slot) - self._table.Pos
        if offset < 0:
            return []
        start = self._table.Vector(offset)
        return [
            Reader(self._content, self._table.Indirect(start + 4 * i)) for i in range(self._table.VectorLen(offset))
        ]

    def floats(self, slot: int) -> list[float]:
        offset = self._place(slot) - self._table.Pos
        start, n = self._table.Vector(offset), self._table.VectorLen(offset)
        return np.frombuffer(self._content, "<f4", n, start).tolist()


def about(**changes: Any) -> dict[str, Any]:
    values = {"trained": True, "labels": LABELS, "mean": MEAN, "std": STD} | changes
    return json.loads(json.dumps(describe_network(SPACE.extremes()[0], SPACE, **values)))


def graph_of(content: bytes) -> Reader:
    (graph,) = Reader.of(content).tables(3)
    return graph


def test_an_image_goes_in_with_its_normalisation() -> None:
    (image,) = graph_of(tflite_model_metadata(about(), associated=True)).tables(2)
    assert image.text(0) == "image"
    content = image.table(3)
    assert content.number(0) == 2  # ImageProperties
    properties = content.table(1)
    assert properties.number(0) == 1  # RGB
    assert [properties.table(1).number(slot, number_types.Uint32Flags) for slot in (0, 1)] == [64, 64]
    (unit,) = image.tables(4)
    assert unit.number(0) == 1  # NormalizationOptions
    mean, std = unit.table(1).floats(0), unit.table(1).floats(1)
    assert mean == pytest.approx([255 * value for value in MEAN])
    assert std == pytest.approx([255 * value for value in STD])
    stats = image.table(5)
    assert stats.floats(0) == pytest.approx([(1 - m) / s for m, s in zip(MEAN, STD, strict=True)])
    assert stats.floats(1) == pytest.approx([-m / s for m, s in zip(MEAN, STD, strict=True)])


def test_one_value_stands_for_channels_that_are_alike() -> None:
    content = tflite_model_metadata(about(mean=(0.5,) * 3, std=(0.25,) * 3), associated=True)
    (image,) = graph_of(content).tables(2)
    (unit,) = image.tables(4)
    assert (unit.table(1).floats(0), unit.table(1).floats(1)) == ([127.5], [63.75])
    assert (image.table(5).floats(0), image.table(5).floats(1)) == ([2.0], [-2.0])


def test_scores_come_out_with_the_labels_behind_the_model() -> None:
    (scores,) = graph_of(tflite_model_metadata(about(), associated=True)).tables(3)
    (labels,) = scores.tables(6)
    assert labels.text(0) == "labels.txt"
    assert labels.number(2) == 2  # TENSOR_AXIS_LABELS


def test_without_names_no_file_is_promised() -> None:
    (scores,) = graph_of(tflite_model_metadata(about(labels=None), associated=False)).tables(3)
    assert scores.tables(6) == []


def test_the_model_says_what_it_is() -> None:
    model = Reader.of(tflite_model_metadata(about(trained=False), associated=True))
    assert model.text(0) == "image classifier"
    assert "weights: untrained" in model.text(1)
    assert model.text(7) == "1.0.0"


def test_an_onnx_file_has_the_usual_properties() -> None:
    properties = onnx_properties(about())
    assert json.loads(properties["names"]) == {"0": "Katze", "1": "chien", "2": "鳥"}
    assert json.loads(properties["imgsz"]) == [64, 64]
    assert json.loads(properties["mean"]) == list(MEAN)
    assert properties["Image.BitmapPixelFormat"] == "Rgb8"
    assert "names" not in onnx_properties(about(labels=None))
