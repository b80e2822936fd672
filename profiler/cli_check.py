"""A look at a device before the work: all that is missing or wrong, together, each with what to do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import typer

from devices import DeviceError, DeviceSpec, open_backend
from devices.backend import Backend, DeviceState
from devices.locks import holder
from lut.errors import LutError
from lut.files import require_writable
from pnag.errors import PnagError
from profiler.console import print_json, print_text
from profiler.errors import ProfilerError

T = TypeVar("T")
_OURS = (DeviceError, LutError, ProfilerError, PnagError)

_ROOM_BYTES = 300_000_000  # what exported files of a space take, about
_TABLE_BYTES = 20_000_000  # a table, its journal and its visits
_WARM_C = {"phone": 37.0, "cpu": 85.0, "gpu": 80.0}  # from about here on devices of the kind have been seen to throttle
_BUSY = 0.5


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `problem` says what is wrong and what to do, empty where nothing is."""

    subject: str
    found: str = ""
    problem: str = ""

    @property
    def line(self) -> str:
        """How it is told."""
        return f"{'wrong' if self.problem else 'good':6} {self.subject}: {self.problem or self.found}"

    @property
    def row(self) -> dict[str, str | None]:
        """Its row in the document of `--json`."""
        return {"subject": self.subject, "found": self.found, "problem": self.problem or None}


class Notes:
    """What is wrong with what was asked, noted one after the other; without `collect` the first of it is raised."""

    def __init__(self, *, collect: bool) -> None:
        self.collect = collect
        self.findings: list[Finding] = []

    def tried(self, subject: str, action: Callable[[], T]) -> T | None:
        """What `action` gives; None where it does not, which is then noted."""
        try:
            return action()
        except (*_OURS, OSError, typer.BadParameter) as error:
            if not self.collect:
                raise
            told = error.format_message() if isinstance(error, typer.BadParameter) else str(error)
            self.findings.append(Finding(subject, problem=told))
            return None


def check_device(
    spec: DeviceSpec | None,
    options: dict[str, Any],
    *,
    out: Path,
    cache: Path | None,
    allow_mismatch: bool = False,
    noted: Sequence[Finding] = (),
) -> Iterator[Finding]:
    """Look at everything that can be looked at in seconds, what takes longest last; nothing is measured or converted.

    `noted` is what was found before; among it why there is no `spec`, if there is none.
    """
    yield from look_at_places(out, cache)
    yield from noted
    if spec is None:
        return
    lacks = False
    for need in _needs(spec, options):
        lacks = lacks or bool(need.problem)
        yield need
    if lacks:
        yield Finding("device", problem="not asked, as what it needs is missing")
        return
    backend: Backend | None = None
    try:
        backend = open_backend(spec, **options)
        yield from _of_backend(backend, spec, allow_mismatch)
    except DeviceError as error:
        yield Finding("device", problem=str(error))
    finally:
        if backend is not None:
            backend.close()


def _found(subject: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(subject, look())
    except (DeviceError, LutError, OSError) as error:
        return Finding(subject, problem=str(error))


def look_at_places(out: Path, cache: Path | None) -> list[Finding]:
    """Whether the table can be written, and the exported files where they have a place, and nobody else writes them."""
    table = _found("table", lambda: f"{_written(out)} can be written")
    if user := holder(out.with_suffix(".lock")):
        table = Finding("table", problem=f"{out} is in use by {user}; wait until it is done, or choose another --out")
    if cache is None:
        return [table, *_room({"--out": (out.parent, _TABLE_BYTES)})]
    kept = _found("files", lambda: f"exported ones are kept in {_written(cache / 'file').parent}")
    if kept.problem:
        kept = Finding("files", problem=f"{kept.problem} by --cache or $PNAG_CACHE")
    return [table, kept, *_room({"--out": (out.parent, _TABLE_BYTES), "--cache": (cache, _ROOM_BYTES)})]


def _written(path: Path) -> Path:
    require_writable(path)
    return path


def _room(wanted: Mapping[str, tuple[Path, int]]) -> list[Finding]:
    """Whether there is room for so many bytes in each folder; what lies on one disk is one finding."""
    disks: dict[int, tuple[str, Path, int]] = {}
    for option, (folder, size) in wanted.items():
        there = next(path for path in (folder, *folder.absolute().parents) if os.path.isdir(path))  # noqa: PTH112
        before, _, more = disks.get(there.stat().st_dev, ("", there, 0))
        disks[there.stat().st_dev] = (f"{before} and {option}" if before else option, there, size + more)
    findings = []
    for option, there, size in disks.values():
        free = shutil.disk_usage(there).free
        problem = (
            f"{free >> 20} MiB are free at {there}; make room for {size >> 20} MiB, or choose other places by {option}"
        )
        findings.append(Finding("space", f"{free >> 30} GiB are free at {there}", problem if free < size else ""))
    return findings


def _needs(spec: DeviceSpec, options: dict[str, Any]) -> Iterator[Finding]:
    """What a device needs on this side, each by itself: a phone's tool and cable, a GPU's driver and torch."""
    if spec.backend == "android":
        yield from _needs_of_phone({**spec.options, **{name: v for name, v in options.items() if v is not None}})
    elif spec.backend == "cuda":
        from devices.cuda.cards import require_card, require_cuda_torch

        yield _found("torch", require_cuda_torch)
        yield _found("card", lambda: require_card() or "the driver does not start")


def _needs_of_phone(given: Mapping[str, Any]) -> Iterator[Finding]:
    from devices.android.adb.errors import require_phone
    from devices.android.adb.transport import Address, require_attached
    from devices.android.elf import read_elf
    from devices.android.tool import find_tool

    def tool() -> str:
        read_elf(path := find_tool(given.get("benchmark_model")))
        return f"{path} is an executable"

    def reach() -> str:
        if given.get("adb"):
            require_phone(Address.parse(str(given["adb"])))
        else:
            require_attached(given.get("serial"))
        return str(given.get("adb") or "USB")

    yield _found("tool", tool)
    yield _found("way to the phone", reach)


def _of_backend(backend: Backend, spec: DeviceSpec, allow_mismatch: bool) -> list[Finding]:
    found = backend.device()
    mismatch = spec.mismatch(found)
    findings = [
        Finding("device", found.model, "" if allow_mismatch or not mismatch else f"{mismatch}; see --allow-mismatch"),
        Finding("runtime", f"{backend.runtime().get('name')} {backend.runtime().get('version')}"),
    ]
    if off := found.fields.get("cores_offline"):
        cores = ", ".join(map(str, off))
        findings.append(Finding("cores", problem=f"cores {cores} are off line; wake them, or measure on the others"))
    elif used := found.fields.get("cores_used"):
        findings.append(Finding("cores", f"{', '.join(map(str, used))} are measured on"))
    return [*findings, *_of_state(found.kind, found.fields, backend.state())]


def _of_state(kind: str, fields: Any, state: DeviceState) -> list[Finding]:
    findings = []
    limit = _WARM_C.get(kind, _WARM_C["cpu"])
    if state.temperature_c is not None:
        warm = f"{state.temperature_c:.1f} °C"
        too_warm = f"{warm}; let it cool below {limit:.0f} °C" if state.temperature_c >= limit else ""
        findings.append(Finding("heat", warm, too_warm))
    if state.throttled:
        findings.append(Finding("clock", problem="the device says it is throttled; let it cool, end what runs on it"))
    governor = fields.get("governor")
    if governor in ("powersave", "conservative") or set(fields.get("governors") or ()) == {"powersave"}:
        findings.append(Finding("governor", problem="powersave; choose performance, or measure what users will have"))
    if state.load is not None and state.load > _BUSY:
        findings.append(Finding("load", problem=f"{state.load:.1f} other tasks a core want to run; end them, or wait"))
    elif state.load is not None:
        findings.append(Finding("load", "the device is idle"))
    battery = state.details.get("battery_percent")
    if isinstance(battery, int) and battery < 20 and not state.details.get("charging"):
        findings.append(Finding("battery", problem=f"{battery} % and not charging; plug in a charger"))
    return findings


def tell(found: Mapping[str, Iterable[Finding]], *, json: bool) -> int:
    """Print what is found of each device by name, as it is found, and the status: 0 if nothing is wrong, else 3."""
    wrong: dict[str, int] = {}
    documents: list[dict[str, Any]] = []
    for device, findings in found.items():
        seen = []
        for finding in findings:
            seen.append(finding)
            if not json:
                print_text(finding.line)
        wrong[device] = sum(bool(finding.problem) for finding in seen)
        documents.append({"device": device, "wrong": wrong[device], "checks": [finding.row for finding in seen]})
        if not json:
            verdict = f"{wrong[device]} of {len(seen)} to be seen to" if wrong[device] else "ready to be profiled"
            print_text(f"{device}: {verdict}")
    if json:
        print_json(documents[0] if len(documents) == 1 else {"devices": documents})
    return DeviceError.exit_code if any(wrong.values()) else 0
