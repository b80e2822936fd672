"""A session as a Chrome trace: what was measured when, and what state the device was in.

The form is the trace event format, which Chrome, Perfetto and Speedscope open: complete events (`X`) for rounds, visits
and readings of the reference, counters (`C`) for the device's state, metadata (`M`) for names. Times are microseconds
since the session began.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from lut.table import LatencyTable
from profiler.errors import JournalError
from profiler.measure.measurement import Visit

_PROCESS = 1
ROUNDS, BLOCKS, NETWORKS, REFERENCE = "rounds", "blocks", "networks", "reference"
TRACKS: Mapping[str, int] = {ROUNDS: 1, BLOCKS: 2, NETWORKS: 3, REFERENCE: 4}

Event = dict[str, Any]


@dataclass(frozen=True)
class Trace:
    """A trace's events, and how many visits and readings they show.

    `durations_known`: whether all of these say how long they lasted. Visits of releases before 0.1 do not: they are
    shown as long as their calls took, without the time that making the program ready took.
    """

    events: tuple[Event, ...]
    visits: int
    readings: int
    lasted_s: float
    durations_known: bool

    def document(self) -> dict[str, Any]:
        """The file's content as JSON values."""
        return {"traceEvents": list(self.events), "displayTimeUnit": "ms"}


def trace_of(table: LatencyTable, visits: Iterable[Visit]) -> Trace:
    """The session of a table as a trace. Raises `JournalError` where no visit says when it began."""
    timed = sorted((visit for visit in visits if math.isfinite(visit.at_s)), key=_start_s)
    if not timed:
        raise JournalError("no visit of this session says when it began, so there is no trace of it; profile again")
    measured = [visit for visit in timed if visit.round >= 0]
    readings = [visit for visit in timed if visit.round < 0]
    events = (
        *_names(table),
        *_rounds(measured),
        *(_visit(visit, BLOCKS if visit.unit in table.blocks else NETWORKS) for visit in measured),
        *(_visit(visit, REFERENCE) for visit in readings),
        *_counters(measured, readings),
    )
    known = all(math.isfinite(visit.lasted_s) for visit in timed)
    return Trace(events, len(measured), len(readings), max(map(_end_s, timed)), known)


def calls_s(visit: Visit) -> float:
    """Time that the calls of a visit took together, untimed ones too."""
    timed = len(visit.as_happened_ms)
    if not timed:
        return 0.0
    calls_each = visit.runs / (len(visit.times_ms) or timed)  # a time may be the mean of several calls
    return (sum(visit.warmup_ms) + calls_each * sum(visit.as_happened_ms)) / 1e3


def _lasted_s(visit: Visit) -> float:
    return visit.lasted_s if math.isfinite(visit.lasted_s) else calls_s(visit)


def _start_s(visit: Visit) -> float:
    """When it began; of a reading that does not say how long it lasted, `at_s` is its end."""
    if visit.round < 0 and not math.isfinite(visit.lasted_s):
        return max(0.0, visit.at_s - calls_s(visit))
    return visit.at_s


def _end_s(visit: Visit) -> float:
    return _start_s(visit) + _lasted_s(visit)


def _us(seconds: float) -> int:
    return round(seconds * 1e6)


def _names(table: LatencyTable) -> Iterator[Event]:
    meta = table.metadata
    device, runtime = meta.device_name or "unknown device", meta.runtime_name or "unknown runtime"
    yield _metadata("process_name", 0, {"name": f"{device}, {runtime}"})
    yield _metadata("process_labels", 0, {"labels": f"table {table.content_sha256[:12]}, {meta.created}"})
    for track, number in TRACKS.items():
        yield _metadata("thread_name", number, {"name": track})
        yield _metadata("thread_sort_index", number, {"sort_index": number})


def _metadata(what: str, track: int, values: Mapping[str, Any]) -> Event:
    return {"ph": "M", "name": what, "pid": _PROCESS, "tid": track, "args": dict(values)}


def _complete(name: str, track: str, start_s: float, end_s: float, args: Mapping[str, Any]) -> Event:
    start_us = _us(start_s)
    return {
        "ph": "X", "name": name, "cat": track, "pid": _PROCESS, "tid": TRACKS[track], "ts": start_us,
        "dur": max(0, _us(end_s) - start_us), "args": dict(args),
    }  # fmt: skip


def _rounds(visits: Sequence[Visit]) -> Iterator[Event]:
    """One event for each stretch of a round: a session that was interrupted may take up a round again."""
    for number, stretch in groupby(visits, key=lambda visit: visit.round):
        inside = list(stretch)
        end_s = max(map(_end_s, inside))
        yield _complete(f"round {number + 1}", ROUNDS, _start_s(inside[0]), end_s, {"visits": len(inside)})


def _visit(visit: Visit, track: str) -> Event:
    args: Event = {"calls": visit.runs}
    if visit.round >= 0:
        args["round"] = visit.round + 1
    if math.isfinite(visit.median_ms):
        args["median_ms"] = round(visit.median_ms, 6)
    if visit.flags:
        args["flags"] = ", ".join(visit.flags)
    if visit.failure:
        args["failure"] = visit.failure
    return _complete(visit.unit, track, _start_s(visit), _end_s(visit), args)


def _counters(visits: Sequence[Visit], readings: Sequence[Visit]) -> Iterator[Event]:
    """What the device said of its state, where it changed, and what the reference took."""
    last: dict[str, float] = {}
    for visit in visits:
        for name, value in _state(visit).items():
            if last.get(name) != value:
                last[name] = value
                yield _counter(name, _start_s(visit), value)
    for reading in readings:
        if math.isfinite(reading.median_ms):
            yield _counter("reference_ms", _start_s(reading), reading.median_ms)


def _state(visit: Visit) -> dict[str, float]:
    values = {"temperature_c": visit.temperature_c, "clock_mhz": visit.clock_mhz, "load": visit.load, **visit.details}
    return {
        name: value for name, value in values.items() if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _counter(name: str, at_s: float, value: float) -> Event:
    return {"ph": "C", "name": name, "pid": _PROCESS, "ts": _us(at_s), "args": {"value": value}}
