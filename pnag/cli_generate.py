"""`pnag-generate`: answer budgets with networks that keep them; export and measure them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lut.files import require_writable
from pnag.accuracy.provenance import Provenance
from pnag.generator.generate import CANDIDATES, Candidate, Generator
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
    from lut.table import LatencyTable
    from pnag.delivery.deliver import Delivered, Workshop
    from profiler.verification.pairs import PairedResult

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
    verify: Annotated[str | None, typer.Option(help="Measure the networks on this device.")] = None,
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
) -> None:
    """The most accurate network that keeps each budget, at once."""
    budgets_ms = [parse_budget(text) for text in budgets]
    targets = list(export or ())
    _check_targets(targets, budgets_ms)
    _check_weights(weights, data, wanted=bool(targets or verify))
    if verify is not None:
        _check_device(verify)
    directory = from_ if from_ is not None else Run.latest(RUNS).directory
    generator = Generator.load(directory)
    found = generator.generate_many(budgets_ms, candidates=candidates, confidence=confidence, seed=seed)
    rows = [_row(candidate, generator.provenance) for candidate in found]
    if targets or verify:
        workshop = _open_workshop(directory, weights, data)
        delivered = _deliver(workshop, found, targets, rows, debug=debug)
        if verify:
            reach = {"adb": adb, "serial": serial, "benchmark_model": benchmark_model}
            given = {name: value for name, value in reach.items() if value is not None}
            _verify(verify, delivered, rows, workshop.table, allow_mismatch=allow_mismatch, **given)
    if json:
        print_json({"run": str(directory), "confidence": confidence, "networks": rows})
    else:
        print_text("\n\n".join(_text(row) for row in rows))


def _row(candidate: Candidate, provenance: Provenance) -> dict[str, Any]:
    published = provenance.published
    return {
        "budget_ms": candidate.budget_ms,
        "architecture": str(candidate.architecture),
        "cost_ms": candidate.cost_ms,
        "limit_ms": candidate.limit_ms,
        "accuracy": candidate.accuracy,
        "accuracy_error": candidate.accuracy_error,
        "accuracy_source": str(provenance),
        "published_top1": None if published is None else published.top1(candidate.accuracy),
        "published_top1_deviation": None if published is None else published.deviation,
        "score": candidate.score,
        "exports": [],
    }


def _check_targets(targets: Sequence[Path], budgets_ms: Sequence[float]) -> None:
    """Say at once, not after seconds of work, that a file's suffix names no format, or that it cannot be written."""
    if not targets:
        return
    from pnag.delivery.deliver import target_for
    from pnag.delivery.export import check_target

    for target in targets:
        check_target(target)
        for budget_ms in budgets_ms:
            require_writable(target_for(target, budget_ms, several=len(budgets_ms) > 1))


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


def _open_workshop(directory: Path, weights: Path | None, data: str | None) -> Workshop:
    from pnag.delivery.deliver import Workshop

    return Workshop(Run.load(directory), weights=weights, photos=data)


def _deliver(
    workshop: Workshop, found: Sequence[Candidate], targets: Sequence[Path], rows: list[dict[str, Any]], *, debug: bool
) -> list[Delivered]:
    from pnag.delivery.deliver import target_for

    delivered = []
    with Progress("exporting", len(found) * max(1, len(targets))) as progress:
        for candidate, row in zip(found, rows, strict=True):
            made = workshop.build(candidate)
            delivered.append(made)
            row["trained"] = made.trained
            row["test_accuracy"] = made.test_accuracy
            row["file_accuracy"] = {}
            for target in targets:
                path = target_for(target, candidate.budget_ms, several=len(found) > 1)
                report = workshop.export(made, path, debug=debug)
                row["exports"].append(report.to_json())
                row["file_accuracy"][report.format] = workshop.file_accuracy(path)
                progress.advance(1, path.name)
    if targets and workshop.untrained is not None:
        say(f"the networks' weights are untrained: {workshop.untrained}")
    if workshop.unexamined is not None:
        say(f"the networks' accuracies are not measured: {workshop.unexamined}")
    return delivered


def _verify(
    device: str,
    delivered: Sequence[Delivered],
    rows: list[dict[str, Any]],
    table: LatencyTable,
    *,
    allow_mismatch: bool,
    **options: Any,
) -> None:
    """Measure on the device of that name, set up as for the table; `options` say how to reach it."""
    from profiler.verification.networks import measure_networks

    networks = {str(index): made.network for index, made in enumerate(delivered)}
    with Progress("measuring", 0) as progress:
        measured = measure_networks(
            device, networks, table=table, allow_mismatch=allow_mismatch, watcher=progress, tell=say, **options
        )
    how = {"batch": measured.batch, **{name: measured.runtime.get(name) for name in ("threads", "precision")}}
    for row, result in zip(rows, measured.results, strict=True):
        row.update(_measured(result, row["budget_ms"]), device=measured.device.model, measured_with=how)


def _measured(result: PairedResult, budget_ms: float) -> dict[str, Any]:
    """`kept` is judged at the table's speed, `kept_now` as the device is; without pairs there is but one."""
    if result.failure:
        return {"measured_ms": None, "kept": None, "kept_now": None, "failure": result.failure}
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
        if slowdown is not None:
            speed = f"{abs(slowdown):.1%} {'slower' if slowdown > 0 else 'faster'}"
            lines.append(f"             {row['measured_now_ms']:.4g} ms now ({now}), the device being {speed}")
    elif row.get("failure"):
        lines.append(f"  not measured: {row['failure']}")
    lines.append(f"  accuracy   {row['accuracy']:.2%} predicted, typical error {row['accuracy_error']:.2%}")
    lines.append(f"             ({row['accuracy_source']})")
    if row["published_top1"] is not None:
        top1, deviation = row["published_top1"], 100 * row["published_top1_deviation"]
        lines.append(
            f"             published, fine-tuned networks of that value: top-1 {top1:.2%} ± {deviation:.2f} points"
        )
    if row.get("test_accuracy") is not None:
        lines.append(f"  accuracy   {row['test_accuracy']:.2%} on the test split")
    for report in row["exports"]:
        difference = report["relative_difference"]
        parity = "" if difference is None else f", differs from torch by {difference:.1e}"
        lines.append(f"  wrote      {report['path']} ({report['bytes'] / 1e6:.1f} MB{parity})")
    return "\n".join(lines)


def main() -> None:
    """The command's entry."""
    run_app(app, "pnag-generate")


if __name__ == "__main__":
    main()
