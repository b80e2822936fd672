"""The latency table: what blocks cost on one device with one runtime, as one self-describing parquet file."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from lut.blocks import parse_block
from lut.calibration import Calibration, Fidelity, NetworkMeasurement, fit_calibration, judge, upper_margin
from lut.entry import ROLES, Entry
from lut.errors import BlockKeyError, MissingBlockError, TableFormatError
from lut.files import replacing

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1
METADATA_KEY = b"lut"
_SPEC_COLUMNS = (
    "kind", "in_channels", "out_channels", "mid_channels", "features", "classes", "kernel", "expand", "stride",
    "activation", "squeeze_excite", "resolution",
)  # fmt: skip


@dataclass(frozen=True)
class TableMetadata:
    """Where a table's numbers come from. Mappings hold plain JSON values, units in their keys.

    `space` identifies the search space (name, width and choices), `resolution` the side of its input in
    pixels. `device` and `runtime` are the hardware and software that were really measured, `sampling` the
    settings of the session.
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


@dataclass(frozen=True)
class LatencyTable:
    """Immutable rows and their metadata. Block rows come first, each key once."""

    entries: tuple[Entry, ...]
    metadata: TableMetadata

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
    def costs_ms(self) -> Mapping[str, float]:
        """Calibrated cost of every block that was measured successfully."""
        return {key: entry.cost_ms for key, entry in self.blocks.items() if not entry.failed}

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
        latencies = {key: entry.latency_ms for key, entry in self.blocks.items() if not entry.failed}

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
        return LatencyTable(entries, replace(self.metadata, calibration=calibration, fidelity=fidelity))

    @cached_property
    def content_sha256(self) -> str:
        """SHA-256 over the canonical JSON of rows and metadata; the table's identity."""
        content = {"metadata": _plain(asdict(self.metadata)), "rows": [_plain(e.as_row()) for e in self.entries]}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_frame(self) -> pd.DataFrame:
        """All rows with the fields of their `BlockSpec` as columns; a new frame at each call."""
        import pandas as pd

        rows = []
        for entry in self.entries:
            spec = parse_block(entry.block) if entry.role == "block" else None
            rows.append(entry.as_row() | {name: getattr(spec, name, None) for name in _SPEC_COLUMNS})
        frame = pd.DataFrame(rows, columns=[*(f.name for f in fields(Entry)), *_SPEC_COLUMNS])
        integers = [name for name in _SPEC_COLUMNS if name not in ("kind", "activation", "squeeze_excite")]
        types = dict.fromkeys(integers, "Int32") | {"squeeze_excite": "boolean"}
        return frame.astype(types)

    def save(self, path: str | Path) -> None:
        """Write the table by atomic rename; a file that was there is replaced whole or not at all.

        Raises `OutputError` if the file cannot be written.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        metadata = _plain(asdict(self.metadata))
        metadata |= {"schema_version": SCHEMA_VERSION, "content_sha256": self.content_sha256}
        arrow = pa.Table.from_pandas(self.to_frame(), schema=_arrow_schema(), preserve_index=False)
        arrow = arrow.replace_schema_metadata({METADATA_KEY: json.dumps(metadata, sort_keys=True).encode()})
        with replacing(path) as temporary:
            pq.write_table(arrow, temporary)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a table; raises `TableFormatError` if it is missing, damaged, truncated or of another schema."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = Path(path)
        if not path.is_file():
            raise TableFormatError(f"no latency table at {path}; make one with pnag-profile --out {path}")
        try:
            arrow = pq.read_table(path)
        except (pa.ArrowException, OSError, EOFError) as error:
            reason = str(error).splitlines()[0]
            raise TableFormatError(f"{path} is damaged or not a parquet file ({reason}); profile again") from error
        raw = (arrow.schema.metadata or {}).get(METADATA_KEY)
        if raw is None:
            raise TableFormatError(f"{path} is parquet but not a latency table: it has no '{METADATA_KEY.decode()}'")
        try:
            return cls._from_parts(arrow.to_pylist(), json.loads(raw))
        except (KeyError, TypeError, ValueError, BlockKeyError) as error:
            raise TableFormatError(f"{path} is damaged ({error}); profile again") from error
        except TableFormatError as error:
            raise TableFormatError(f"{path}: {error}") from error

    @classmethod
    def _from_parts(cls, rows: Sequence[Mapping[str, Any]], metadata: dict[str, Any]) -> Self:
        version = metadata.pop("schema_version", None)
        if version != SCHEMA_VERSION:
            raise TableFormatError(f"schema version {version} is not {SCHEMA_VERSION}; use the matching release")
        sha256 = metadata.pop("content_sha256", "")
        metadata["calibration"] = Calibration(**_numbers(metadata["calibration"]))
        fidelity = metadata["fidelity"]
        metadata["fidelity"] = _fidelity(fidelity) if fidelity else None
        metadata["notes"] = tuple(metadata["notes"])
        table = cls(tuple(_entry(row) for row in rows), TableMetadata(**metadata))
        if table.content_sha256 != sha256:
            raise TableFormatError(
                "the content does not match its hash: the file was changed or damaged; profile again"
            )
        return table


def _entry(row: Mapping[str, Any]) -> Entry:
    values = {}
    for f in fields(Entry):
        value = row[f.name]
        if isinstance(value, list):
            value = tuple(value)
        elif value is None and f.default is not None:
            value = f.default
        values[f.name] = value
    if values["role"] not in ROLES:
        raise TableFormatError(f"role '{values['role']}' is none of {', '.join(ROLES)}")
    entry = Entry(**values)
    if entry.role == "block":
        parse_block(entry.block)
    return entry


def _fidelity(values: Mapping[str, Any]) -> Fidelity:
    residuals = tuple(values["residuals"])
    return Fidelity(**(_numbers({k: v for k, v in values.items() if k != "residuals"}) | {"residuals": residuals}))


def _plain(value: Any) -> Any:
    """JSON without NaN and infinity: they become null and the string 'inf'."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """Undo `_plain` for a flat mapping of numbers."""
    return {key: math.nan if v is None else float(v) if isinstance(v, str) else v for key, v in values.items()}


def _arrow_schema() -> Any:
    import pyarrow as pa

    text, number, count = pa.string(), pa.float64(), pa.int64()
    types = {
        "role": text, "block": text, "runs": count, "rounds": count, "samples_ms": pa.list_(number),
        "flags": pa.list_(text), "reason": text, "blocks": pa.list_(text), "round_states": pa.list_(text),
    }  # fmt: skip
    columns = [(f.name, types.get(f.name, number)) for f in fields(Entry)]
    spec_types = {"kind": text, "activation": text, "squeeze_excite": pa.bool_()}
    return pa.schema(columns + [(name, spec_types.get(name, pa.int32())) for name in _SPEC_COLUMNS])
