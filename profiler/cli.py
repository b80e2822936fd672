"""`pnag-profile`: measure the blocks of a space on a device, write its latency table."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer

from devices import DeviceError, DeviceSpec, list_specs, load_spec, open_backend
from devices.backend import Backend
from devices.registry import attached
from lut.errors import OutputError
from lut.table import LatencyTable
from pnag.space import SearchSpace, load_space
from profiler.artefacts import ArtefactCache, open_factory
from profiler.cli_networks import sample_units
from profiler.console import DebugOption, JsonOption, Progress, new_app, print_json, print_text, run_app, say
from profiler.plan import Unit, block_units
from profiler.profile import Job, Prepared, measure, prepare
from profiler.report import document, summary
from profiler.session import Sampling

app = new_app()

# Programs may stay loaded in this share of the memory that is free.
_MEMORY_SHARE = 0.5


@app.command()
def profile(
    *,
    device: Annotated[str, typer.Option(help="A device of --list-devices, or a .toml file of your own.")] = "cpu",
    out: Annotated[Path | None, typer.Option(help="The table's file; lut/NAME.parquet unless given.")] = None,
    space: Annotated[str, typer.Option(help="The search space.")] = "ofa-mbv3-w1.2",
    resolution: Annotated[int | None, typer.Option(help="Side of the input images in pixels (224).")] = None,
    classes: Annotated[int | None, typer.Option(help="Classes of the classifier (1000).")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Images in a call.")] = None,
    calibrate: Annotated[int, typer.Option(min=0, help="Whole networks measured to calibrate with.")] = 40,
    holdout: Annotated[int, typer.Option(min=0, help="Whole networks measured to judge predictions by.")] = 20,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the runtime.")] = None,
    affinity: Annotated[
        str | None, typer.Option(help="Cores to measure on, such as 1 or 0,2-3; none leaves it open.")
    ] = None,
    max_minutes: Annotated[float | None, typer.Option(help="Finish by then, with what is known by then.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do not resume: drop what an earlier run measured.")] = False,
    seed: Annotated[int, typer.Option(help="Of the order of measuring and the choice of networks.")] = 0,
    cache: Annotated[Path | None, typer.Option(help="Where exported files are kept; $PNAG_CACHE.")] = None,
    adb: Annotated[str | None, typer.Option(help="A phone at HOST:PORT.")] = None,
    serial: Annotated[str | None, typer.Option(help="A phone on USB by its serial.")] = None,
    benchmark_model: Annotated[Path | None, typer.Option(help="The benchmark_model file for the phone.")] = None,
    allow_mismatch: Annotated[
        bool, typer.Option("--allow-mismatch", help="Go on though the hardware is not the one named.")
    ] = False,
    list_devices: Annotated[bool, typer.Option("--list-devices", help="List devices and what is attached.")] = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Measure every block of a search space on a device, and some whole networks; write the latency table."""
    if list_devices:
        _list_devices(json)
        return
    if max_minutes is not None and not max_minutes > 0:
        raise typer.BadParameter(f"--max-minutes {max_minutes:g} is no time at all; give a positive number")
    started_s = time.monotonic()
    deadline_s = math.inf if max_minutes is None else started_s + 60 * max_minutes
    spec = _with_options(load_spec(device), threads=threads, batch=batch)
    profiled = load_space(space, resolution=resolution, classes=classes)
    out = out if out is not None else Path("lut") / f"{spec.name}.parquet"
    backend = open_backend(spec, **_given(affinity=affinity, adb=adb, serial=serial, benchmark_model=benchmark_model))
    try:
        _check_writable(out)
        job = _job(backend, spec, profiled, (calibrate, holdout), seed=seed, allow=allow_mismatch)
        prepared = _prepare(backend, job, cache, deadline_s - started_s)
        table = _measure(backend, job, prepared, out, fresh=fresh, deadline_s=deadline_s)
    finally:
        backend.close()
    seconds = time.monotonic() - started_s
    if json:
        print_json(document(table, out, seconds))
    else:
        print_text(summary(table, out, seconds))
    if all(entry.failed for entry in table.blocks.values()):
        raise DeviceError(f"no block could be measured; {next(iter(table.blocks.values())).reason}")


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _with_options(spec: DeviceSpec, **options: Any) -> DeviceSpec:
    return replace(spec, **_given(**options))


def _check_writable(out: Path) -> None:
    """Say at once, not after minutes of measuring, that the output cannot be written."""
    probe = out.with_name(f".{out.name}.probe")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.is_dir():
            raise IsADirectoryError(21, "it is a folder")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(f"cannot write {out}: {error.strerror or error}; choose another place with --out") from error


def _job(
    backend: Backend, spec: DeviceSpec, space: SearchSpace, networks: tuple[int, int], *, seed: int, allow: bool
) -> Job:
    found = backend.device()
    calibrate, holdout = networks
    mismatch = spec.check(found, allow_mismatch=allow)
    if mismatch:
        say(f"going on though {mismatch}")
    units: tuple[Unit, ...] = (*block_units(space.blocks()), *sample_units(space, calibrate, holdout, seed))
    say(f"{found.model}: {len(units) - calibrate - holdout} blocks, {calibrate} + {holdout} networks")
    device = {"spec": spec.name} | ({"mismatch": mismatch} if mismatch else {})
    sampling = Sampling(seed=seed)
    return Job(space.to_dict(), space.resolution, space.classes, spec.batch, units, sampling, device)


def _prepare(backend: Backend, job: Job, cache: Path | None, max_s: float) -> Prepared:
    factory = open_factory(backend.artefact_format, ArtefactCache(cache), job.batch)
    with Progress("exporting", len(job.units)) as progress:
        return prepare(job.units, factory, progress, max_s=max_s)


def _measure(
    backend: Backend, job: Job, prepared: Prepared, out: Path, *, fresh: bool, deadline_s: float
) -> LatencyTable:
    memory = int(_MEMORY_SHARE * psutil.virtual_memory().available)
    visits = len(prepared.artefacts) * job.sampling.stop.min_rounds
    with Progress("measuring", visits) as progress:
        table, journal = measure(
            backend,
            job,
            prepared,
            out.with_suffix(".journal"),
            fresh=fresh,
            memory_limit_bytes=memory,
            watcher=progress,
            deadline_s=deadline_s,
        )
    table.save(out)
    if not table.metadata.notes:  # what a longer run could add to stays resumable
        journal.remove()
    return table


def _list_devices(json: bool) -> None:
    specs = [load_spec(name) for name in list_specs()]
    rows = [
        {"name": spec.name, "title": spec.title, "runtime": spec.backend, "attached": attached(spec)} for spec in specs
    ]
    if json:
        print_json({"devices": rows})
        return
    for spec, row in zip(specs, rows, strict=True):
        print_text(f"{spec.name:16} {spec.title} ({spec.backend})")
        for line in row["attached"]:
            print_text(f"{'':16} here: {line}")


def main() -> None:
    """The command's entry."""
    run_app(app, "pnag-profile")


if __name__ == "__main__":
    main()
