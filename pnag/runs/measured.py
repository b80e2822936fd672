"""Networks that were generated and measured: kept in the run, so that predictions get better with use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from lut.blocks import parse_block
from lut.entry import Entry, Role
from lut.errors import LutError, TableFormatError
from lut.journal import LineJournal, read_lines
from lut.table import LatencyTable
from lut.words import printable

MEASURED = "measured.jsonl"
_LONGEST_MS = 1e9


@dataclass(frozen=True)
class MeasuredNetwork:
    """A whole network that was measured on the table's device. Times are ms at the table's speed, by its statistic.

    `blocks` are its keys in order, `cost_ms` what the table with the hash `table_sha256` predicted, `device` and
    `created` say where and when.
    """

    architecture: str
    blocks: tuple[str, ...]
    cost_ms: float
    latency_ms: float
    ci_low_ms: float
    ci_high_ms: float
    table_sha256: str
    device: str
    created: str

    @property
    def residual(self) -> float:
        """measured / predicted - 1."""
        return self.latency_ms / self.cost_ms - 1

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """From a line of the file. Raises `KeyError`, `TypeError`, `ValueError`, `BlockKeyError` for what it did not
        write."""
        if not isinstance(row["blocks"], list):
            raise ValueError("blocks are no list")
        for key in row["blocks"]:
            parse_block(key)
        for name, value in row.items():
            if name != "blocks" and not (_is_time(value) if name.endswith("_ms") else isinstance(value, str)):
                raise ValueError(f"{printable(name, 40)} is {printable(repr(value)[:400], 40)}")
        return cls(**{**row, "blocks": tuple(row["blocks"])})


def _is_time(value: object) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool) and 0 < value < _LONGEST_MS


def remember(directory: Path, networks: Iterable[MeasuredNetwork]) -> None:
    """Append to a run's measured networks. Raises `OutputError`."""
    rows = [asdict(network) for network in networks]
    if rows:
        with LineJournal(directory / MEASURED) as journal:
            journal.append(rows)


def recall(directory: Path) -> list[MeasuredNetwork]:
    """A run's measured networks, the oldest first. Raises `TableFormatError` if the file is damaged."""
    path = directory / MEASURED
    try:
        return [MeasuredNetwork.from_row(row) for row in read_lines(path)]
    except (OSError, KeyError, TypeError, ValueError, OverflowError, AttributeError, LutError) as error:
        raise TableFormatError(f"{path} holds no measured networks ({error}); remove it") from error


def residuals_of(networks: Sequence[MeasuredNetwork], table_sha256: str) -> tuple[float, ...]:
    """measured / predicted - 1 of the networks that were predicted by this table, each at its latest measurement."""
    latest = {network.architecture: network.residual for network in networks if network.table_sha256 == table_sha256}
    return tuple(latest.values())


def added_to(table: LatencyTable, networks: Sequence[MeasuredNetwork]) -> tuple[LatencyTable, int]:
    """The table with networks that it does not hold yet, fitted and judged anew; and how many these are.

    They take turns: every second one teaches (`calibration`), the others judge (`holdout`).
    """
    known = {entry.block for entry in table.entries if entry.role != "block"}
    new = {n.architecture: n for n in networks if n.architecture not in known and set(n.blocks) <= set(table.blocks)}
    if not new:
        return table, 0
    entries = tuple(
        _entry(network, "holdout" if number % 2 else "calibration") for number, network in enumerate(new.values())
    )
    note = f"{len(new)} networks that were generated and measured later joined it"
    metadata = replace(table.metadata, notes=(*table.metadata.notes, note))
    return LatencyTable((*table.entries, *entries), metadata).calibrated(), len(new)


def _entry(network: MeasuredNetwork, role: Role) -> Entry:
    return Entry(
        role,
        network.architecture,
        latency_ms=network.latency_ms,
        ci_low_ms=network.ci_low_ms,
        ci_high_ms=network.ci_high_ms,
        flags=("generated",),
        blocks=network.blocks,
    )
