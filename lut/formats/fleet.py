"""Tables of many devices as one partitioned parquet data set, which DuckDB, pandas and pyarrow query as one table.

A part is a file `device=…/runtime=…/precision=…/PART.parquet`, as Hive names partitions: values of the folders are
columns too, with percent signs for what names of folders cannot hold. Rows are those of the tables, each with what its
table says of itself in columns that begin with `table_`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lut.entry import SCHEMA_VERSION
from lut.errors import OutputError
from lut.formats.canonical import content_sha256, plain
from lut.formats.parquet import arrow_schema, table_columns, without_nan, write_arrow
from lut.table import LatencyTable

PARTITIONS = ("device", "runtime", "precision")
_LEFT_OUT = ("round_states",)  # a long text for each round: it is in the table
_DIGITS = 16


def add_tables(directory: str | Path, tables: Sequence[LatencyTable]) -> tuple[Path, ...]:
    """Write each table as a part of the data set in `directory`; the paths of the parts.

    Each appears whole or not at all. A session's table replaces its own part, also when it has grown since. Raises
    `OutputError`.
    """
    directory = Path(directory)
    if directory.exists() and not directory.is_dir():
        raise OutputError(f"{directory} is a file, and a data set is a folder; choose another place")
    parts = tuple(directory / part_of(table) for table in tables)
    for table, path in zip(tables, parts, strict=True):
        write_arrow(path, _arrow(table))
    return parts


def part_of(table: LatencyTable) -> Path:
    """Where a table lies within the data set. Its name is the session's: of a device, at a time, by a statistic."""
    meta = table.metadata
    values = (meta.device_name, meta.runtime.get("name"), precision_of(table))
    folders = [
        f"{name}={quote(str(value or 'unknown'), safe='')}" for name, value in zip(PARTITIONS, values, strict=True)
    ]
    session = {
        "device": meta.device, "runtime": meta.runtime, "space": meta.space, "resolution": meta.resolution,
        "classes": meta.classes, "batch": meta.batch, "created": meta.created,
        "statistic": meta.sampling.get("statistic"),
    }  # fmt: skip
    return Path(*folders, f"{content_sha256(session, [])[:_DIGITS]}.parquet")


def precision_of(table: LatencyTable) -> str | None:
    """What the table's runtime computed in, as far as it says so."""
    return table.metadata.runtime.get("precision")


def facts_of(table: LatencyTable) -> dict[str, Any]:
    """What each row says of its table, by column name."""
    meta = table.metadata
    return {
        "table_sha256": table.content_sha256,
        "table_created": meta.created,
        "table_space": meta.space.get("name"),
        "table_resolution": meta.resolution,
        "table_batch": meta.batch,
        "table_threads": meta.runtime.get("threads"),
        "table_runtime_version": meta.runtime.get("version"),
        "table_statistic": meta.sampling.get("statistic"),
        "table_intercept_ms": table.intercept_ms,
        "table_mape": meta.fidelity.mape if meta.fidelity else None,
        "table_metadata": json.dumps(plain(asdict(meta)), sort_keys=True, allow_nan=False),
    }


_WHOLE = ("table_resolution", "table_batch", "table_threads")
_REAL = ("table_intercept_ms", "table_mape")


def _arrow(table: LatencyTable) -> Any:
    """Rows and facts, all columns in every part, of the same types."""
    import pyarrow as pa

    newest = replace(table, schema=SCHEMA_VERSION)
    names = [name for name in table_columns(SCHEMA_VERSION) if name not in _LEFT_OUT]
    facts = facts_of(table)
    rows = [without_nan({name: row[name] for name in names} | facts) for row in newest.rows()]
    schema = pa.schema([field for field in arrow_schema(SCHEMA_VERSION) if field.name in names])
    for name in facts:
        schema = schema.append(
            pa.field(name, pa.int64() if name in _WHOLE else pa.float64() if name in _REAL else pa.string())
        )
    return pa.Table.from_pylist(rows, schema=schema)
