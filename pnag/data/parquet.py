"""Parquet data sets in the layouts of the Hugging Face hub: which files, which columns, which labels."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lut.formats.parquet import arrow_source
from lut.words import class_name, printable
from pnag.data.decode import BadImageError, decode, quietly, require_images
from pnag.data.names import PART_NAMES, Tell, is_stray, one_of, part_of, shown
from pnag.data.split import Labels
from pnag.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

Pixels = NDArray[np.uint8]  # (n, 3, R, R)

_ROWS_AT_ONCE = 1024
_SHARD = re.compile(r"-(\d+)-of-(\d+)")
_LABEL_COLUMNS = ("label", "fine_label", "labels", "class", "class_id", "target", "targets", "category", "y")
_IMAGE_COLUMNS = ("image", "img")
_HIDDEN = -1


@dataclass(frozen=True)
class Columns:
    """Which columns hold images and labels, and the labels' names where the file tells them."""

    image: str
    label: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class ParquetPart:
    """One part: its files in order, what they hold, and its labels, which are read already."""

    name: str
    files: tuple[Path, ...]
    columns: Columns
    labels: Labels


# -- files --------------------------------------------------------------------------------------------------


def part_files(folder: Path) -> dict[str, tuple[Path, ...]]:
    """The files of each part (`train`, `val`, `test`) below `folder`, shards in order.

    A file's part is the first word for one in its own name, else in the name of its folder. Raises `DataError`
    where there is nothing to train or to test on, where several sets lie side by side, or a shard is missing.
    """
    if not folder.is_dir():
        raise DataError(f"no file train*.parquet, as {printable(folder)} is no folder; {_USAGE}")
    places: dict[str, dict[Path, list[Path]]] = {}
    files = sorted(path for path in folder.rglob("*.parquet") if not _is_stray(path, folder))
    for path in files:
        part, place = part_of(path.name), path.parent
        if part is None and path.parent != folder:
            part, place = part_of(path.parent.name), path.parent.parent
        if part is not None:
            places.setdefault(part, {}).setdefault(place, []).append(path)
    if "train" not in places or not places.keys() & {"test", "val"}:
        lacking = "train*.parquet" if "train" not in places else "test*.parquet or validation*.parquet"
        there = ", ".join(shown(path, folder) for path in files[:5]) or "no parquet file"
        raise DataError(f"no file {lacking} below {printable(folder)}, which has {there}; {_USAGE}")
    found = {}
    for part in (name for name in PART_NAMES if name in places):
        by_place = places[part]
        place = one_of(list(by_place), folder, f"the {part} part")
        found[part] = _in_order(by_place[place], folder)
    return found


_USAGE = (
    "a parquet data set is a folder with train*.parquet and test*.parquet "
    f"(or {PART_NAMES['val'][2]}*.parquet), shards such as train-00000-of-00002.parquet too"
)


def _is_stray(path: Path, folder: Path) -> bool:
    return any(is_stray(name) for name in path.relative_to(folder).parts) or not path.is_file()


def _in_order(files: Sequence[Path], folder: Path) -> tuple[Path, ...]:
    """By shard, with numbers as numbers; all shards of which the names speak must be there."""
    shards = [match for path in files if (match := _SHARD.search(path.name))]
    totals = {int(match[2]) for match in shards}
    if totals and (len(totals) > 1 or len(shards) != len(files)):
        raise DataError(
            f"{shown(files[0].parent, folder)} of {printable(folder)} has shards of more than one export: "
            f"{', '.join(printable(path.name) for path in files[:4])}; keep one export's"
        )
    there = {int(match[1]) for match in shards}
    missing = next((number for number in range(max(totals, default=0)) if number not in there), None)
    if missing is not None:
        raise DataError(
            f"shard {missing} of {max(totals)} is missing beside {shown(files[0], folder)} of {printable(folder)}; "
            "fetch all of them"
        )
    return tuple(sorted(files, key=lambda path: [int(word) if word.isdecimal() else word.lower()
                                                 for word in re.split(r"(\d+)", path.name)]))  # fmt: skip


# -- columns ------------------------------------------------------------------------------------------------


def open_train(folder: Path, tell: Tell) -> ParquetPart:
    """The part to train on, its labels checked; images are read later."""
    train = _open("train", part_files(folder)["train"], folder, tell)
    _require_labels(train, folder, range(len(train.columns.names)) if train.columns.names else None)
    return train


def open_test(folder: Path, train: ParquetPart, tell: Tell) -> ParquetPart:
    """The part to test on: the test part, or the validation part where there is none or its labels are hidden.

    Raises `DataError` for labels that are hidden, or that the training part does not know.
    """
    files = part_files(folder)
    test = _open("test" if "test" in files else "val", files.get("test") or files["val"], folder, lambda _: None)
    if test.name == "test" and "val" in files and len(test.labels) and (test.labels == _HIDDEN).all():
        tell(f"the test labels of {printable(folder)} are hidden (-1), so its validation part is tested on")
        test = _open("val", files["val"], folder, lambda _: None)
    if train.columns.names and test.columns.names and train.columns.names != test.columns.names:
        raise DataError(
            f"the classes of the training part of {printable(folder)} are named {_some(train.columns.names)}, "
            f"those of the {test.name} part {_some(test.columns.names)}; number them alike"
        )
    _require_labels(test, folder, range(len(train.columns.names) or int(train.labels.max(initial=-1)) + 1))
    return test


def _some(names: Sequence[str]) -> str:
    return printable(", ".join(names), 80)


def _open(name: str, files: Sequence[Path], folder: Path, tell: Tell) -> ParquetPart:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: Columns | None = None
    labels = []
    for path in files:
        try:
            schema = pq.read_schema(arrow_source(path))
            found = _columns(schema, path, tell if columns is None else lambda _: None)
            if columns is not None and found != columns:
                raise DataError(
                    f"{shown(path, folder)} of {printable(folder)} has other columns or class names than its first "
                    f"shard ({found.image}, {found.label}); keep shards of one export together"
                )
            columns = found
            column = pq.read_table(arrow_source(path), columns=[found.label])[found.label]
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(path, error) from error
        if column.null_count:
            raise DataError(f"{printable(path)} has rows without a '{found.label}'; {_WHOLE_NUMBERS}")
        labels.append(column.to_numpy().astype(np.int64))
    assert columns is not None
    return ParquetPart(name, tuple(files), columns, np.concatenate(labels))


_WHOLE_NUMBERS = "it needs whole numbers, one a row"


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f"{printable(path)} cannot be read ({printable(error, 120)}); make or fetch it again")


def _columns(schema: pa.Schema, path: Path, tell: Tell) -> Columns:
    import pyarrow as pa

    types = {field.name: field.type for field in schema}
    listed = printable(", ".join(types), 160)
    images = [name for name, kind in types.items() if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0]
    images = images or [name for name in _IMAGE_COLUMNS if name in types and _is_bytes(types[name])]
    if not images:
        raise DataError(f"{printable(path)} has columns {listed}; it needs 'image' (a struct with 'bytes') and 'label'")
    image = _chosen(images, _IMAGE_COLUMNS, "images", path, tell)
    features = _features(schema)
    whole = [name for name, kind in types.items() if pa.types.is_integer(kind)]
    labels = [name for name in whole if name in _LABEL_COLUMNS or _names(features, name)]
    if "label" in types and "label" not in whole:
        raise DataError(f"{printable(path)} has columns {listed}; it needs whole numbers in 'label', one a row")
    if not labels:
        raise DataError(f"{printable(path)} has columns {listed}; it needs whole numbers in 'label', one a row")
    label = _chosen(labels, _LABEL_COLUMNS[:2], "labels", path, tell)
    return Columns(image, label, _names(features, label))


def _is_bytes(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _chosen(found: Sequence[str], preferred: Sequence[str], what: str, path: Path, tell: Tell) -> str:
    """The first of the usual names, else the only candidate; a notice where it is not the most usual one."""
    name = next((name for name in preferred if name in found), None)
    if name is None and len(found) > 1:
        raise DataError(
            f"{printable(path)} has {len(found)} columns that may hold the {what}: {', '.join(map(printable, found))}; "
            f"name the right one '{preferred[0]}' or leave the others out"
        )
    name = name or found[0]
    others = [other for other in found if other != name]
    if name != preferred[0] or others:
        beside = f", not from {', '.join(map(printable, others))}" if others else ""
        tell(f"the {what} of {printable(path.parent.name)} are taken from the column '{printable(name)}'{beside}")
    return name


def _features(schema: pa.Schema) -> Mapping[str, Any]:
    """What the hub's metadata say about columns; empty without, or for metadata of another form."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _names(features: Mapping[str, Any], column: str) -> tuple[str, ...]:
    feature = features.get(column)
    names = feature.get("names") if isinstance(feature, dict) else None
    return tuple(class_name(str(name)) for name in names) if isinstance(names, list) else ()


def _require_labels(part: ParquetPart, folder: Path, known: range | None) -> None:
    """Raise `DataError` for hidden labels, and for those beyond `known` where that is known."""
    hidden = int((part.labels < 0).sum())
    if hidden:
        what = "test" if part.name != "train" else "training"
        worst = int(part.labels.min())
        raise DataError(
            f"{hidden} of {len(part.labels)} labels of the {part.name} part of {printable(folder)} are {worst} "
            f"(hidden, or unknown); give a labelled {what} split"
        )
    if known is not None and len(part.labels) and int(part.labels.max()) not in known:
        raise DataError(
            f"the {part.name} part of {printable(folder)} has label {int(part.labels.max())}, out of range: labels "
            f"go from 0 to {len(known) - 1}; give a labelled split of the same classes"
        )


# -- images -------------------------------------------------------------------------------------------------


def read_images(part: ParquetPart, resolution: int) -> Pixels:
    """All images of a part, (n, 3, R, R). Raises one `DataError` that names those that cannot be read."""
    from PIL import Image

    out = np.empty((len(part.labels), 3, resolution, resolution), np.uint8)

    def read(item: tuple[int, str, bytes | None]) -> BadImageError | None:
        row, where, content = item
        try:
            image = decode(content, where)
        except BadImageError as error:
            return error
        if image.size != (resolution, resolution):
            image = image.resize((resolution, resolution), Image.Resampling.BICUBIC)
        out[row] = np.asarray(image, np.uint8).transpose(2, 0, 1)
        return None

    bad: list[BadImageError] = []
    with quietly(), ThreadPoolExecutor(os.cpu_count()) as pool:
        for rows in _batches(part):
            bad += [error for error in pool.map(read, rows) if error is not None]
    require_images(bad, len(out))
    return out


def _batches(part: ParquetPart) -> Iterator[list[tuple[int, str, bytes | None]]]:
    """Some rows at a time: (number in the part, what it is called, encoded image)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    for path in part.files:
        row, rows = 0, []
        try:
            with pq.ParquetFile(arrow_source(path)) as file:
                for batch in file.iter_batches(_ROWS_AT_ONCE, columns=[part.columns.image]):
                    rows = [
                        (number + i, f"{_called(value)} (row {row + i} of {printable(path.name)})", _content(value))
                        for i, value in enumerate(batch.column(0).to_pylist())
                    ]
                    yield rows
                    number, row = number + len(rows), row + len(rows)
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(path, error) from error


def _called(value: Any) -> str:
    path = value.get("path") if isinstance(value, dict) else None
    return printable(path, 100) if path else "image"


def _content(value: Any) -> bytes | None:
    return value.get("bytes") if isinstance(value, dict) else value
