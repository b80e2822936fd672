"""Tables from and for other programs: the suffix of a file says whether it is CSV or once-for-all's YAML."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lut.blocks import BlockSpec, HeadSpec
from lut.entry import Entry
from lut.errors import ExchangeError, LutError
from lut.files import replacing
from lut.formats.csvfile import read_csv, write_csv
from lut.formats.once_for_all import ofa_resolutions, read_ofa, write_ofa
from lut.table import LatencyTable, TableMetadata
from lut.words import text_of

CSV_SUFFIXES = (".csv",)
YAML_SUFFIXES = (".yaml", ".yml")
JSON_SUFFIXES = (".json",)


@dataclass(frozen=True)
class Imported:
    """A table made of others' numbers: blocks of the space that the files lack, and their keys that went unused.

    `repeated` are blocks of which several files have a latency, and `spread` how far these are apart at most, relative
    to the least.
    """

    table: LatencyTable
    missing: tuple[str, ...]
    unused: int
    repeated: tuple[str, ...] = ()
    spread: float = 0.0


def require_exchange_suffix(path: Path, *, json: bool = False) -> None:
    """Raise `ExchangeError` unless the suffix is one of CSV or YAML, or of JSON where that is read."""
    known = (*CSV_SUFFIXES, *YAML_SUFFIXES, *(JSON_SUFFIXES if json else ()))
    if path.suffix.lower() not in known:
        raise ExchangeError(f"{path} is neither CSV nor YAML by its suffix; use one of {', '.join(known)}")


def import_table(paths: str | Path | Sequence[Path], blocks: Sequence[BlockSpec], metadata: TableMetadata) -> Imported:
    """Read latencies of `blocks`, the space's, from a CSV or YAML file, or from several that make one table.

    Rows have the latency as their cost and no samples; of a block that several files have, the mean. The files' names
    and SHA-256 join the metadata's `sampling`. Raises `ExchangeError`, naming the file and the line or key.
    """
    files = [Path(paths)] if isinstance(paths, str | Path) else list(paths)
    found: dict[str, list[float]] = {}
    unused, digests = 0, []
    for path in files:
        raw = _bytes_of(path)
        latencies, left = _latencies(path, _text_of(path, raw), blocks)
        unused += left
        digests.append(hashlib.sha256(raw).hexdigest())
        for key, ms in latencies.items():
            found.setdefault(key, []).append(ms)
    order = {block.key: math.fsum(found[block.key]) / len(found[block.key]) for block in blocks if block.key in found}
    names, alone = [path.name for path in files], len(files) == 1
    origin = {"imported_from": names[0] if alone else names, "imported_sha256": digests[0] if alone else digests}
    metadata = replace(metadata, sampling={**metadata.sampling, **origin})
    entries = tuple(Entry("block", key, latency_ms=ms, cost_ms=ms) for key, ms in order.items())
    missing = tuple(block.key for block in blocks if block.key not in order)
    repeated = tuple(key for key in order if len(found[key]) > 1)
    spread = max((max(found[key]) / min(found[key]) - 1 for key in repeated), default=0.0)
    return Imported(LatencyTable(entries, metadata), missing, unused, repeated, spread)


def resolutions_in(paths: Sequence[Path]) -> tuple[int, ...]:
    """Sides of the images that once-for-all's files among these are about, ascending. Raises `ExchangeError`."""
    found: set[int] = set()
    for path in paths:
        require_exchange_suffix(path, json=True)
        json = path.suffix.lower() in JSON_SUFFIXES
        if json or path.suffix.lower() in YAML_SUFFIXES:
            try:
                found.update(ofa_resolutions(_text_of(path, _bytes_of(path)), json=json))
            except ExchangeError as error:
                raise ExchangeError(f"{path}: {error}") from error
    return tuple(sorted(found))


def _latencies(path: Path, text: str, blocks: Sequence[BlockSpec]) -> tuple[dict[str, float], int]:
    """Latencies by block key, and how many of the file's keys are of no block."""
    try:
        if path.suffix.lower() in CSV_SUFFIXES:
            latencies, unused = read_csv(text, (block.key for block in blocks)), 0
        else:
            latencies, unused = read_ofa(text, blocks, json=path.suffix.lower() in JSON_SUFFIXES)
    except ExchangeError as error:
        raise ExchangeError(f"{path}: {error}") from error
    if not latencies:
        raise ExchangeError(f"{path} has no rows; write a line 'BLOCK,MILLISECONDS' for each block")
    return latencies, unused


def _bytes_of(path: Path) -> bytes:
    require_exchange_suffix(path, json=True)
    try:
        return path.read_bytes()
    except OSError as error:
        raise ExchangeError(f"cannot read {path}: {error.strerror or error}; check the path") from error


def _text_of(path: Path, raw: bytes) -> str:
    try:
        return text_of(raw)
    except UnicodeDecodeError as error:
        raise ExchangeError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as such"
        ) from error


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
    if not csv and sum(isinstance(block, HeadSpec) for block in blocks) > 1:
        raise ExchangeError(
            f"{path}: once-for-all's form has no keys that tell the heads of several resolutions apart; write .csv"
        )
    text = write_csv(values_ms) if csv else write_ofa(values_ms, blocks)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
