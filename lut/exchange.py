"""Tables from and for other programs: the suffix of a file says whether it is CSV or once-for-all's YAML."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lut.blocks import BlockSpec, HeadSpec
from lut.entry import Entry
from lut.errors import ExchangeError, LutError
from lut.files import replacing
from lut.formats.csvfile import read_csv, write_csv
from lut.formats.once_for_all import read_ofa, write_ofa
from lut.table import LatencyTable, TableMetadata

CSV_SUFFIXES = (".csv",)
YAML_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class Imported:
    """A table made of others' numbers: blocks of the space that the file lacks, and its keys that went unused."""

    table: LatencyTable
    missing: tuple[str, ...]
    unused: int


def require_exchange_suffix(path: Path) -> None:
    """Raise `ExchangeError` unless the suffix is one of CSV or YAML."""
    known = (*CSV_SUFFIXES, *YAML_SUFFIXES)
    if path.suffix.lower() not in known:
        raise ExchangeError(f"{path} is neither CSV nor YAML by its suffix; use one of {', '.join(known)}")


def import_table(path: str | Path, blocks: Sequence[BlockSpec], metadata: TableMetadata) -> Imported:
    """Read latencies of `blocks`, the space's, from a CSV or YAML file.

    Rows have the latency as their cost and no samples; the file's name and SHA-256 join the metadata's
    `sampling`. Raises `ExchangeError`, naming the file and the line or key.
    """
    path = Path(path)
    require_exchange_suffix(path)
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8")
    except OSError as error:
        raise ExchangeError(f"cannot read {path}: {error.strerror or error}; check the path") from error
    except UnicodeDecodeError as error:
        raise ExchangeError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as such"
        ) from error
    unused = 0
    try:
        if path.suffix.lower() in CSV_SUFFIXES:
            latencies = read_csv(text, (block.key for block in blocks))
        else:
            latencies, unused = read_ofa(text, blocks)
    except ExchangeError as error:
        raise ExchangeError(f"{path}: {error}") from error
    if not latencies:
        raise ExchangeError(f"{path} has no rows; write a line 'BLOCK,MILLISECONDS' for each block")
    order = {block.key: latencies[block.key] for block in blocks if block.key in latencies}
    origin = {"imported_from": path.name, "imported_sha256": hashlib.sha256(raw).hexdigest()}
    metadata = replace(metadata, sampling={**metadata.sampling, **origin})
    entries = tuple(Entry("block", key, latency_ms=ms, cost_ms=ms) for key, ms in order.items())
    missing = tuple(block.key for block in blocks if block.key not in order)
    return Imported(LatencyTable(entries, metadata), missing, unused)


def exported_ms(table: LatencyTable, blocks: Sequence[BlockSpec], *, calibrated: bool = False) -> dict[str, float]:
    """What to write for each of `blocks` that was measured: its latency in isolation.

    With `calibrated` its cost in a network instead, the table's intercept being added to the head, of
    which every network has one: the plain sum over a network is then the table's c(a). Raises `LutError`
    where no block was measured, or a negative intercept leaves the head nothing.
    """
    entries = table.blocks
    present = [block for block in blocks if block.key in entries and not entries[block.key].failed]
    if not present:
        raise LutError("the table has no measured block of its space; profile it first")
    if not calibrated:
        return {block.key: entries[block.key].latency_ms for block in present}
    values = {
        block.key: entries[block.key].cost_ms + (table.intercept_ms if isinstance(block, HeadSpec) else 0.0)
        for block in present
    }
    for key, value in values.items():
        if not value > 0:
            raise LutError(f"{key} would cost {value:.4g} ms with the table's intercept; export without --calibrated")
    return values


def export_table(path: str | Path, values_ms: Mapping[str, float], blocks: Sequence[BlockSpec]) -> None:
    """Write values in ms by block key as CSV or YAML, whole or not at all. Raises `ExchangeError`, `OutputError`."""
    path = Path(path)
    require_exchange_suffix(path)
    csv = path.suffix.lower() in CSV_SUFFIXES
    text = write_csv(values_ms) if csv else write_ofa(values_ms, blocks)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
