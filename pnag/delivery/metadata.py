"""What an exported file says about itself: written into the file's own metadata, and read back.

The description is one JSON document. Where each format keeps it:

    .tflite  the metadata entry `pnag` of the flatbuffer; class names also as `labels.txt`, one a line, in a zip
             archive behind the model, where TFLite keeps associated files; normalisation and labels also in TFLite's
             own model metadata
    .onnx    the model property `pnag`; normalisation and labels also in the usual properties
    .pt2     the extra file `pnag.json`
    .json    the document itself
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pnag.data import imagenet
from pnag.delivery.files.model_metadata import LABELS_FILE, TFLITE_ENTRY, onnx_properties, tflite_model_metadata
from pnag.errors import ModelFileError
from pnag.space.architecture import Architecture
from pnag.space.search_space import SearchSpace
from profiler.build.tflite.file import IDENTIFIER, pack, unpack

ENTRY = "pnag"
PT2_ENTRY = "pnag.json"
SCHEMA_VERSION = 1
_MOST_BYTES = 16 << 20  # of a description in a .pt2 file, unpacked


def describe_network(
    architecture: Architecture,
    space: SearchSpace,
    *,
    trained: bool,
    labels: Sequence[str] | None = None,
    mean: Sequence[float] = imagenet.MEAN,
    std: Sequence[float] = imagenet.STD,
    budget_ms: float | None = None,
    cost_ms: float | None = None,
    device: str | None = None,
    accuracy: float | None = None,
    accuracy_source: str | None = None,
    ranking: Mapping[str, Any] | None = None,
    finetuning: Mapping[str, Any] | None = None,
    hashes: Mapping[str, str | None] | None = None,
    runtime: Mapping[str, Any] | None = None,
    data: str | None = None,
    license: str | None = None,
) -> dict[str, Any]:
    """The description of a network, as `export_network` takes it: JSON values, units in the keys.

    `accuracy` (0 to 1) is that of these weights, None where it was not measured; it goes with `accuracy_source`, for
    instance "measured on digits test". `ranking` is the figure by which the network was chosen among others, and what
    it is of: never an accuracy of the file. `finetuning` is the report of a network that was trained by itself.
    `hashes` are SHA-256 by what they are of: table, archive, supernet, generator. `runtime` is what the table was
    measured with (name, version, precision, threads), `data` the images that the weights were trained on, `license`
    that of the weights; None where it is not known. Raises `ModelFileError` if
    the labels are not as many as the space's classes.
    """
    if labels is not None and len(labels) != space.classes:
        raise ModelFileError(f"{len(labels)} labels for {space.classes} classes; give one name a class, or none")
    tuned = finetuning is not None and finetuning["delivered"]
    return {
        "schema_version": SCHEMA_VERSION,
        "architecture": str(architecture),
        "space": space.to_dict(),
        "weights": "finetuned" if tuned else "trained" if trained else "untrained",
        "budget_ms": budget_ms,
        "cost_ms": cost_ms,
        "device": device,
        "runtime": None if runtime is None else dict(runtime),
        "data": data,
        "license": license,
        "accuracy": accuracy,
        "accuracy_source": accuracy_source,
        "ranking": None if ranking is None else dict(ranking),
        "finetuning": None if finetuning is None else dict(finetuning),
        "labels": None if labels is None else list(labels),
        "input": {
            "height": space.resolution,
            "width": space.resolution,
            "channels": "RGB",
            "mean": list(mean),
            "std": list(std),
        },
        "sha256": {what: digest for what, digest in (hashes or {}).items() if digest},
    }


def to_text(metadata: Mapping[str, Any]) -> str:
    """The document as it is written. Raises `ModelFileError` for values that JSON does not know."""
    try:
        return json.dumps(metadata, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"the description of a network is not JSON ({error}); use plain, finite values") from error


def read_metadata(path: str | Path) -> dict[str, Any]:
    """The description in a `.tflite`, `.onnx`, `.pt2` or `.json` file, without running or loading the network.

    Raises `ModelFileError` for another suffix, an unreadable file, or one without a description.
    """
    path = Path(path)
    reader = _READERS.get(path.suffix)
    if reader is None:
        raise ModelFileError(f"'{path.name}' is no exported network; they end in {', '.join(_READERS)}")
    try:
        text = reader(path)
        document = None if text is None else json.loads(text)
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror or error}; check the path") from error
    except Exception as error:  # each format's parser has errors of its own, down to struct.error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelFileError(f"{path} is damaged or not a {path.suffix} file ({reason}); export it again") from error
    if not isinstance(document, dict) or "architecture" not in document:
        raise ModelFileError(f"{path} does not describe a network; it was not written by pnag-generate --export")
    return document


# -- .tflite ----------------------------------------------------------------------------------------------


def describe_tflite(model: bytes, about: Mapping[str, Any], labels: Sequence[str] | None) -> bytes:
    """A `.tflite` file with the description as a metadata entry, in place of another one, and the labels behind it."""
    from ai_edge_litert import schema_py_generated as schema

    root = unpack(model)
    contents = {ENTRY: to_text(about).encode()}
    if "input" in about:
        contents[TFLITE_ENTRY] = tflite_model_metadata(about, associated=labels is not None)
    root.metadata = [kept for kept in root.metadata or [] if kept.name.decode() not in contents]
    for name, content in contents.items():
        buffer, entry = schema.BufferT(), schema.MetadataT()
        buffer.data = np.frombuffer(content, np.uint8)
        entry.name, entry.buffer = name, len(root.buffers)
        root.buffers.append(buffer)
        root.metadata.append(entry)
    packed = pack(root, len(model) + sum(map(len, contents.values())) + 4096)
    return packed if labels is None else packed + _labels_archive(labels, len(packed))


def _labels_archive(labels: Sequence[str], offset: int) -> bytes:
    """A zip archive to be put `offset` bytes into a file; it says so itself, as `zip -A` would."""
    file = io.BytesIO()
    file.seek(offset)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo(LABELS_FILE, (1980, 1, 1, 0, 0, 0)), "".join(f"{label}\n" for label in labels))
    return file.getvalue()[offset:]


def _read_tflite(path: Path) -> str | None:
    from ai_edge_litert import schema_py_generated as schema

    content = path.read_bytes()
    if content[4:8] != IDENTIFIER:
        raise ValueError("it lacks the identifier TFL3")
    model = schema.Model.GetRootAs(content, 0)
    for index in range(model.MetadataLength()):
        entry = model.Metadata(index)
        if entry.Name() == ENTRY.encode():
            return bytes(model.Buffers(entry.Buffer()).DataAsNumpy()).decode()
    return None


# -- the others -------------------------------------------------------------------------------------------


def describe_onnx(model: bytes, about: Mapping[str, Any]) -> bytes:
    """An `.onnx` file with the description as a model property, and the usual ones."""
    import onnx

    proto = onnx.load_from_string(model)
    usual = onnx_properties(about) if "input" in about else {}
    onnx.helper.set_model_props(proto, {ENTRY: to_text(about), **usual})
    content: bytes = proto.SerializeToString()
    return content


def _read_onnx(path: Path) -> str | None:
    import onnx

    properties = onnx.load(str(path), load_external_data=False).metadata_props
    return next((entry.value for entry in properties if entry.key == ENTRY), None)


def _read_pt2(path: Path) -> str | None:
    with zipfile.ZipFile(path) as archive:  # torch keeps extra files under different folders in different versions
        name = next((name for name in archive.namelist() if name.rpartition("/")[2] == PT2_ENTRY), None)
        if name is None:
            return None
        with archive.open(name) as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ValueError("its description is too long")
        return content.decode()


def _read_json(path: Path) -> str | None:
    return path.read_text(encoding="utf-8")


_READERS: Mapping[str, Callable[[Path], str | None]] = {
    ".tflite": _read_tflite,
    ".onnx": _read_onnx,
    ".pt2": _read_pt2,
    ".json": _read_json,
}
