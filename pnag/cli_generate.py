"""`pnag-generate`: answer budgets with networks that keep them; export and measure them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from lut.files import require_writable
from pnag.delivery.answer import file_names, origin_of, origin_text, ranking_of, unused_text
from pnag.delivery.closing import ATTEMPTS, Tried, best_of, next_try
from pnag.errors import InfeasibleBudgetError
from pnag.generator.generate import CANDIDATES, Candidate, Generator
from pnag.runs.measured import MeasuredNetwork, recall, remember, residuals_of
from pnag.runs.run import RUNS, Run
from pnag.space.budget import parse_budget
from profiler.console import (
    DebugOption,
    JsonOption,
    Progress,
    VersionOption,
    new_app,
    print_json,
    print_text,
    run_app,
    say,
)

if TYPE_CHECKING:
    from pnag.delivery.deliver import Delivered, Workshop
    from profiler.verification.pairs import PairedResult

Rows = list[dict[str, Any]]

app = new_app()


# Unknown options are taken as budgets, so that `-5ms` is refused as the budget that it is.
@app.command(context_settings={"ignore_unknown_options": True})
def generate(
    *,
    budgets: Annotated[list[str], typer.Argument(metavar="BUDGET...", help="Such as 140ms, 0.14s or 140 (ms).")],
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
    candidates: Annotated[
        int, typer.Option(min=1, help="Architectures the generator proposes for a budget.")
    ] = CANDIDATES,
    confidence: Annotated[
        float, typer.Option(help="With what probability the measured latency is to keep the budget.")
    ] = 0.95,
    test_images: Annotated[
        int, typer.Option(min=0, help="Images on which each exported file's accuracy is measured; 0 for none.")
    ] = 1000,
    verify: Annotated[str | None, typer.Option(help="Measure the networks on this device.")] = None,
    attempts: Annotated[
        int, typer.Option(min=1, help="Networks to measure for a budget until one keeps it and uses it up.")
    ] = ATTEMPTS,
    adb: Annotated[str | None, typer.Option(help="The phone to measure on, at HOST:PORT.")] = None,
    serial: Annotated[str | None, typer.Option(help="The phone to measure on, on USB, by its serial.")] = None,
    benchmark_model: Annotated[Path | None, typer.Option(help="The benchmark_model file for the phone.")] = None,
    seed: Annotated[int, typer.Option(help="Of the proposals.")] = 0,
    allow_mismatch: Annotated[
        bool, typer.Option("--allow-mismatch", help="Measure though the hardware is not the one named.")
    ] = False,
    json: JsonOption = False,
    version: VersionOption = False,
    debug: DebugOption = False,
) -> int:
    """The most accurate network that keeps each budget, at once.

    With --verify each network is measured; where one does not keep its budget, or leaves some of it, the measurement
    corrects the prediction and another is tried. Ends with 4 if none of them keeps a budget.
    """
    budgets_ms = [parse_budget(text) for text in budgets]
    targets = list(export or ())
    _check_targets(targets, budgets_ms)
    _check_weights(weights, data, wanted=bool(targets or verify))
    if verify is not None:
        _check_device(verify)
    directory = from_ if from_ is not None else Run.latest(RUNS).directory
    generator = _with_measured(Generator.load(directory), directory)
    found = generator.generate_many(budgets_ms, candidates=candidates, confidence=confidence, seed=seed)
    rows = [_row(candidate, generator) for candidate in found]
    origin = origin_of(directory, generator, confidence)
    if targets or verify:
        workshop = _open_workshop(directory, weights, data, test_images)
        paths = _paths(targets, budgets_ms)
        delivered = _deliver(workshop, found, paths, rows, debug=debug)
        if verify:
            reach = {"adb": adb, "serial": serial, "benchmark_model": benchmark_model}
            given = {name: value for name, value in reach.items() if value is not None}

            def measure(delivered: Sequence[Delivered], rows: Rows) -> None:
                _verify(verify, workshop, delivered, rows, allow_mismatch=allow_mismatch, **given)

            measure(delivered, rows)
            deliver = partial(_deliver, workshop, debug=debug)
            rows = [*_closed(generator, found, rows, paths, attempts=attempts, deliver=deliver, measure=measure)]
    if json:
        print_json({**origin, "networks": rows})
    else:
        print_text("\n\n".join((origin_text(origin), *map(_text, rows))))
    lost = [row for row in rows if row.get("kept") is False and row["device_slowdown"] is not None]
    for row in lost:
        say(f"no network was found that keeps {row['budget_ms']:g} ms in {row['attempts']} attempts; ask for more time")
    return InfeasibleBudgetError.exit_code if lost else 0


def _with_measured(generator: Generator, directory: Path) -> Generator:
    """The generator with what was measured of its answers among the residuals that margins come from."""
    known = residuals_of(recall(directory), str(generator.metadata.get("table_sha256")))
    return replace(generator, residuals=(*generator.residuals, *known)) if known else generator


def _paths(targets: Sequence[Path], budgets_ms: Sequence[float]) -> list[tuple[Path, ...]]:
    """The files of each budget's network."""
    of_targets = (file_names(target, budgets_ms) for target in targets)
    return list(zip(*of_targets, strict=True)) or [()] * len(budgets_ms)


def _row(candidate: Candidate, generator: Generator) -> dict[str, Any]:
    """What is known before there is a file: `accuracy` is a file's, and `ranking` is not."""
    return {
        "budget_ms": candidate.budget_ms,
        "architecture": str(candidate.architecture),
        "cost_ms": candidate.cost_ms,
        "limit_ms": candidate.limit_ms,
        "unused": unused_text(candidate.cost_ms, candidate.budget_ms),
        "accuracy": None,
        "weights": None,
        "ranking": ranking_of(candidate, generator),
        "score": candidate.score,
        "exports": [],
    }


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
    """Say at once that there is no device of that name."""
    from devices import load_spec

    load_spec(name)


def _check_weights(weights: Path | None, data: str | None, *, wanted: bool) -> None:
    """Say at once what goes with what."""
    if data is not None and weights is None:
        raise typer.BadParameter(f"--data {data} is for the weights of a checkpoint; give --weights")
    if weights is not None and not wanted:
        raise typer.BadParameter(f"--weights {weights} is for networks that are made; give --export or --verify")


def _open_workshop(directory: Path, weights: Path | None, data: str | None, test_images: int) -> Workshop:
    from pnag.delivery.deliver import Workshop

    return Workshop(Run.load(directory), weights=weights, photos=data, test_images=test_images)


def _deliver(
    workshop: Workshop,
    found: Sequence[Candidate],
    paths: Sequence[tuple[Path, ...]],
    rows: list[dict[str, Any]],
    *,
    debug: bool,
) -> list[Delivered]:
    delivered = []
    with Progress("exporting", len(found) * max(1, len(paths[0]))) as progress:
        for candidate, row, of_network in zip(found, rows, paths, strict=True):
            made = workshop.build(candidate)
            delivered.append(made)
            row["trained"] = made.trained
            row["weights"] = "trained" if made.trained else "untrained"
            row["test_accuracy"] = row["accuracy"] = made.test_accuracy
            row["file_accuracy"] = {}
            for path in of_network:
                report = workshop.export(made, path, advance=partial(progress.advance, note=path.name), debug=debug)
                row["exports"].append(report.to_json())
                row["file_accuracy"][report.format] = report.metadata["accuracy"]
            row["accuracy"] = _accuracy_of(row["exports"], made.test_accuracy)
    for report in (report for row in rows for report in row["exports"] if not report["matches_table"]):
        if report["format"] != "json":
            say(f"{report['path']}: {report['latency']}")
    if paths[0] and workshop.untrained is not None:
        say(f"the networks' weights are untrained: {workshop.untrained}")
    if workshop.unexamined is not None:
        say(f"the networks' accuracies are not measured: {workshop.unexamined}")
    return delivered


def _accuracy_of(exports: Sequence[dict[str, Any]], otherwise: float | None) -> float | None:
    """That of the file whose latency the table is of, else of the first; else the network's in torch."""
    files = [report for report in exports if report["format"] != "json"]
    chosen = next((report for report in files if report["matches_table"]), files[0] if files else None)
    return otherwise if chosen is None else chosen["accuracy"]


def _verify(
    device: str,
    workshop: Workshop,
    delivered: Sequence[Delivered],
    rows: list[dict[str, Any]],
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
        row.update(_measured(result, row["budget_ms"]), device=measured.device.model, measured_with=how)
        row["measured_file"] = None if file is None else str(file)
    now = datetime.now(UTC).isoformat(timespec="seconds")
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


def _closed(
    generator: Generator,
    found: Sequence[Candidate],
    rows: Rows,
    paths: Sequence[tuple[Path, ...]],
    *,
    attempts: int,
    deliver: Callable[[Sequence[Candidate], Sequence[tuple[Path, ...]], Rows], list[Delivered]],
    measure: Callable[[Sequence[Delivered], Rows], None],
) -> Iterator[dict[str, Any]]:
    """The best of what was measured for each budget, after trying again where that can help.

    Files of a further try are written beside those that are there, and take their place if it is the better network.
    """
    tries = [[_Try(candidate, row)] for candidate, row in zip(found, rows, strict=True)]
    for _ in range(1, attempts):
        again = {index: further for index, made in enumerate(tries) if (further := _next(generator, made)) is not None}
        if not again:
            break
        more = [_row(candidate, generator) for candidate in again.values()]
        beside = [tuple(path.with_name(f".{path.stem}.try{path.suffix}") for path in paths[index]) for index in again]
        measure(deliver(list(again.values()), beside, more), more)
        for (index, candidate), row, aside in zip(again.items(), more, beside, strict=True):
            tries[index].append(_Try(candidate, row))
            better = _best(tries[index]) is row
            for path, target, report in zip(aside, paths[index], row["exports"], strict=True):
                if better:
                    path.replace(target)
                    report["path"] = str(target)
                    row["measured_file"] = str(target) if row["measured_file"] == str(path) else row["measured_file"]
                else:
                    path.unlink(missing_ok=True)
    for made in tries:
        best = _best(made)
        best["attempts"] = len(made)
        best["tried"] = [
            {name: one.row.get(name) for name in ("architecture", "cost_ms", "measured_ms", "kept")} for one in made
        ]
        yield best


class _Try(NamedTuple):
    candidate: Candidate
    row: dict[str, Any]


def _tried(made: Sequence[_Try]) -> list[Tried]:
    return [Tried(one.candidate, one.row["measured_ms"]) for one in made]


def _next(generator: Generator, made: Sequence[_Try]) -> Candidate | None:
    """What to try next for a budget; None where the last could not be measured, or not at the table's speed."""
    last = made[-1].row
    if last["measured_ms"] is None or last["device_slowdown"] is None:
        return None
    return next_try(generator, _tried(made))


def _best(made: Sequence[_Try]) -> dict[str, Any]:
    known = [one for one in made if one.row["measured_ms"] is not None]
    return known[best_of(_tried(known))].row if known else made[0].row


def _measured(result: PairedResult, budget_ms: float) -> dict[str, Any]:
    """`kept` is judged at the table's speed, `kept_now` as the device is; without pairs there is but one."""
    if result.failure:
        return {
            "measured_ms": None, "kept": None, "kept_now": None, "device_slowdown": None, "failure": result.failure,
        }  # fmt: skip
    at_speed_ms = result.now_ms if result.latency_ms is None else result.latency_ms
    return {
        "measured_ms": at_speed_ms,
        "measured_interval_ms": list(result.interval_ms or result.now_interval_ms),
        "measured_now_ms": result.now_ms,
        "percentiles_now_ms": dict(result.percentiles_ms),
        "kept": at_speed_ms <= budget_ms,
        "kept_now": result.now_ms <= budget_ms,
        "device_slowdown": result.slowdown,
    }


def _text(row: dict[str, Any]) -> str:
    """What a person wants to know of one network, line by line."""
    margin = f", at most {row['limit_ms']:.4g} ms predicted" if row["limit_ms"] < row["budget_ms"] else ""
    lines = [
        f"budget {row['budget_ms']:g} ms{margin}",
        f"  {row['architecture']}",
        f"  predicted  {row['cost_ms']:.4g} ms ({row['cost_ms'] / row['budget_ms']:.1%} of the budget)",
    ]
    if row.get("measured_ms") is not None:
        verdict, now = ("kept" if row[name] else "NOT KEPT" for name in ("kept", "kept_now"))
        share = row["measured_ms"] / row["budget_ms"]
        slowdown = row["device_slowdown"]
        at_speed = "" if slowdown is None else " at the table's speed"
        lines.append(
            f"  measured   {row['measured_ms']:.4g} ms{at_speed} ({share:.1%}, budget {verdict}) on {row['device']}"
        )
        of_calls = row["percentiles_now_ms"]
        lines.append(f"             of all calls now: {', '.join(f'{p} {ms:.4g}' for p, ms in of_calls.items())} ms")
        if row["measured_file"]:
            lines.append(f"             this is {row['measured_file']} itself")
        if row["attempts"] > 1:
            lines.append(f"             the best of {row['attempts']} that were measured for this budget")
        if slowdown is not None:
            speed = f"{abs(slowdown):.1%} {'slower' if slowdown > 0 else 'faster'}"
            lines.append(f"             {row['measured_now_ms']:.4g} ms now ({now}), the device being {speed}")
    elif row.get("failure"):
        lines.append(f"  not measured: {row['failure']}")
    if row["unused"]:
        lines.append(f"  {row['unused']}")
    if row["weights"] == "untrained":
        lines.append("  accuracy   none: the weights are untrained")
    elif row["accuracy"] is not None:
        lines.append(f"  accuracy   {row['accuracy']:.2%} on the test split")
    lines += _ranking_lines(row["ranking"])
    for report in row["exports"]:
        difference = report["relative_difference"]
        parity = "" if difference is None else f", differs from torch by {difference:.1e}"
        about = report["precision"] + (f", accuracy {report['accuracy']:.2%}" if report["accuracy"] is not None else "")
        timed = "" if report["matches_table"] else "; the latency was not measured for such files"
        lines.append(f"  wrote      {report['path']} ({report['bytes'] / 1e6:.1f} MB, {about}{parity}){timed}")
    return "\n".join(lines)


def _ranking_lines(ranking: dict[str, Any]) -> list[str]:
    """The figure that the network was chosen by, and what it is of."""
    of = ", ".join(
        str(part)
        for part in (ranking["images"], ranking["resolution"] and f"{ranking['resolution']} pixels", ranking["how"])
        if part
    )
    lines = [
        f"  ranked by  an accuracy of {ranking['accuracy']:.2%} predicted, typical error {ranking['error']:.2%}",
        f"             (from accuracies: {of})",
    ]
    if ranking["published_top1"] is not None:
        deviation = 100 * ranking["published_top1_deviation"]
        lines.append(
            "             published, fine-tuned networks of that value: "
            f"top-1 {ranking['published_top1']:.2%} ± {deviation:.2f} points"
        )
    return lines


def main() -> None:
    """The command's entry."""
    run_app(app, "pnag-generate")


if __name__ == "__main__":
    main()
