"""What other programs look for in a model file: TFLite's model metadata, and the usual properties of ONNX files.

TFLite keeps a second flatbuffer, with the identifier `M001`, in the metadata entry `TFLITE_METADATA`. MediaPipe's
image classifier, Android's ML model binding and the TFLite support library take an image's normalisation, its colour
space and the names of classes from it. Source of the layout: MediaPipe, `metadata_schema.fbs`, schema 1.5.0; slots are
counted from 0 in the order of a table's fields, and a union takes two, first its type.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LABELS_FILE = "labels.txt"
TFLITE_ENTRY = "TFLITE_METADATA"
_IDENTIFIER = b"M001"
_PARSER = "1.0.0"  # what is written has been in the schema since then
_AXIS_LABELS = 2  # AssociatedFileType.TENSOR_AXIS_LABELS
_RGB = 1  # ColorSpaceType.RGB
_IMAGE, _NORMALISATION = 2, 1  # in the unions ContentProperties and ProcessUnitOptions
_WHITE = 255.0


@dataclass(frozen=True)
class _Byte:
    value: int


@dataclass(frozen=True)
class _Table:
    """A table of a flatbuffer: values by slot. Lists are of floats or of tables; numbers are 32 bits, unsigned."""

    slots: Mapping[int, str | int | _Byte | _Table | Sequence[float] | Sequence[_Table]]


def tflite_model_metadata(about: Mapping[str, Any], *, associated: bool) -> bytes:
    """The flatbuffer of a network described as `describe_network` does it.

    `associated` says whether the names of the classes lie behind the model, in `LABELS_FILE`.
    """
    import flatbuffers

    labels = [_Table({0: LABELS_FILE, 1: "the classes, one a line", 2: _Byte(_AXIS_LABELS)})]
    scores = {0: "logits", 1: "A score for each class before softmax: the highest is the answer."}
    output = _Table({**scores, **({6: labels} if associated else {})})
    graph = _Table({2: [_input(about["input"])], 3: [output]})
    model = _Table(
        {
            0: "image classifier",
            1: f"pnag network {about['architecture']}; weights: {about['weights']}",
            2: str(about["schema_version"]),
            3: [graph],
            5: str(about.get("license") or "unknown"),
            7: _PARSER,
        }
    )
    builder = flatbuffers.Builder(1024)
    builder.Finish(_put(builder, model), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def _input(image: Mapping[str, Any]) -> _Table:
    """The image tensor; mean and deviation are of values from 0 to 255 there, of 0 to 1 in our description.

    Where all channels have the same, one value stands for them: MediaPipe takes no others.
    """
    mean, std = ([_WHITE * value for value in image[name]] for name in ("mean", "std"))
    if len(set(zip(mean, std, strict=True))) == 1:
        mean, std = mean[:1], std[:1]
    size = _Table({0: image["width"], 1: image["height"]})
    content = _Table({0: _Byte(_IMAGE), 1: _Table({0: _Byte(_RGB), 1: size})})
    normalisation = _Table({0: _Byte(_NORMALISATION), 1: _Table({0: mean, 1: std})})
    lowest, highest = ([(end - m) / s for m, s in zip(mean, std, strict=True)] for end in (0.0, _WHITE))
    return _Table({0: "image", 1: "An RGB image.", 3: content, 4: [normalisation], 5: _Table({0: highest, 1: lowest})})


def _put(builder: Any, table: _Table) -> int:
    """Write a table, what it refers to first; its offset."""
    offsets = {
        slot: _child(builder, value) for slot, value in table.slots.items() if not isinstance(value, int | _Byte)
    }
    builder.StartObject(max(table.slots) + 1)
    for slot, value in table.slots.items():
        if isinstance(value, _Byte):
            builder.PrependByteSlot(slot, value.value, 0)
        elif isinstance(value, int):
            builder.PrependUint32Slot(slot, value, 0)
        else:
            builder.PrependUOffsetTRelativeSlot(slot, offsets[slot], 0)
    offset: int = builder.EndObject()
    return offset


def _child(builder: Any, value: str | _Table | Sequence[float] | Sequence[_Table]) -> int:
    offset: int
    if isinstance(value, str):
        offset = builder.CreateString(value)
        return offset
    if isinstance(value, _Table):
        return _put(builder, value)
    tables = [_put(builder, item) for item in value if isinstance(item, _Table)]
    builder.StartVector(4, len(value), 4)
    for index in reversed(range(len(value))):
        if tables:
            builder.PrependUOffsetTRelative(tables[index])
        else:
            builder.PrependFloat32(value[index])
    offset = builder.EndVector()
    return offset


def onnx_properties(about: Mapping[str, Any]) -> dict[str, str]:
    """The model properties that programs look for in an ONNX file: those of its specification, and what many read.

    `Image.*` are the specification's; its nominal ranges of pixels know no mean and deviation, so none is set. `names`
    is an object from index to class, `imgsz` height and width, `mean` and `std` are of values from 0 to 1; all four as
    JSON.
    """
    image = about["input"]
    properties = {
        "Image.BitmapPixelFormat": "Rgb8",
        "Image.ColorSpaceGamma": "SRGB",
        "task": "classify",
        "imgsz": json.dumps([image["height"], image["width"]]),
        "mean": json.dumps(image["mean"]),
        "std": json.dumps(image["std"]),
    }
    if about.get("labels"):
        properties["names"] = json.dumps(dict(enumerate(about["labels"])), ensure_ascii=False)
    return properties
