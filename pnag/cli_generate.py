"""`pnag-generate`: answer budgets with networks that keep them; export and measure them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lut.calibration.threads import one_thread
from lut.files import require_writable
from lut.version import now_text
from pnag.delivery.answer import file_names, origin_of, origin_text, with_measured
from pnag.delivery.closing import ATTEMPTS, close_loop
from pnag.delivery.frontier import frontier_budgets, frontier_points, frontier_text, never_worse, save_csv
from pnag.delivery.limits import limits_of, too_large
from pnag.delivery.rows import Row, Rows, accuracy_of, measured_values, row_of, text_of
from pnag.errors import InfeasibleBudgetError
from pnag.generator.generate import CANDIDATES, Candidate, Generator
from pnag.runs.measured import MeasuredNetwork, remember
from pnag.runs.run import FINETUNED, RUNS, Run
from pnag.space.budget import parse_budget
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

if TYPE_CHECKING:
    from pnag.delivery.deliver import Delivered, Workshop

app = new_app()


_EVEN = 0.5  # as likely kept as not: no margin at all


def _probability(value: float) -> float:
    """For an option's `callback`."""
    if not _EVEN <= value < 1:
        raise typer.BadParameter(f"{value:g} is no such probability; give a number from 0.5 on and below 1")
    return value


# Unknown options are taken as budgets, so that `-5ms` is refused as the budget that it is.
@app.command(context_settings={"ignore_unknown_options": True})
def generate(
    *,
    budgets: Annotated[
        list[str] | None, typer.Argument(metavar="BUDGET...", help="Such as 140ms, 0.14s or 140 (ms).")
    ] = None,
    frontier: Annotated[
        bool,
        typer.Option(
            "--frontier", help="List networks of many budgets; a whole number in place of BUDGET says how many."
        ),
    ] = False,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write budgets and networks as CSV.")] = None,
    beside: Annotated[
        Path | None,
        typer.Option(metavar="ZOO", help="For each network that pnag-profile --zoo measured: ours that is as quick."),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show how each budget became a network, and where the time goes.")
    ] = False,
    from_: Annotated[
        Path | None, typer.Option("--from", help="A run of pnag-train; the one trained last unless given.")
    ] = None,
    export: Annotated[
        list[Path] | None, typer.Option(help="Write the network: .tflite, .onnx, .pt2 or .json. May be repeated.")
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="CKPT", help="Cut the networks out of this supernet: once-for-all's checkpoint or ours."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="With --weights: imagefolder:DIR with some hundred photographs, to re-estimate batch-norm on."
        ),
    ] = None,
    finetune: Annotated[
        float | None,
        typer.Option(
            metavar="EPOCHS", help="Train each network by itself on the run's images, from its supernet weights."
        ),
    ] = None,
    license_: Annotated[
        str | None, typer.Option("--license", metavar="ID", help="Of the weights, for files and cards: cc-by-4.0.")
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(metavar="TABLE=BUDGET", help="Keep a budget on another device too. May be repeated."),
    ] = None,
    max_params: Annotated[str | None, typer.Option(metavar="N", help="Parameters at most, such as 8M.")] = None,
    max_macs: Annotated[
        str | None, typer.Option(metavar="N", help="Multiply-accumulates of one image at most, such as 500M.")
    ] = None,
    max_size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Size of the file at most, such as 20MB.")
    ] = None,
    candidates: Annotated[
        int, typer.Option(min=1, max=100_000, help="Architectures the generator proposes for a budget.")
    ] = CANDIDATES,
    confidence: Annotated[
        float,
        typer.Option(callback=_probability, help="With what probability the measured latency is to keep the budget."),
    ] = 0.95,
    test_images: Annotated[
        int,
        typer.Option(
            min=0, max=1_000_000_000, help="Images on which each exported file's accuracy is measured; 0 for none."
        ),
    ] = 1000,
    verify: Annotated[str | None, typer.Option(metavar="DEVICE", help="Measure the networks on this device.")] = None,
    attempts: Annotated[
        int, typer.Option(min=1, max=1000, help="Networks to measure for a budget until one keeps it and uses it up.")
    ] = ATTEMPTS,
    adb: Annotated[str | None, typer.Option(help="The phone to measure on, at HOST:PORT.")] = None,
    serial: Annotated[str | None, typer.Option(help="The phone to measure on, on USB, by its serial.")] = None,
    benchmark_model: Annotated[Path | None, typer.Option(help="The benchmark_model file for the phone.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Of the proposals and of --finetune.")] = 0,
    allow_mismatch: Annotated[
        bool, typer.Option("--allow-mismatch", help="Measure though the hardware is not the one named.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write a page to open in a browser, also offline.")
    ] = None,
    json: JsonOption = False,
    version: VersionOption = False,
    debug: DebugOption = False,
) -> int:
    """The most accurate network that keeps each budget, at once.

    With --verify each network is measured; where one does not keep its budget, or leaves some of it, the measurement
    corrects the prediction and another is tried. Ends with 4 if none of them keeps a budget.
    """
    limits: dict[str, Any] = {"also": also or (), "max_params": max_params, "max_macs": max_macs, "max_size": max_size}
    reach = {"adb": adb, "serial": serial, "benchmark_model": benchmark_model}
    given: dict[str, Any] = {name: value for name, value in reach.items() if value is not None}
    _check_reach(given, verify)
    if verify is not None:
        _check_device(verify)
    if beside is not None:
        from pnag import cli_beside

        others = {
            "--frontier": frontier,
            "--report": report,
            "--explain": explain,
            "--export": export,
            "--weights": weights,
        }
        cli_beside.refuse_beside_with({"budgets": budgets, **others, "--data": data, "--finetune": finetune})
        cli_beside.print_pairs(
            beside, _latest(from_), candidates=candidates, confidence=confidence, seed=seed, attempts=attempts,
            verify=verify, allow_mismatch=allow_mismatch, limits=limits, reach=given, csv=csv, json=json,
        )  # fmt: skip
        return 0
    if not (budgets or frontier):
        raise typer.BadParameter("no budget; give one or more, such as 25ms, or --frontier")
    points = frontier_points(budgets or ()) if frontier else None
    budgets_ms = [parse_budget(text) for text in budgets or ()] if points is None else []
    targets = list(export or ())
    _check_targets(targets, budgets_ms)
    _check_lists(csv, report)
    _check_weights(weights, data, wanted=bool(targets or verify))
    _check_finetune(finetune, weights, wanted=bool(targets or verify))
    directory = _latest(from_)
    generator = with_measured(Generator.load(directory), directory)
    if points is not None:
        budgets_ms = frontier_budgets(generator, points, confidence)
        _check_targets(targets, budgets_ms)
    further = limits_of(generator, confidence, **limits, suffixes=[target.suffix for target in targets])
    with one_thread():
        found = generator.generate_many(
            budgets_ms, candidates=candidates, confidence=confidence, seed=seed, further=further
        )
    found = never_worse(found) if frontier else found
    rows = [row_of(candidate, generator) for candidate in found]
    origin = origin_of(directory, generator, confidence)
    if targets or verify:
        workshop = _open_workshop(directory, weights, data, test_images, license_)
        tune, measure = _tuning(workshop, finetune, seed), None
        if verify:
            measure = partial(_verify, verify, workshop, allow_mismatch=allow_mismatch, **given)
        deliver = partial(_deliver, workshop, debug=debug)
        paths = _paths(targets, budgets_ms)
        rows = _made(generator, found, rows, paths, deliver=deliver, tune=tune, measure=measure, attempts=attempts)
        _save_cards(rows)
    _save_lists(csv, report, rows, directory, confidence)
    return _told(rows, origin, frontier=frontier, explain=explain, json=json)


def _told(rows: Rows, origin: dict[str, Any], *, frontier: bool, explain: bool, json: bool) -> int:
    """Print the answers, and say what was not kept; the exit code."""
    if json:
        print_json({**origin, "networks": rows})
    elif frontier and not explain:
        print_text(f"{origin_text(origin)}\n\n{frontier_text(rows)}")
    else:
        print_text("\n\n".join((origin_text(origin), *(text_of(row, explain=explain) for row in rows))))
    lost = [row for row in rows if row.get("kept") is False and row["device_slowdown"] is not None]
    for row in lost:
        say(f"no network was found that keeps {row['budget_ms']:g} ms in {row['attempts']} attempts; ask for more time")
    for large in (oversized := too_large(rows)):
        say(large)
    return InfeasibleBudgetError.exit_code if lost or oversized else 0


def _check_lists(csv: Path | None, report: Path | None) -> None:
    """Say at once that what shows all answers together could not be written."""
    if csv is not None:
        require_writable(csv)
    if report is not None:
        from lut.views.html.page import require_report

        require_report(report)


def _save_lists(csv: Path | None, report: Path | None, rows: Rows, directory: Path, confidence: float) -> None:
    """All answers together: as CSV, and on a page beside what is known of the run."""
    if csv is not None:
        save_csv(csv, rows)
    if report is None:
        return
    from pnag.reporting.report import write_run_report
    from pnag.reporting.source import RunSource

    of = RunSource(Run.load(directory), rows, confidence, made_by=command_line())
    with one_thread():
        write_run_report(report, of, created=now_text())
    say(f"report written to {report}")


def _latest(given: Path | None) -> Path:
    """The run given, else the one trained last."""
    return given if given is not None else Run.latest(RUNS).directory


def _paths(targets: Sequence[Path], budgets_ms: Sequence[float]) -> list[tuple[Path, ...]]:
    """The files of each budget's network."""
    of_targets = (file_names(target, budgets_ms) for target in targets)
    return list(zip(*of_targets, strict=True)) or [()] * len(budgets_ms)


def _made(
    generator: Generator,
    found: Sequence[Candidate],
    rows: Rows,
    paths: Sequence[tuple[Path, ...]],
    *,
    deliver: Callable[[Sequence[Candidate], Sequence[tuple[Path, ...]], Rows], list[Delivered]],
    tune: Callable[[Sequence[Candidate]], None] | None,
    measure: Callable[[Sequence[Delivered], Rows], None] | None,
    attempts: int,
) -> Rows:
    """The rows of networks that are built and exported, fine-tuned by `tune` and measured by `measure`, if these are.

    Weights change no latency: of networks that are measured, the ones that fit are found before any is trained.
    """
    if tune is not None and measure is None:
        tune(found)
    delivered = deliver(found, paths, rows)
    if measure is None:
        return rows
    tried = [*found]

    def attempt(more: Sequence[Candidate], beside: Sequence[tuple[Path, ...]], rows: Rows) -> None:
        tried.extend(more)
        measure(deliver(more, beside, rows), rows)

    measure(delivered, rows)
    rows = close_loop(generator, found, rows, paths, attempts=attempts, attempt=attempt)
    if tune is None:
        return rows
    chosen = [_tried_as(row, tried) for row in rows]
    tune(chosen)
    tuned = [row_of(candidate, generator) for candidate in chosen]
    measure(deliver(chosen, paths, tuned), tuned)
    return [new | {"attempts": row["attempts"], "tried": row["tried"]} for new, row in zip(tuned, rows, strict=True)]


def _tried_as(row: Row, tried: Sequence[Candidate]) -> Candidate:
    """The one of `tried` that a row is of."""
    known = {(one.budget_ms, str(one.architecture)): one for one in tried}
    return known[row["budget_ms"], row["architecture"]]


def _check_targets(targets: Sequence[Path], budgets_ms: Sequence[float]) -> None:
    """Say at once, not after seconds of work, that a file's suffix names no format, or that it cannot be written."""
    if not targets:
        return
    from pnag.delivery.export import check_target

    for target in targets:
        check_target(target)
        for path in file_names(target, budgets_ms):
            require_writable(path)


def _check_device(name: str) -> None:
    """Say at once that there is no device of that name, or all that is wrong with its file."""
    from profiler.measure.sampling import load_device

    load_device(name)


def _check_weights(weights: Path | None, data: str | None, *, wanted: bool) -> None:
    """Say at once what goes with what."""
    if data is not None and weights is None:
        raise typer.BadParameter(f"--data {data} is for the weights of a checkpoint; give --weights")
    if weights is not None and not wanted:
        raise typer.BadParameter(f"--weights {weights} is for networks that are made; give --export or --verify")


def _check_reach(given: Mapping[str, Any], verify: str | None) -> None:
    """Say at once that nothing is measured on what is reached so."""
    if given and verify is None:
        name = next(iter(given)).replace("_", "-")
        raise typer.BadParameter(f"--{name} says how to reach what is measured on; give --verify DEVICE with it")


def _check_finetune(epochs: float | None, weights: Path | None, *, wanted: bool) -> None:
    """Say at once that there is nothing to fine-tune, or nothing to do it on."""
    if epochs is None:
        return
    if not 0 < epochs < math.inf:
        raise typer.BadParameter(f"--finetune {epochs:g} is no training; give epochs above 0")
    if weights is not None:
        raise typer.BadParameter(
            "--finetune trains on the images of the run's own supernet, not with --weights; make such a run with "
            f"pnag-train --data D --supernet {weights}"
        )
    if not wanted:
        raise typer.BadParameter(f"--finetune {epochs:g} is for networks that are made; give --export or --verify")


def _tuning(workshop: Workshop, epochs: float | None, seed: int) -> Callable[[Sequence[Candidate]], None] | None:
    """What fine-tunes networks, if that is asked for; says at once where there are no images for it."""
    if epochs is None:
        return None
    workshop.images_to_tune_on()
    return partial(_fine_tune, workshop, epochs=epochs, seed=seed)


def _fine_tune(workshop: Workshop, found: Sequence[Candidate], *, epochs: float, seed: int) -> None:
    """Train each network once, by itself; a training that was interrupted goes on."""
    from devices.locks import holding

    candidates = list({candidate.architecture: candidate for candidate in found}.values())
    lock = workshop.run.directory / f"{FINETUNED}.lock"
    remedy = "wait until that training has ended"
    with holding(lock, f"run {workshop.run.directory}", remedy), Progress("fine-tuning", 100 * len(candidates)) as bar:
        for candidate in candidates:
            tuned = workshop.fine_tune(candidate, epochs, seed, bar)
            if not tuned.better:
                say(
                    f"{candidate.budget_ms:g} ms: fine-tuning lost accuracy on the validation split "
                    f"({tuned.val_begin:.2%} to {tuned.val_trained:.2%}), so the supernet's weights are kept"
                )


def _open_workshop(
    directory: Path, weights: Path | None, data: str | None, test_images: int, license_: str | None
) -> Workshop:
    from pnag.delivery.deliver import Workshop

    return Workshop(Run.load(directory), weights=weights, photos=data, test_images=test_images, license_=license_)


def _save_cards(rows: Rows) -> None:
    """A model card beside each file that runs."""
    from pnag.delivery.files.card import save_card

    for row in rows:
        for report in row["exports"]:
            report["card"] = None if report["format"] == "json" else str(save_card(row, report))


def _deliver(
    workshop: Workshop,
    found: Sequence[Candidate],
    paths: Sequence[tuple[Path, ...]],
    rows: Rows,
    *,
    debug: bool,
) -> list[Delivered]:
    delivered = []
    with Progress("exporting", len(found) * max(1, len(paths[0]))) as progress:
        for candidate, row, of_network in zip(found, rows, paths, strict=True):
            made = workshop.build(candidate)
            delivered.append(made)
            row["trained"] = made.trained
            row["weights"], row["finetuning"] = made.metadata["weights"], made.finetuning
            row["test_accuracy"] = row["accuracy"] = made.test_accuracy
            row["file_accuracy"] = {}
            for path in of_network:
                report = workshop.export(made, path, advance=partial(progress.advance, note=path.name), debug=debug)
                row["exports"].append(report.to_json())
                row["file_accuracy"][report.format] = report.metadata["accuracy"]
            row["accuracy"] = accuracy_of(row["exports"], made.test_accuracy)
    for report in (report for row in rows for report in row["exports"] if not report["matches_table"]):
        if report["format"] != "json":
            say(f"{report['path']}: {report['latency']}")
    if paths[0] and workshop.untrained is not None:
        say(f"the networks' weights are untrained: {workshop.untrained}")
    if workshop.unexamined is not None:
        say(f"the networks' accuracies are not measured: {workshop.unexamined}")
    return delivered


def _verify(
    device: str,
    workshop: Workshop,
    delivered: Sequence[Delivered],
    rows: Rows,
    *,
    allow_mismatch: bool,
    **options: Any,
) -> None:
    """Measure on the device of that name, set up as for the table; `options` say how to reach it.

    The delivered files themselves are measured where the device runs their format. The results join the run.
    """
    from profiler.verification.networks import measure_networks

    table = workshop.table
    networks = {str(index): made.network for index, made in enumerate(delivered)}
    files = {str(index): [report.path for report in made.exports] for index, made in enumerate(delivered)}
    with Progress("measuring", 0) as progress:
        measured = measure_networks(
            device,
            networks,
            table=table,
            allow_mismatch=allow_mismatch,
            watcher=progress,
            tell=say,
            files=files,
            **options,
        )
    how = {"batch": measured.batch, **{name: measured.runtime.get(name) for name in ("threads", "precision")}}
    for index, (row, result) in enumerate(zip(rows, measured.results, strict=True)):
        file = measured.files.get(str(index))
        row.update(measured_values(result, row["budget_ms"]), device=measured.device.model, measured_with=how)
        row["measured_file"] = None if file is None else str(file)
    now = now_text()
    remember(
        workshop.run.directory,
        [
            MeasuredNetwork(
                row["architecture"], tuple(spec.key for spec in made.network.specs), row["cost_ms"],
                result.latency_ms, *(result.interval_ms or (result.latency_ms,) * 2),
                table.content_sha256, measured.device.model, now,
            )
            for made, row, result in zip(delivered, rows, measured.results, strict=True)
            if result.latency_ms is not None and not result.failure
        ],
    )  # fmt: skip


def main() -> None:
    """The command's entry."""
    run_app(app, "pnag-generate")


if __name__ == "__main__":
    main()
