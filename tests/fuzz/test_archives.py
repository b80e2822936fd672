"""Archives of accuracies and data sets in parquet and CSV, spoilt in their columns, rows, types, metadata and bytes."""

from __future__ import annotations

import csv
import datetime
import decimal
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lut.errors import LutError
from lut.formats.parquet import read_arrow
from lut.table import LatencyTable
from pnag.accuracy.archive import METADATA_KEY, AccuracyArchive
from pnag.errors import PnagError
from tests.fuzz.harness import DAMAGE, EXAMPLES, NO_DAMAGE, bounded, damaged, fuzz, one_line, spoilt_json, texts
from tests.tables import TINY, made_up_table

ROWS = 6
VALUES: tuple[Any, ...] = (
    None, math.nan, math.inf, -math.inf, -0.1, 0.0, 1.0, 1.0000001, 55.5, 1e308, True, "", "0.5", "nan", "1e-3", "x",
    10**30, b"0.5", decimal.Decimal("0.5"), datetime.datetime(1970, 1, 1), [0.5], {"a": 0.5},
)  # fmt: skip
TYPES = (
    pa.string(), pa.large_string(), pa.float16(), pa.float32(), pa.float64(), pa.int8(), pa.int64(), pa.uint64(),
    pa.bool_(), pa.binary(), pa.timestamp("ns"), pa.date32(), pa.duration("s"), pa.decimal128(20, 9),
    pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int8(), pa.float64()), pa.list_(pa.float64()), pa.null(),
)  # fmt: skip


def networks(n: int = ROWS) -> list[str]:
    return [str(network) for network in TINY.decode(TINY.sample(200, np.random.default_rng(0)))[: 3 * n : 3]]


def columns() -> dict[str, list[Any]]:
    names = list(dict.fromkeys(networks(20)))[:ROWS]
    return {
        "architecture": names,
        "accuracy": [0.5 + i / 64 for i in range(ROWS)],
        "test_accuracy": [0.25 + i / 64 for i in range(ROWS)],
        "resolution": [32] * ROWS,
        "split": ["val"] * ROWS,
    }


@st.composite
def spoilt_columns(draw: st.DrawFn) -> list[tuple[str, list[Any]]]:
    """Columns by name, in order, with a few things wrong, or none."""
    found = list(columns().items())
    for name in ("test_accuracy", "resolution", "split"):
        if draw(st.booleans()):
            found = [column for column in found if column[0] != name]
    for _ in range(draw(st.integers(0, 2))):
        at, row = draw(st.integers(0, len(found) - 1)), draw(st.integers(0, ROWS - 1))
        name, values = found[at]
        what = draw(
            st.sampled_from(["value", "value", "value", "drop", "twice", "rename", "row twice", "empty", "swap"])
        )
        if what == "value":
            values[row % max(len(values), 1) : row % max(len(values), 1) + 1] = [draw(st.sampled_from(VALUES))]
        elif what == "drop" and len(found) > 1:
            del found[at]
        elif what == "twice":
            found.append((name, list(values)))
        elif what == "rename":
            found[at] = (draw(st.sampled_from(["x", "", " accuracy", "Accuracy", "accuracy.1"])), values)
        elif what == "row twice":
            found = [(name, [*values, *values[row : row + 1]]) for name, values in found]
        elif what == "empty":
            found = [(name, []) for name, _ in found]
        elif what == "swap":
            found[at], found[0] = (name, found[0][1]), (found[0][0], values)
    longest = max(len(values) for _, values in found)
    return [(name, values + [None] * (longest - len(values))) for name, values in found]


def as_arrow(values: list[Any], kind: pa.DataType | None) -> pa.Array:
    """A column of that type if it can be, else of the type that fits, else of texts."""
    attempts = [lambda: pa.array(values, kind), lambda: pa.array(values).cast(kind), lambda: pa.array(values)]
    for attempt in attempts:
        try:
            return attempt()
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            continue
    return pa.array([None if value is None else str(value) for value in values], pa.string())


ABOUT = {
    "schema_version": 1,
    "space": TINY.to_dict(),
    "source": {
        "data": {"name": "d"},
        "by": "x",
        "published_top1": {"slope": 1.0, "offset": 0.0, "deviation": 0.1, "networks": 3},
    },
    "content_sha256": "",
}


@fuzz(30)
@given(
    spoilt=spoilt_columns(),
    kinds=st.dictionaries(st.sampled_from(list(columns())), st.sampled_from(TYPES), max_size=1),
    about=st.one_of(st.none(), st.none(), spoilt_json(ABOUT), st.sampled_from([b"[" * 100_000, b"", b"\xff", b"3"])),
    damage=st.one_of(st.just(NO_DAMAGE), st.just(NO_DAMAGE), DAMAGE),
    compression=st.sampled_from(["none", "zstd", "snappy"]),
)
@example(spoilt=list(columns().items()), kinds={}, about=None, damage=([(24, 128)], 0), compression="none")
def test_archives_in_parquet(tmp_path, spoilt, kinds, about, **more):
    arrays = [as_arrow(values, kinds.get(name)) for name, values in spoilt]
    table = pa.Table.from_arrays(arrays, names=[name for name, _ in spoilt])
    if about is not None:
        raw = about if isinstance(about, bytes) else json.dumps(about).encode()
        table = table.replace_schema_metadata({METADATA_KEY: raw})
    file = io.BytesIO()
    pq.write_table(table, file, compression=more["compression"])
    path = tmp_path / "a.parquet"
    path.write_bytes(damaged(file.getvalue(), more["damage"]))
    try:
        with bounded():
            archive = AccuracyArchive.whole(path, TINY)
    except PnagError as error:
        one_line(error, "a.parquet")
        return
    plain = pq.ParquetFile(path).read()
    read = [float(value) for value in plain["accuracy"].to_pylist()]
    assert archive.accuracy.tolist() == read
    if archive.test_accuracy is not None:
        assert archive.test_accuracy.tolist() == [float(value) for value in plain["test_accuracy"].to_pylist()]
    assert [str(network).partition("@")[0] for network in archive.architectures] == [
        str(text).partition("@")[0] for text in plain["architecture"].to_pylist()
    ]


def test_a_damaged_archive_of_ours_never_gives_other_numbers(tmp_path):
    path, good = tmp_path / "a.parquet", columns()
    tokens = TINY.sample(6, np.random.default_rng(0))
    tokens = np.unique(tokens, axis=0)
    made = AccuracyArchive(TINY, tokens, np.array(good["accuracy"][: len(tokens)]), source={"by": "x"})
    made.save(path)
    content, wanted = path.read_bytes(), made.sha256
    rng = np.random.default_rng(0)
    for _ in range(1000 if EXAMPLES else 100):
        places = [(int(place), int(value)) for place, value in rng.integers(0, [len(content), 256], (2, 2))]
        path.write_bytes(damaged(content, (places, 0)))
        try:
            assert AccuracyArchive.whole(path, TINY).sha256 == wanted
        except PnagError as error:
            one_line(error, "a.parquet")


def as_csv(spoilt: list[tuple[str, list[Any]]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow([name for name, _ in spoilt])
    writer.writerows(zip(*[["" if v is None else v for v in values] for _, values in spoilt], strict=True))
    return file.getvalue()


@fuzz(30)
@given(spoilt=spoilt_columns(), damage=st.one_of(st.just(NO_DAMAGE), DAMAGE), bom=st.booleans())
@example(spoilt=[("architecture", networks(2)), ("accuracy", [True, True])], damage=NO_DAMAGE, bom=False)
@example(spoilt=[("architecture", networks(1)), ("accuracy", ["0.1234567890123456789"])], damage=NO_DAMAGE, bom=True)
def test_archives_in_csv(tmp_path, spoilt, damage, bom):
    path = tmp_path / "a.csv"
    path.write_bytes(damaged(b"\xef\xbb\xbf" * bom + as_csv(spoilt).encode("utf-8", "surrogatepass"), damage))
    read_csv_archive(path)


@fuzz(30)
@given(texts("architecture,accuracy\n", *(f"{name},0.5\n" for name in networks(2))))
def test_texts_as_archives(tmp_path, text):
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    read_csv_archive(path)


def read_csv_archive(path: Path) -> None:
    try:
        with bounded():
            archive = AccuracyArchive.whole(path, TINY)
    except PnagError as error:
        one_line(error, "a.csv")
        return
    rows = list(csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")))
    assert archive.accuracy.tolist() == [float(row["accuracy"]) for row in rows]


@pytest.fixture(scope="module")
def bombs(tmp_path_factory) -> Path:
    """Small files of many rows, and of few rows that are large."""
    folder = tmp_path_factory.mktemp("bombs")
    many = pa.DictionaryArray.from_arrays(pa.array(np.zeros(1_200_000, np.int32)), [networks(1)[0]])
    wide = pa.DictionaryArray.from_arrays(pa.array(np.zeros(60_000, np.int32)), ["x" * 300_000])
    one = pa.array(["x" * 280_000_000])
    for name, column in (("many", many), ("wide", wide), ("one", one)):
        half = pa.array(np.full(len(column), 0.5))
        table = pa.table({"architecture": column, "accuracy": half})
        by_number = name != "one"
        pq.write_table(
            table, folder / f"{name}.parquet", compression="zstd", use_dictionary=by_number, write_statistics=False
        )
        assert (folder / f"{name}.parquet").stat().st_size < 1_000_000
    return folder


@pytest.mark.parametrize("name", ["many", "wide", "one"])
def test_parquet_that_unpacks_to_more_than_memory(bombs, name):
    path = bombs / f"{name}.parquet"
    for read in (lambda: AccuracyArchive.whole(path, TINY), lambda: LatencyTable.load(path)):
        with bounded(), pytest.raises((PnagError, LutError), match="more than") as caught:
            read()
        one_line(caught.value, path.name)


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> tuple[Path, bytes, str]:
    path = tmp_path_factory.mktemp("table") / "t.parquet"
    made_up_table(TINY).save(path)
    return path, path.read_bytes(), made_up_table(TINY).content_sha256


@fuzz()
@given(DAMAGE)
def test_damaged_tables(table, damage):
    path, content, sha256 = table
    path.write_bytes(damaged(content, damage))
    try:
        with bounded():
            assert LatencyTable.load(path).content_sha256 == sha256
    except LutError as error:
        one_line(error, "t.parquet")


def test_no_byte_of_what_a_file_says_of_itself_ends_the_process(tmp_path):
    """A list with one element more, such as the histograms of a column, once made pyarrow abort."""
    path = tmp_path / "a.parquet"
    rows = pa.table({"architecture": ["x", "y", "z"], "accuracy": [0.5, 0.25, 0.125], "split": ["val"] * 3})
    pq.write_table(rows, path)
    content, read, refused = path.read_bytes(), 0, 0
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    for place in range(start, len(content)):
        path.write_bytes(damaged(content, ([(place, (content[place] + 0x10) % 256)], 0)))
        try:
            read_arrow(path, most_bytes=1 << 20)
            read += 1
        except (pa.ArrowException, OSError, EOFError, ValueError, MemoryError, OverflowError):
            refused += 1
    assert read
    assert refused


@st.composite
def spoilt_table(draw: st.DrawFn, content: pa.Table) -> pa.Table:
    """A table with a column dropped, doubled, of another type, or with rows repeated; or metadata of another form."""
    what = draw(st.sampled_from(["drop", "twice", "type", "rows", "about"]))
    at = draw(st.integers(0, content.num_columns - 1))
    if what == "drop":
        return content.remove_column(at)
    if what == "twice":
        return content.append_column(content.schema.field(at).name, content.column(at))
    if what == "type":
        array = as_arrow(content.column(at).to_pylist(), draw(st.sampled_from(TYPES)))
        return content.set_column(at, content.schema.field(at).name, array)
    if what == "rows":
        return pa.concat_tables([content, content.slice(0, 2)]) if draw(st.booleans()) else content.slice(0, 1)
    about = draw(spoilt_json(json.loads(content.schema.metadata[b"lut"])))
    return content.replace_schema_metadata({b"lut": json.dumps(about).encode()})


@fuzz(30)
@given(st.data())
def test_spoilt_tables(table, tmp_path, data):
    _, content, sha256 = table
    path = tmp_path / "t.parquet"
    pq.write_table(data.draw(spoilt_table(pq.read_table(io.BytesIO(content)))), path)
    try:
        with bounded():
            assert LatencyTable.load(path).content_sha256 == sha256
    except LutError as error:
        one_line(error, "t.parquet")
