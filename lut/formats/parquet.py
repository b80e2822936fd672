"""A table's file: rows as parquet columns, metadata as JSON under the key `lut` of the parquet schema."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lut.blocks import BlockSpec
from lut.entry import SCHEMA_VERSION, columns_of
from lut.errors import OutputError, TableFormatError
from lut.files import replacing
from lut.formats.canonical import parse_json, plain
from lut.words import is_encodable

if TYPE_CHECKING:
    import pyarrow as pa

METADATA_KEY = b"lut"
_MOST_BYTES = 64 << 20  # of a table's columns together: a large table has one MiB
_ROWS_AT_ONCE = 4096
SPEC_COLUMNS = (
    "kind", "in_channels", "out_channels", "mid_channels", "features", "classes", "kernel", "expand", "stride",
    "activation", "squeeze_excite", "resolution",
)  # fmt: skip


def spec_columns(spec: BlockSpec | None) -> dict[str, Any]:
    """The fields of a block by column name, None where its kind has no such field (or there is no block)."""
    return {name: getattr(spec, name, None) for name in SPEC_COLUMNS}


def table_columns(schema: int) -> tuple[str, ...]:
    """Names of all columns of a table of that schema."""
    return (*columns_of(schema), *SPEC_COLUMNS)


def write_parquet(
    path: str | Path, rows: Sequence[Mapping[str, Any]], metadata: Mapping[str, Any], schema: int
) -> None:
    """Write rows (by `table_columns`; NaN becomes null) and metadata, whole or not at all. Raises `OutputError`."""
    import pyarrow as pa

    text = json.dumps(plain(metadata), sort_keys=True, allow_nan=False)
    arrow = pa.Table.from_pylist([without_nan(row) for row in rows], schema=arrow_schema(schema))
    write_arrow(path, arrow.replace_schema_metadata({METADATA_KEY: text.encode()}))


_OTHERS = (".csv", ".yaml", ".yml", ".json", ".html", ".txt", ".xlsx")


def require_table_suffix(path: Path) -> None:
    """Raise `OutputError` for the name of a table that promises another format than parquet."""
    if path.suffix.lower() in _OTHERS:
        raise OutputError(
            f"a table is parquet, not {path.suffix}; call it {path.stem}.parquet; pnag-lut export writes CSV and YAML"
        )


def write_arrow(path: str | Path, arrow: pa.Table) -> None:
    """Write a file of parquet, whole or not at all. Raises `OutputError`."""
    import pyarrow.parquet as pq

    with replacing(path) as temporary:
        if is_encodable(str(temporary)):
            pq.write_table(arrow, temporary, write_page_checksum=True)
        else:
            with temporary.open("wb") as file:
                pq.write_table(arrow, file, write_page_checksum=True)


def read_parquet(path: str | Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows by column name, null as None, and the metadata.

    Raises `TableFormatError` if the file is missing, unreadable, damaged, or not a latency table.
    """
    import pyarrow as pa

    path = Path(path)
    if not path.is_file():
        raise TableFormatError(f"no latency table at {path}; make one with pnag-profile --out {path}")
    try:
        arrow = read_arrow(path, most_bytes=_MOST_BYTES)
        rows = arrow.to_pylist()
        raw = (arrow.schema.metadata or {}).get(METADATA_KEY)
        metadata = None if raw is None else parse_json(raw)
    except PermissionError as error:
        raise TableFormatError(f"cannot read {path}: {error.strerror}; check its permissions") from error
    except (pa.ArrowException, OSError, EOFError, ValueError, MemoryError, OverflowError) as error:
        raise TableFormatError(f"{path} is damaged or not a parquet file ({_reason(error)}); profile again") from error
    if not isinstance(metadata, dict):
        raise TableFormatError(f"{path} is parquet but not a latency table: it has no '{METADATA_KEY.decode()}'")
    schema = metadata.get("schema_version")
    wanted = columns_of(schema if isinstance(schema, int) else SCHEMA_VERSION)
    if missing := [name for name in wanted if name not in arrow.column_names]:
        raise TableFormatError(f"{path} lacks the columns {', '.join(missing)}; profile again")
    return rows, metadata


def read_arrow(path: Path, *, most_bytes: int, most_rows: int = 1_000_000) -> pa.Table:
    """All of a parquet file, piece by piece: few bytes may stand for more rows than memory holds.

    Raises `ValueError` for more than that, and what pyarrow raises for a damaged file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(arrow_source(path), page_checksum_verification=True) as file:
        about = file.metadata
        if not 0 <= about.num_rows <= most_rows:
            raise ValueError(f"it has {about.num_rows} rows, more than {most_rows}")
        # Of groups, not of columns: pyarrow ends the process where what is told of a column is damaged.
        sizes = [about.row_group(index).total_byte_size for index in range(about.num_row_groups)]
        if min(sizes, default=0) < 0 or sum(sizes) > most_bytes:
            raise ValueError(f"it unpacks to more than {most_bytes >> 20} MiB")
        rows_at_once = max(1, min(_ROWS_AT_ONCE, most_bytes // max(sizes, default=1)))
        batches, size = [], 0
        for packed in file.iter_batches(rows_at_once):
            batch = _unpacked(packed)
            size += batch.nbytes
            if size > most_bytes:
                raise ValueError(f"it unpacks to more than {most_bytes >> 20} MiB")
            batches.append(batch)
        schema = batches[0].schema if batches else file.schema_arrow
        table = pa.Table.from_batches(batches, schema.with_metadata(file.schema_arrow.metadata))
        table.validate(full=True)  # texts that are none would be found where they are used
        return table


def arrow_source(path: Path) -> Any:
    """What pyarrow opens in the place of a path: it takes no name that is not UTF-8."""
    return path if is_encodable(str(path)) else io.BytesIO(path.read_bytes())


def _unpacked(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with each value in full where a column has them by number: few bytes may stand for many long ones."""
    import pyarrow as pa

    columns = []
    for column in batch.columns:
        if pa.types.is_dictionary(column.type):
            columns.append(column.dictionary_decode())
        elif "dictionary" in str(column.type):
            raise ValueError("values by number stand within lists or structures")
        else:
            columns.append(column)
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _reason(error: BaseException) -> str:
    """What is wrong, without the path, which pyarrow repeats, and its guesses at the cause."""
    line = (str(error) or type(error).__name__).splitlines()[0]
    return re.sub(r"^Could not open Parquet input source '.*?': ", "", line).partition(". ")[0]


def without_nan(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with None for NaN."""
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}


def arrow_schema(schema: int) -> pa.Schema:
    """Names and types of all columns of a table of that schema."""
    import pyarrow as pa

    text, number, count = pa.string(), pa.float64(), pa.int64()
    types = {
        "role": text, "block": text, "runs": count, "rounds": count, "samples_ms": pa.list_(number),
        "flags": pa.list_(text), "reason": text, "blocks": pa.list_(text), "round_states": pa.list_(text),
    }  # fmt: skip
    columns = [(name, types.get(name, number)) for name in columns_of(schema)]
    spec_types = {"kind": text, "activation": text, "squeeze_excite": pa.bool_()}
    return pa.schema(columns + [(name, spec_types.get(name, pa.int32())) for name in SPEC_COLUMNS])
