"""`pnag-profile`: measure the blocks of a space on a device, write its latency table."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from devices import DeviceSpec, list_specs, load_spec, open_backend
from devices.backend import Backend
from devices.host.allowance import usable_memory_bytes
from devices.host.computer import allowed_cores
from devices.locks import holding
from devices.registry import attached, option_rows, read_options
from devices.specs.form import PRECISIONS
from lut.files import require_writable
from lut.formats.parquet import require_table_suffix
from lut.table import LatencyTable
from lut.version import now_text
from lut.words import printable
from pnag.space.spaces import load_space, parse_resolutions
from profiler import cli_zoo, progress
from profiler.build.artefacts import ArtefactCache, default_cache_dir, open_factory
from profiler.cli_check import Notes, check_device, tell
from profiler.cli_networks import Plan, table_plan
from profiler.cli_targets import Target, run_each, targets
from profiler.console import (
    MOST_SEED,
    DebugOption,
    JsonOption,
    Progress,
    VersionOption,
    command_line,
    new_app,
    print_json,
    print_text,
    run_app,
    say,
)
from profiler.measure.estimator import ESTIMATORS
from profiler.measure.journal import begun_with
from profiler.measure.sampling import load_device, sampling_for
from profiler.measure.session import Sampling
from profiler.measure.stopping import read_stop
from profiler.profile import Job, Prepared, measure, prepare
from profiler.report import shown_table

app = new_app()

# Programs may stay loaded in this share of the memory that is free.
_MEMORY_SHARE = 0.5
# The space, and how many whole networks calibrate and judge, unless others are asked for.
DEFAULT, _CALIBRATE, _HOLDOUT = "ofa-mbv3-w1.2", 40, 20


@app.command()
def profile(
    *,
    device: Annotated[
        str, typer.Option(metavar="DEVICE", help="A device of --list-devices, or a .toml file of your own.")
    ] = "cpu",
    out: Annotated[Path | None, typer.Option(help="The table's file; lut/NAME.parquet unless given.")] = None,
    space: Annotated[
        str | None, typer.Option(help="The search space: a name (ofa-mbv3-w1.2), or a .toml file of your own.")
    ] = None,
    resolution: Annotated[
        str | None,
        typer.Option(metavar="R[,R...]", help="Side of the input images in pixels (224); several to choose from."),
    ] = None,
    classes: Annotated[int | None, typer.Option(help="Classes of the classifier (1000).")] = None,
    batch: Annotated[int | None, typer.Option(min=1, max=4096, help="Images in a call.")] = None,
    calibrate: Annotated[
        int | None, typer.Option(min=0, max=1000, help="Whole networks measured to calibrate with (40).")
    ] = None,
    holdout: Annotated[
        int | None, typer.Option(min=0, max=1000, help="Whole networks measured to judge predictions by (20).")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, max=4096, help="Threads of the runtime.")] = None,
    affinity: Annotated[
        str | None, typer.Option(help="Cores to measure on, such as 1 or 0,2-3; none leaves it open.")
    ] = None,
    max_minutes: Annotated[float | None, typer.Option(help="Finish by then, with what is known by then.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do not resume: drop what an earlier run measured.")] = False,
    statistic: Annotated[
        str, typer.Option(help="What a latency is: quiet (the device at its quietest), median or p90 of its calls.")
    ] = "quiet",
    stop: Annotated[
        str | None,
        typer.Option(
            metavar="RULE[,KEY=VALUE...]",
            help="When a latency is known well enough: precision, settled or rounds, such as settled,patience=3.",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=MOST_SEED, help="Of the order of measuring and the choice of networks.")
    ] = 0,
    cache: Annotated[Path | None, typer.Option(help="Where exported files are kept; $PNAG_CACHE.")] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="float32; dynamic-int8 or int8 on CPUs; float16 on GPUs, there also tf32 and bfloat16."),
    ] = None,
    adb: Annotated[list[str] | None, typer.Option(help="A phone at HOST:PORT; again for several.")] = None,
    serial: Annotated[list[str] | None, typer.Option(help="A phone on USB by its serial; again for several.")] = None,
    benchmark_model: Annotated[Path | None, typer.Option(help="The benchmark_model file for the phone.")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="An option of the device's runtime, see --list-options; again for more."
        ),
    ] = None,
    # These options of some devices are older than --option; they stay, for people's commands have them.
    delegate: Annotated[str | None, typer.Option(hidden=True)] = None,
    mode: Annotated[str | None, typer.Option(hidden=True)] = None,
    channels_last: Annotated[bool | None, typer.Option("--channels-last", hidden=True)] = None,
    cold: Annotated[bool | None, typer.Option("--cold", hidden=True)] = None,
    gpu: Annotated[int | None, typer.Option(min=0, max=1023, hidden=True)] = None,
    allow_mismatch: Annotated[
        bool, typer.Option("--allow-mismatch", help="Go on though the hardware is not the one named.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write a page to open in a browser, also offline.")
    ] = None,
    zoo: Annotated[
        bool, typer.Option("--zoo", help="Measure published networks in place of blocks, see --list-zoo.")
    ] = False,
    zoo_only: Annotated[
        str | None,
        typer.Option(metavar="NAME[,NAME...]", help="Of these only: names, patterns such as 'mnasnet*', or sources."),
    ] = None,
    list_zoo: Annotated[bool, typer.Option("--list-zoo", help="List the networks of --zoo.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Say in seconds all that is missing or wrong; measure nothing.")
    ] = False,
    list_devices: Annotated[bool, typer.Option("--list-devices", help="List devices and what is attached.")] = False,
    list_options: Annotated[
        str | None, typer.Option(metavar="DEVICE", help="List what --option may set for that device.")
    ] = None,
    json: JsonOption = False,
    version: VersionOption = False,
    debug: DebugOption = False,
) -> int | None:
    """Measure every block of a search space on a device, and some whole networks; write the latency table."""
    if _listed(list_devices, list_options, list_zoo, adb or (), json=json):
        return None
    started_s = time.monotonic()
    notes = Notes(collect=check)
    notes.tried("options", lambda: _check_words(max_minutes, statistic, precision))
    deadline_s = math.inf if max_minutes is None else started_s + 60 * max_minutes
    spec = notes.tried("device", lambda: load_device(device))
    spec = spec and _with_options(spec, threads=threads, batch=batch, precision=precision)
    sampling = notes.tried("stop rule", lambda: _sampling(spec, seed, statistic, stop))
    blocks: dict[str, Any] = {
        "space": space,
        "resolution": resolution,
        "classes": classes,
        "calibrate": calibrate,
        "holdout": holdout,
    }
    on_zoo = zoo or zoo_only is not None
    if on_zoo:
        plan = notes.tried("networks", lambda: cli_zoo.zoo_plan(zoo_only, **blocks, report=report))
    else:
        plan = notes.tried("space", lambda: _table_plan(seed, **blocks))
    name = spec.name if spec else "table"
    usual = cli_zoo.zoo_path(name) if on_zoo else Path("lut") / f"{name}.parquet"
    chosen = notes.tried("phones", lambda: targets(serial or (), adb or (), out if out is not None else usual))
    if not on_zoo and out is not None:
        notes.tried("table's name", lambda: require_table_suffix(out))
    if report is not None and chosen:
        notes.tried("report", lambda: _require_reports(report, chosen))
    told = notes.tried("options of the device", lambda: read_options(spec, option or ()) if spec else {}) or {}
    options = _given(affinity=affinity, delegate=delegate, mode=mode, channels_last=channels_last, cold=cold, gpu=gpu)
    given = options | _given(benchmark_model=benchmark_model)
    if check:
        kept = cache or notes.tried("files", default_cache_dir)
        found = {
            target.label or (spec.name if spec else device): check_device(
                spec and replace(spec, options={**spec.options, **told}),
                given | _given(serial=target.serial, adb=target.adb),
                out=target.out,
                cache=kept,
                allow_mismatch=allow_mismatch,
                noted=notes.findings,
            )
            for target in chosen or [Target(usual)]
        }
        return tell(found, json=json)
    # What could not be had was raised, not noted.
    assert spec
    assert sampling
    assert plan
    assert chosen
    spec = replace(spec, options={**spec.options, **told})
    with ExitStack() as opened:
        backends = [
            _open(opened, spec, target, ({} if fresh else _same_cores(spec, target)) | given) for target in chosen
        ]
        jobs = [
            _job(backend, spec, told | options, plan, sampling=sampling, allow=allow_mismatch) for backend in backends
        ]
        for target in chosen:
            opened.enter_context(_alone(target))
        prepared = _prepare(backends[0], plan, spec, cache, deadline_s - time.monotonic())
        runs = list(zip(chosen, backends, jobs, strict=True))
        tables = _measure_all(runs, prepared, plan, fresh=fresh, deadline_s=deadline_s)
    if report is not None:
        _write_reports(report, chosen, tables)
    _answer(chosen, tables, plan, time.monotonic() - started_s, json=json)
    return None


def _sampling(spec: DeviceSpec | None, seed: int, statistic: str, stop: str | None) -> Sampling:
    """How to measure; the usual where there is no spec, so that the rule is looked at all the same."""
    sampling = sampling_for(spec, seed, statistic) if spec else Sampling()
    return sampling if stop is None else replace(sampling, stop=read_stop(stop, sampling.stop))


def _listed(devices: bool, options_of: str | None, zoo: bool, adb: Sequence[str], *, json: bool) -> bool:
    """Print the list that was asked for, if one was."""
    if devices:
        _list_devices(adb, json)
    elif options_of is not None:
        _list_options(load_spec(options_of), json)
    elif zoo:
        cli_zoo.list_zoo(json=json)
    return devices or options_of is not None or zoo


def _check_words(max_minutes: float | None, statistic: str, precision: str | None) -> None:
    """Refuse at once what is no time, no statistic or no precision."""
    if precision is not None and precision not in PRECISIONS:
        raise typer.BadParameter(
            f"--precision {printable(precision, 40)} is unknown; choose from {', '.join(PRECISIONS)}"
        )
    if max_minutes is not None and not max_minutes > 0:
        raise typer.BadParameter(f"--max-minutes {max_minutes:g} is no time at all; give a positive number")
    if statistic not in ESTIMATORS:
        raise typer.BadParameter(
            f"--statistic {printable(statistic, 40)} is unknown; choose from {', '.join(ESTIMATORS)}"
        )


def _table_plan(
    seed: int,
    *,
    space: str | None,
    resolution: str | None,
    classes: int | None,
    calibrate: int | None,
    holdout: int | None,
) -> Plan:
    """The blocks and networks that were asked for, the usual ones where none were."""
    sides = None if resolution is None else parse_resolutions(resolution)
    of = load_space(DEFAULT if space is None else space, resolution=sides, classes=classes)
    return table_plan(
        of, _CALIBRATE if calibrate is None else calibrate, _HOLDOUT if holdout is None else holdout, seed
    )


def _open(opened: ExitStack, spec: DeviceSpec, target: Target, options: Mapping[str, Any]) -> Backend:
    """A target's back-end, which closes with `opened`."""
    require_writable(target.out)
    backend = open_backend(spec, **options, **_given(serial=target.serial, adb=target.adb))
    opened.callback(backend.close)
    return backend


def _same_cores(spec: DeviceSpec, target: Target) -> dict[str, Any]:
    """The host's cores of the session that is resumed, where the program chooses them.

    Meanwhile other cores may have become the quietest.
    """
    if "affinity" in spec.options or all(row["name"] != "affinity" for row in option_rows(spec)):
        return {}
    device = begun_with(target.out.with_suffix(".journal")).get("device", {})
    cores = device.get("cores_used")
    there = device.get("kind") == "cpu" and isinstance(cores, list) and cores and set(cores) <= set(allowed_cores())
    return {"affinity": ",".join(map(str, cores))} if there else {}


def _alone(target: Target) -> AbstractContextManager[None]:
    """Keep other profilers from the target's table and journal."""
    return holding(target.out.with_suffix(".lock"), str(target.out), "wait until it is done, or choose another --out")


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _with_options(spec: DeviceSpec, **options: Any) -> DeviceSpec:
    return replace(spec, **_given(**options))


def _job(
    backend: Backend,
    spec: DeviceSpec,
    options: Mapping[str, Any],
    plan: Plan,
    *,
    sampling: Sampling,
    allow: bool,
) -> Job:
    found = backend.device()
    mismatch = spec.check(found, allow_mismatch=allow)
    if mismatch:
        say(f"going on though {mismatch}")
    say(f"{found.model}: {plan.words}")
    device = {"spec": spec.name, "options": options, "mismatch": mismatch}
    device = {name: value for name, value in device.items() if value}
    return Job(plan.space, plan.resolution, plan.classes, spec.batch, plan.units, sampling, device)


def _prepare(backend: Backend, plan: Plan, spec: DeviceSpec, cache: Path | None, max_s: float) -> Prepared:
    format = backend.artefact_format
    factory = open_factory(format, ArtefactCache(cache), spec.batch, spec.precision)
    with Progress("exporting", len(plan.units)) as progress:
        return prepare(plan.units, plan.factory(factory), progress, max_s=max_s, ahead=plan.ahead(format, factory))


Run = tuple[Target, Backend, Job]


def _measure_all(
    runs: Sequence[Run], prepared: Prepared, plan: Plan, *, fresh: bool, deadline_s: float
) -> list[LatencyTable | Exception]:
    """The tables of all targets, measured at the same time; what went wrong in the place of one that failed."""
    memory = int(_MEMORY_SHARE * usable_memory_bytes() / len(runs))

    def work(index: int, watcher: progress.Progress) -> LatencyTable:
        target, backend, job = runs[index]
        table, journal = measure(
            backend,
            job,
            prepared,
            target.out.with_suffix(".journal"),
            fresh=fresh,
            memory_limit_bytes=memory,
            watcher=watcher,
            deadline_s=deadline_s,
        )
        plan.save(table, target.out, journal)
        if not table.metadata.notes:  # what a longer run could add to stays resumable
            journal.remove()
        return table

    visits = len(prepared.artefacts) * runs[0][2].sampling.stop.min_rounds
    with Progress("measuring", visits * len(runs)) as progress:
        if len(runs) == 1:  # in this thread: some runtimes bind to the thread they are called from
            return [work(0, progress)]
        return run_each([target.label for target, _, _ in runs], work, progress)


def _answer(
    chosen: Sequence[Target], tables: Sequence[LatencyTable | Exception], plan: Plan, seconds: float, *, json: bool
) -> None:
    """Print what was made, then raise the first error there was."""
    made = [(target, table) for target, table in zip(chosen, tables, strict=True) if isinstance(table, LatencyTable)]
    failures = [(target, error) for target, error in zip(chosen, tables, strict=True) if isinstance(error, Exception)]
    documents: list[dict[str, Any]] = [plan.document(table, target.out, seconds) for target, table in made]
    if json and len(chosen) == 1:
        print_json(documents[0])
    elif json:
        documents += [{"table": None, "target": target.label, "error": str(error)} for target, error in failures]
        print_json({"tables": documents})
    else:
        for target, table in made:
            print_text(plan.summary(table, target.out, seconds))
    for target, error in failures[1:]:
        say(f"{target.label}: {error}")
    for _, error in failures[:1]:
        raise error


def _require_reports(report: Path, chosen: Sequence[Target]) -> None:
    """Say at once that a page could not be written."""
    from lut.views.html.page import require_report

    for target in chosen:
        require_report(target.named(report))


def _write_reports(report: Path, chosen: Sequence[Target], tables: Sequence[LatencyTable | Exception]) -> None:
    """A page for each table that was made."""
    from lut.views.html.report import write_table_report

    created = now_text()
    for target, table in zip(chosen, tables, strict=True):
        if isinstance(table, LatencyTable):
            path = target.named(report)
            write_table_report(path, [shown_table(table, target.out)], created=created, command=command_line())
            say(f"report written to {path}")


def _list_devices(adb: Sequence[str], json: bool) -> None:
    specs = [load_spec(name) for name in list_specs()]
    found = {spec.backend: attached(spec, adb) for spec in specs}  # a back-end looks once, for all its devices
    rows = [
        {"name": spec.name, "title": spec.title, "runtime": spec.backend, "attached": found[spec.backend]}
        for spec in specs
    ]
    if json:
        print_json({"devices": rows})
        return
    for spec, row in zip(specs, rows, strict=True):
        print_text(f"{spec.name:16} {spec.title} ({spec.backend})")
        for line in row["attached"]:
            print_text(f"{'':16} here: {line}")


def _list_options(spec: DeviceSpec, json: bool) -> None:
    rows = option_rows(spec)
    if json:
        print_json({"device": spec.name, "runtime": spec.backend, "options": rows})
        return
    for row in rows:
        default = "" if row["default"] is None else f" ({str(row['default']).lower()})"
        print_text(f"{row['name']:20} {row['allowed']}: {row['help']}{default}")
    if not rows:
        print_text(f"{spec.name} ({spec.backend}) declares no options")


def main() -> None:
    """The command's entry."""
    run_app(app, "pnag-profile")


if __name__ == "__main__":
    main()
