"""The latency table: what blocks cost on one device with one runtime, as one self-describing parquet file.

Schemas: 1 was the first. 2 adds percentiles of all calls as they happened (`p50_ms`, `p90_ms`, `p99_ms`) and names the
statistic in `sampling`. A table keeps the schema that it was read with, and so its hash; new ones have the latest.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from lut.blocks import parse_block
from lut.calibration.fit import Calibration, Fidelity, NetworkMeasurement, fit_calibration, judge, upper_margin
from lut.entry import ROLES, SCHEMA_VERSION, Entry, columns_of
from lut.errors import LutError, MissingBlockError, TableFormatError
from lut.formats.canonical import content_sha256, revive_numbers
from lut.formats.parquet import SPEC_COLUMNS, read_parquet, spec_columns, table_columns, write_parquet

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TableMetadata:
    """Where a table's numbers come from. Mappings hold plain JSON values, units in their keys.

    `space` identifies the search space (name, width and choices), `resolution` the side of its input in
    pixels. `device` and `runtime` are the hardware and software that were really measured, `sampling` the
    settings of the session.

    >>> TableMetadata({}, 224, 1000, 1, {"model": "a board"}, {}, {}, "2026-01-01T00:00:00+00:00", "0.1.0").batch
    1
    """

    space: Mapping[str, Any]
    resolution: int
    classes: int
    batch: int
    device: Mapping[str, Any]
    runtime: Mapping[str, Any]
    sampling: Mapping[str, Any]
    created: str
    tool_version: str
    calibration: Calibration = field(default_factory=Calibration)
    fidelity: Fidelity | None = None
    notes: tuple[str, ...] = ()

    @property
    def device_name(self) -> str:
        """What the device is called; empty where that is not known."""
        return str(self.device.get("model") or self.device.get("name") or "")

    @property
    def runtime_name(self) -> str:
        """Runtime, version and precision, as far as they are known."""
        return " ".join(str(self.runtime[key]) for key in ("name", "version", "precision") if self.runtime.get(key))


@dataclass(frozen=True)
class LatencyTable:
    """Immutable rows and their metadata. Block rows come first, each key once.

    >>> from lut import Entry
    >>> about = TableMetadata({}, 224, 1000, 1, {"model": "a board"}, {}, {}, "2026-01-01T00:00:00+00:00", "0.1.0")
    >>> table = LatencyTable((Entry("block", "conv-i3-o24-k3-s2-hswish@224", latency_ms=1.3, cost_ms=1.2),), about)
    >>> table.blocks["conv-i3-o24-k3-s2-hswish@224"].cost_ms
    1.2
    """

    entries: tuple[Entry, ...]
    metadata: TableMetadata
    schema: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        seen: set[tuple[str, str]] = set()
        for entry in self.entries:
            kind = "block" if entry.role == "block" else "network"
            if (kind, entry.block) in seen:
                raise TableFormatError(f"the {kind} {entry.block} is in the table twice; keep one measurement of it")
            seen.add((kind, entry.block))

    @cached_property
    def blocks(self) -> Mapping[str, Entry]:
        """Block rows by key, failed ones included."""
        return {entry.block: entry for entry in self.entries if entry.role == "block"}

    @cached_property
    def measured(self) -> Mapping[str, Entry]:
        """Block rows by key, without those that failed."""
        return {key: entry for key, entry in self.blocks.items() if not entry.failed}

    @cached_property
    def costs_ms(self) -> Mapping[str, float]:
        """Calibrated cost of every block that was measured successfully."""
        return {key: entry.cost_ms for key, entry in self.measured.items()}

    @property
    def intercept_ms(self) -> float:
        """What every network costs beside its blocks."""
        return self.metadata.calibration.intercept_ms

    def networks(self, role: str) -> tuple[Entry, ...]:
        """Rows of the whole networks with that role, failed ones left out."""
        return tuple(entry for entry in self.entries if entry.role == role and not entry.failed)

    def cost_ms(self, blocks: Iterable[Any]) -> float:
        """c(a) = intercept + Σ cost_ms[block], for a sequence of `BlockSpec` or of keys.

        Raises `MissingBlockError` for a block that is missing or failed.
        """
        total = self.intercept_ms
        for block in blocks:
            key = str(block)
            cost = self.costs_ms.get(key)
            if cost is None:
                raise MissingBlockError(self._why_missing(key))
            total += cost
        return total

    def _why_missing(self, key: str) -> str:
        entry = self.blocks.get(key)
        if entry is None:
            return f"block {key} is not in the table; profile it, or use the space the table was made for"
        return f"block {key} failed when it was measured ({entry.reason or 'no reason given'}); profile it again"

    def upper_margin(self, confidence: float) -> float:
        """How far above its prediction a network may measure at that confidence, relative (0.02 is 2 %)."""
        fidelity = self.metadata.fidelity
        return upper_margin(fidelity.residuals if fidelity else (), confidence)

    def calibrated(self) -> LatencyTable:
        """The same measurements with calibration, costs and fidelity fitted afresh."""
        latencies = {key: entry.latency_ms for key, entry in self.measured.items()}

        def usable(role: str) -> list[NetworkMeasurement]:
            rows = self.networks(role)
            return [
                NetworkMeasurement(row.block, row.blocks, row.latency_ms)
                for row in rows
                if row.blocks and all(key in latencies for key in row.blocks)
            ]

        calibration, costs = fit_calibration(latencies, usable("calibration"))

        def cost(entry: Entry) -> float:
            if entry.role == "block":
                return costs.get(entry.block, math.nan)
            if not entry.blocks or not all(key in costs for key in entry.blocks):
                return math.nan
            return calibration.intercept_ms + sum(costs[key] for key in entry.blocks)

        entries = tuple(replace(entry, cost_ms=cost(entry)) for entry in self.entries)
        unseen = [e for e in entries if e.role == "holdout" and not e.failed and math.isfinite(e.cost_ms)]
        fidelity = judge([e.cost_ms for e in unseen], [e.latency_ms for e in unseen])
        return replace(
            self, entries=entries, metadata=replace(self.metadata, calibration=calibration, fidelity=fidelity)
        )

    @cached_property
    def content_sha256(self) -> str:
        """SHA-256 over the canonical JSON of rows and metadata; the table's identity."""
        return content_sha256(asdict(self.metadata), [entry.as_row(self.schema) for entry in self.entries])

    def rows(self) -> list[dict[str, Any]]:
        """All rows by column name, with the fields of their `BlockSpec`; new ones at each call."""
        specs = (parse_block(entry.block) if entry.role == "block" else None for entry in self.entries)
        return [entry.as_row(self.schema) | spec_columns(spec) for entry, spec in zip(self.entries, specs, strict=True)]

    def to_frame(self) -> pd.DataFrame:
        """All rows with the fields of their `BlockSpec` as columns; a new frame at each call."""
        import pandas as pd

        frame = pd.DataFrame(self.rows(), columns=list(table_columns(self.schema)))
        integers = [name for name in SPEC_COLUMNS if name not in ("kind", "activation", "squeeze_excite")]
        return frame.astype(dict.fromkeys(integers, "Int32") | {"squeeze_excite": "boolean"})

    def save(self, path: str | Path) -> None:
        """Write the table by atomic rename; a file that was there is replaced whole or not at all.

        Raises `OutputError` if the file cannot be written.
        """
        identity = {"schema_version": self.schema, "content_sha256": self.content_sha256}
        write_parquet(path, self.rows(), asdict(self.metadata) | identity, self.schema)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a table; raises `TableFormatError` if it is missing, damaged, truncated or of another schema."""
        rows, metadata = read_parquet(path)
        try:
            return cls._from_parts(rows, metadata)
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError, LutError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise TableFormatError(f"{path} is not a table this release can read: {reason}") from error

    @classmethod
    def _from_parts(cls, rows: Sequence[Mapping[str, Any]], values: Mapping[str, Any]) -> Self:
        metadata = dict(values)
        version, sha256 = metadata.pop("schema_version", None), metadata.pop("content_sha256", None)
        if version not in range(1, SCHEMA_VERSION + 1):
            raise TableFormatError(
                f"its schema version is {version}, not 1 to {SCHEMA_VERSION}; use the matching release"
            )
        metadata["calibration"] = Calibration(**revive_numbers(metadata["calibration"]))
        if metadata["fidelity"] is not None:
            metadata["fidelity"] = _fidelity(metadata["fidelity"])
        metadata["notes"] = tuple(metadata["notes"])
        table = cls(tuple(_entry(row, version) for row in rows), TableMetadata(**metadata), version)
        if table.content_sha256 != sha256:
            raise TableFormatError("its content does not match its hash, it was changed or damaged; profile again")
        return table


def _entry(row: Mapping[str, Any], schema: int) -> Entry:
    if row["role"] not in ROLES:
        raise TableFormatError(f"a row has the role '{row['role']}', which is none of {', '.join(ROLES)}")
    values = {name: row[name] for name in columns_of(schema) if row[name] is not None}
    samples = tuple(math.nan if value is None else value for value in values.get("samples_ms", ()))
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    entry = Entry(**(values | lists | {"samples_ms": samples}))
    if entry.role == "block":
        parse_block(entry.block)
    return entry


def _fidelity(values: Mapping[str, Any]) -> Fidelity:
    numbers = {key: value for key, value in values.items() if key != "residuals"}
    return Fidelity(**revive_numbers(numbers), residuals=tuple(values["residuals"]))
