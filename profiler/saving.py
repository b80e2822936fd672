"""A table takes the place of another only if it is not the worse of the two."""

from __future__ import annotations

from pathlib import Path

from lut.errors import TableFormatError
from lut.table import LatencyTable
from profiler.errors import ProfilerError


class NothingMeasuredError(ProfilerError):
    """No block has a latency: that is no table."""


class WorseTableError(ProfilerError):
    """The new table lacks what the one in its place has."""


def save_unless_worse(table: LatencyTable, path: Path) -> None:
    """Write `table` to `path`.

    Raises `NothingMeasuredError` for a table without a measured block. Raises `WorseTableError` if a table is there
    that lacks fewer blocks, or as many but has more networks than one that the time cut short. What is there
    stays then. Raises `OutputError`.
    """
    failed = [entry for entry in table.blocks.values() if entry.failed]
    reason = failed[0].reason if failed else ""
    if len(failed) == len(table.blocks):
        left = " (the table that is there stays)" if path.exists() else ""
        more = "; give more by --max-minutes" if reason.startswith("the time was up") else ""
        raise NothingMeasuredError(f"no block could be measured{left}: {reason or 'there is none'}{more}")
    there = _table_at(path)
    if there is not None:
        if len(failed) > sum(entry.failed for entry in there.blocks.values()):
            lacks = f"{len(failed)} of {len(table.blocks)} blocks were not measured ({reason})"
            raise WorseTableError(_stays(path, lacks))
        if table.metadata.notes and _networks(table) < _networks(there):
            lacks = f"only {_networks(table)} networks were measured, not {_networks(there)}"
            raise WorseTableError(_stays(path, lacks))
    table.save(path)


def _table_at(path: Path) -> LatencyTable | None:
    """The table that is there; None for what no command could use."""
    if not path.exists():
        return None
    try:
        return LatencyTable.load(path)
    except TableFormatError:
        return None


def _networks(table: LatencyTable) -> int:
    return len(table.networks("calibration")) + len(table.networks("holdout"))


def _stays(path: Path, lacks: str) -> str:
    return (
        f"{path} stays as it is, since it has more than what was measured now: {lacks}; "
        "run the same command with more time to go on, or choose another --out"
    )
