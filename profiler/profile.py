"""From units to a latency table: export, measure, calibrate."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from devices.backend import Artefact, Backend
from lut.blocks import BlockSpec
from lut.entry import Entry
from lut.identity import identity_of
from lut.table import LatencyTable, TableMetadata
from lut.version import now_text, tool_version
from profiler.build.artefacts import Ahead, ArtefactFactory
from profiler.errors import ExportError
from profiler.measure.journal import Journal
from profiler.measure.plan import Unit, reference_unit
from profiler.measure.session import Sampling, Session, SessionResult
from profiler.measure.time_share import networks_by_need
from profiler.progress import Progress

# Of the time allowed, this share at most goes into exporting networks.
_EXPORT_SHARE = 0.4


@dataclass(frozen=True)
class Job:
    """What to profile: the space that the blocks come from (as plain values), the units, and how.

    `device` adds to what the back-end says about the device: the spec's name, a mismatch that was allowed.
    """

    space: Mapping[str, Any]
    resolution: int
    classes: int
    batch: int
    units: tuple[Unit, ...]
    sampling: Sampling
    device: Mapping[str, Any] = field(default_factory=dict)

    def about(self, backend: Backend, files: Mapping[str, Any]) -> dict[str, Any]:
        """Equal for jobs whose measurements may be mixed, as JSON values. `files` is what the artefacts depend on."""
        found = backend.device()
        facts = {"model": found.model, **found.fields}
        names = repr([(unit.role, unit.name) for unit in self.units])
        return {
            "space": dict(self.space),
            "resolution": self.resolution,
            "classes": self.classes,
            "batch": self.batch,
            "units": {
                "blocks": sum(unit.role == "block" for unit in self.units),
                "calibrate": sum(unit.role == "calibration" for unit in self.units),
                "holdout": sum(unit.role == "holdout" for unit in self.units),
                "names_sha256": hashlib.sha256(names.encode()).hexdigest(),
            },
            "sampling": _finite(asdict(self.sampling)),
            "device": {
                "kind": found.kind, **identity_of(found.kind, facts), "unit": found.unit,
                "cores_used": found.fields.get("cores_used"),
                "spec": self.device.get("spec"), "options": dict(self.device.get("options", {})),
            },
            "runtime": dict(backend.runtime()),
            "files": dict(files),
            "release": tool_version(),
        }  # fmt: skip


@dataclass(frozen=True)
class Prepared:
    """Artefacts by unit name, reasons of those that could not be made, networks left out for want of time.

    `files` is what the artefacts depend on beside their blocks; `late` are the failures for want of time.
    """

    artefacts: Mapping[str, Artefact]
    failures: Mapping[str, str]
    left_out: frozenset[str]
    seconds: float
    files: Mapping[str, Any] = field(default_factory=dict)
    late: frozenset[str] = frozenset()


def prepare(
    units: Sequence[Unit],
    factory: ArtefactFactory,
    watcher: Progress | None = None,
    *,
    max_s: float = math.inf,
    ahead: Ahead | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Prepared:
    """Make every artefact, blocks first, then networks by need; these are left out once their share of `max_s` is up.

    When all of `max_s` is, blocks whose file is not there yet fail. `ahead` puts many files into the factory's cache
    at once, in that order, for the networks' share of the time at most.
    """
    artefacts: dict[str, Artefact] = {}
    left_out: set[str] = set()
    late: set[str] = set()
    told: set[str] = set()
    started_s = clock()
    ordered = _in_order(units)

    def tell(name: str, note: str) -> None:
        if watcher is not None and name not in told:
            watcher.advance(1, note)
        told.add(name)

    share_s = _EXPORT_SHARE * max_s
    wanted = {unit.name: unit.specs for unit in ordered}
    failures = ahead(wanted, lambda name: tell(name, "converting"), share_s) if ahead else {}
    for unit in ordered:
        passed_s = clock() - started_s
        if unit.role != "block" and passed_s > share_s and not (ahead and _is_there(factory, unit)):
            left_out.add(unit.name)
            continue
        if unit.name in failures:
            continue
        if passed_s >= max_s and not _is_there(factory, unit):
            late.add(unit.name)
            failures[unit.name] = "the time was up before it was exported"
            continue
        try:
            artefacts[unit.name] = factory.make(unit.name, unit.specs)
        except ExportError as error:
            failures[unit.name] = str(error)
        tell(unit.name, unit.role)
    left, failed = frozenset(left_out), frozenset(late)
    return Prepared(artefacts, failures, left, clock() - started_s, factory.identity(), failed)


def _in_order(units: Sequence[Unit]) -> list[Unit]:
    """The reference first, so that it is the same one however short the time; other blocks; networks by need."""
    if not units:
        return []
    reference = reference_unit([unit for unit in units if unit.role == "block"] or units)
    ordered = (*(unit for unit in units if unit.role == "block"), *networks_by_need(units))
    return sorted(ordered, key=lambda unit: unit != reference)


def _is_there(factory: ArtefactFactory, unit: Unit) -> bool:
    """Whether the artefact takes no time to make."""
    is_cached: Callable[[Sequence[BlockSpec]], bool] | None = getattr(factory, "is_cached", None)
    return is_cached is None or is_cached(unit.specs)


def measure(
    backend: Backend,
    job: Job,
    prepared: Prepared,
    journal: Path,
    *,
    fresh: bool = False,
    memory_limit_bytes: int = 4 << 30,
    watcher: Progress | None = None,
    deadline_s: float = math.inf,
) -> tuple[LatencyTable, Journal]:
    """Measure what was prepared, resuming from `journal`; the calibrated table, and the journal to remove.

    The table is not yet written: remove the journal when it is. Raises `ExportError` where no artefact is there.
    """
    started_s = time.monotonic()
    units = tuple(unit for unit in job.units if unit.name in prepared.artefacts)
    _require_something(job, prepared)
    reference = _in_order(job.units)[0]
    if reference not in units:
        reference = _in_order(units)[0]
    about = job.about(backend, prepared.files) | {"reference": reference.name}
    with Journal(journal, about, fresh=fresh) as opened:
        session = Session(
            backend,
            units,
            prepared.artefacts.__getitem__,
            reference.name,
            sampling=job.sampling,
            journal=opened,
            memory_limit_bytes=memory_limit_bytes,
            watcher=watcher,
            deadline_s=deadline_s,
        )
        result = session.run()
    seconds = {"export_s": round(prepared.seconds, 2), "measure_s": round(time.monotonic() - started_s, 2)}
    return _table(backend, job, prepared, result, seconds), opened


def _require_something(job: Job, prepared: Prepared) -> None:
    """Raise `ExportError` if no block is there, or no network where none but networks were asked for."""
    blocks = [unit.name for unit in job.units if unit.role == "block"]
    wanted = blocks or [unit.name for unit in job.units]
    if not any(name in prepared.artefacts for name in wanted):
        reasons = [prepared.failures[name] for name in wanted if name in prepared.failures]
        what = "block" if blocks else "network"
        raise ExportError(f"no {what} could be exported: {reasons[0] if reasons else 'there is none'}")


def _table(
    backend: Backend, job: Job, prepared: Prepared, result: SessionResult, seconds: Mapping[str, float]
) -> LatencyTable:
    entries = [entry for unit in job.units if (entry := _entry(unit, job, prepared, result)) is not None]
    found = backend.device()
    notes = []
    if left_out := prepared.left_out | result.left_out:
        notes.append(f"{len(left_out)} networks were left out: the time was up")
    if prepared.late:
        notes.append(f"{len(prepared.late)} blocks were not exported: the time was up")
    if not result.complete:
        notes.append("the time was up before every latency was known well enough")
    about = TableMetadata(
        space=dict(job.space),
        resolution=job.resolution,
        classes=job.classes,
        batch=job.batch,
        device={"kind": found.kind, "model": found.model, **found.fields, **job.device},
        runtime=dict(backend.runtime()),
        sampling={**_finite(asdict(job.sampling)), "quality": dict(result.quality), "seconds": dict(seconds)},
        created=now_text(),
        tool_version=tool_version(),
        notes=tuple(notes),
    )
    entries.sort(key=lambda entry: entry.role != "block")
    return LatencyTable(tuple(entries), about).calibrated()


def _entry(unit: Unit, job: Job, prepared: Prepared, result: SessionResult) -> Entry | None:
    if unit.name in prepared.left_out | result.left_out:
        return None
    if unit.name in prepared.failures:
        return Entry(unit.role, unit.name, flags=("failed",), reason=prepared.failures[unit.name], blocks=unit.blocks)
    return result.measurements[unit.name].entry(unit.role, unit.blocks, job.sampling.stop.relative_ci)


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain JSON: no limit (infinity) becomes None."""
    return {
        key: _finite(value)
        if isinstance(value, Mapping)
        else None
        if isinstance(value, float) and math.isinf(value)
        else value
        for key, value in values.items()
    }
