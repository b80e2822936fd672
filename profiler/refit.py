"""All visits of a session, kept in a file beside its table, and the table made anew from them with another statistic.

The file is gzipped JSON lines: a header that names the table by when it was made, then a line a visit, readings of the
reference (round -1) among them.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lut.files import replacing
from lut.formats.canonical import parse_json
from lut.table import LatencyTable
from profiler.errors import JournalError
from profiler.measure.estimator import ESTIMATORS
from profiler.measure.measurement import Levelled, Measurement, Visit, judged
from profiler.measure.reference import Level
from profiler.measure.wander import levelled_where_better, wanders

_VERSION = 1
_MOST_BYTES = 64 << 20  # of what it unpacks to
_USUAL_LIMIT, _USUAL_CI = 0.05, 0.01


def visits_path(table: Path) -> Path:
    """Where the visits of a table lie."""
    return table.with_suffix(".visits.gz")


def save_visits(path: Path, created: str, visits: Iterable[Visit]) -> None:
    """Write all visits of the session whose table was `created` then, whole or not at all. Raises `OutputError`."""
    lines = [json.dumps({"visits": _VERSION, "created": created})]
    lines += [json.dumps(visit.to_json(), allow_nan=False) for visit in visits]
    with replacing(path) as temporary:
        temporary.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode(), mtime=0))


def load_visits(path: Path, created: str) -> tuple[Visit, ...]:
    """The visits of the table that was `created` then.

    Raises `JournalError` if they are missing, damaged or another table's.
    """
    try:
        with gzip.open(path) as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ValueError(f"it unpacks to more than {_MOST_BYTES >> 20} MiB")
        header, *rows = content.splitlines()
        about = parse_json(header)
        visits = tuple(Visit.from_json(parse_json(row)) for row in rows)
    except FileNotFoundError as error:
        raise JournalError(
            f"no visits at {path}; they lie beside a table that was measured, take them along"
        ) from error
    except (OSError, EOFError, zlib.error, ValueError, OverflowError, TypeError, AttributeError) as error:
        raise JournalError(f"{path} is damaged or holds no visits ({error}); profile again") from error
    if about != {"visits": _VERSION, "created": created}:
        raise JournalError(f"{path} holds the visits of another table; take those that lie beside this one")
    return visits


def refitted(
    table: LatencyTable, visits: Sequence[Visit], statistic: str, *, take_out_wandering: bool = True
) -> LatencyTable:
    """The same session with its latencies by another statistic, calibrated anew.

    Without `take_out_wandering` latencies are of the moments at which the device was as usual, however few. Rows that
    failed or have no visit stay as they are.
    """
    sampling, estimator = table.metadata.sampling, ESTIMATORS[statistic]
    level = Level(float(sampling.get("drift_limit", _USUAL_LIMIT)))
    readings = [visit for visit in visits if visit.round < 0 and math.isfinite(visit.median_ms)]
    for visit in readings:
        level.take(visit.median_ms, throttled="throttled" in visit.flags)
    by_unit: dict[str, list[Visit]] = {}
    for visit in visits:
        if visit.round >= 0:
            by_unit.setdefault(visit.unit, []).append(judged(visit, level.is_usual))
    wanted_ci = float(sampling.get("stop", {}).get("relative_ci", _USUAL_CI))
    measured = {
        entry.block: Measurement(entry.block, tuple(by_unit[entry.block]), estimator=estimator, stopped=entry.reason)
        for entry in table.entries
        if not entry.failed and entry.block in by_unit
    }
    levelled: Mapping[str, Levelled] = {}
    if estimator.undisturbed and take_out_wandering:
        wandering = wanders([visit.median_ms for visit in readings], level.is_usual)
        levelled = levelled_where_better(measured, wandering=wandering, wanted_ci=wanted_ci)
    entries = []
    for entry in table.entries:
        if (one := measured.get(entry.block)) is not None:
            one = replace(one, levelled=levelled.get(entry.block))
        entries.append(one.entry(entry.role, entry.blocks, wanted_ci) if one else entry)
    about = replace(table.metadata, sampling={**sampling, "statistic": statistic})
    return LatencyTable(tuple(entries), about).calibrated()
