"""`pnag-train`: learn from a latency table and accuracies; leaves a run that pnag-generate answers from."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from devices.locks import holding
from lut.version import now_text
from pnag.delivery.feasible import feasible_networks, feasible_text
from pnag.runs.run import RUNS
from profiler.console import (
    MOST_SEED,
    DebugOption,
    JsonOption,
    Progress,
    VersionOption,
    command_line,
    finite,
    new_app,
    print_json,
    print_text,
    run_app,
    say,
)

if TYPE_CHECKING:
    from pnag.runs.pipeline import Trained

app = new_app()


@app.command()
def train(
    *,
    lut: Annotated[Path, typer.Option(help="The latency table of the device to ship to.")],
    data: Annotated[
        str | None, typer.Option(help="digits, cifar10, imagefolder:DIR or parquet:DIR: images to learn accuracies on.")
    ] = None,
    supernet: Annotated[
        Path | None, typer.Option(help="A checkpoint to evaluate on --data: once-for-all's or ours.")
    ] = None,
    accuracy: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|imagenet|cifar10|once-for-all:FILE",
            help="Accuracies known already: parquet or CSV with architecture,accuracy, or those that come with the "
            "program, imagenet unless given; or the predictor that once-for-all publishes.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; runs/NAME of the table unless given.")] = None,
    method: Annotated[str, typer.Option(help="How to learn; a wrong name lists the known ones.")] = "pnag",
    architectures: Annotated[
        int, typer.Option(min=20, max=1_000_000, help="Architectures whose accuracy is evaluated.")
    ] = 500,
    val_images: Annotated[
        int | None,
        typer.Option(min=1, max=1_000_000_000, help="Validation images to evaluate each on; all of them unless given."),
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=0, max=1000, help="Rounds in which the generator proposes what to evaluate.")
    ] = 0,
    resolution: Annotated[
        int | None,
        typer.Option(min=32, max=4096, help="Side of the training images; the table's where it is small, else 32."),
    ] = None,
    epochs: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1_000_000,
            callback=finite,
            help="Of the supernet; the data set's preset unless given. 0 evaluates --supernet as it is.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Of everything random.")] = 0,
    tensorboard: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the curves of supernet and generator there, for TensorBoard."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write a page to open in a browser, also offline.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over instead of going on with what is there.")] = False,
    json: JsonOption = False,
    version: VersionOption = False,
    debug: DebugOption = False,
) -> None:
    """Train evaluator and generator for a latency table; an interrupted training goes on where it was."""
    from pnag.runs.pipeline import train_run
    from pnag.runs.request import TrainRequest
    from pnag.runs.tensorboard import EventFiles

    if report is not None:
        _require_report(report)
    request = TrainRequest(
        table=lut,
        out=out if out is not None else RUNS / lut.stem,
        data=data,
        supernet=supernet,
        accuracy=accuracy,
        method=method,
        seed=seed,
        architectures=architectures,
        rounds=rounds,
        resolution=resolution,
        epochs=epochs,
        val_images=val_images,
        fresh=fresh,
    )
    with EventFiles(tensorboard) if tensorboard is not None else nullcontext() as curves:
        watch = curves.of if curves is not None else lambda _: None
        trained = train_run(request, tell=say, progress=Progress, alone=_alone, watch=watch)
    if trained is None:
        return
    if report is not None:
        _write_report(report, trained)
    if json:
        print_json(_document(trained))
    else:
        print_text(_text(trained))


def _require_report(report: Path) -> None:
    """Say at once that the page could not be written."""
    from lut.views.html.page import require_report

    require_report(report)


def _write_report(report: Path, trained: Trained) -> None:
    from pnag.reporting.report import write_run_report
    from pnag.reporting.source import RunSource

    of = RunSource(trained.run, made_by=command_line())
    write_run_report(report, of, created=now_text())
    say(f"report written to {report}")


def _alone(lock: Path) -> AbstractContextManager[None]:
    remedy = "wait until that training has ended, or choose another --out"
    return holding(lock, f"run {lock.parent}", remedy)


def _document(trained: Trained) -> dict[str, Any]:
    generator, archive, run = trained.generator, trained.archive, trained.run
    return {
        "run": str(run.directory),
        "table_sha256": trained.table.content_sha256,
        "method": run.asked["method"],
        "range_ms": list(generator.range_ms),
        "budgets_ms": list(generator.budgets_ms()),
        "feasible": feasible_networks(generator.space, generator.costs, generator.margin()),
        "architectures": len(archive.accuracy),
        "accuracy_range": [float(archive.accuracy.min()), float(archive.accuracy.max())],
        "accuracy_source": str(generator.provenance),
        "accuracy_error": generator.accuracy_error,
        "rank_correlation": generator.evaluator.predictor.rank_correlation,
        "stages": run.stages,
    }


def _text(trained: Trained) -> str:
    document = _document(trained)
    low, high = document["budgets_ms"]
    worst, best = document["accuracy_range"]
    seconds = ", ".join(f"{name} {record['seconds']:.0f} s" for name, record in document["stages"].items())
    return "\n".join(
        (
            f"run {document['run']}, method {document['method']}",
            f"  budgets    {low:.4g} to {high:.4g} ms",
            *(f"  {line}" for line in feasible_text(document["feasible"]).splitlines()),
            f"  learnt of  {document['architectures']} architectures, accuracy {worst:.2%} to {best:.2%}",
            f"  accuracy   {document['accuracy_source']}",
            f"  predictor  typical error {document['accuracy_error']:.2%}, "
            f"rank correlation {document['rank_correlation']:.3f} on architectures held out",
            f"  time       {seconds}",
            f"now: pnag-generate {(low + high) / 2:.3g}ms --from {document['run']}",
        )
    )


def main() -> None:
    """The command's entry."""
    run_app(app, "pnag-train")


if __name__ == "__main__":
    main()
