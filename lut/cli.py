"""`pnag-lut`: look at a latency table, check it, compare several, and exchange them with other programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from json import dumps
from pathlib import Path
from typing import Annotated, Any

import typer

from lut.compare import compare, find_problems
from lut.errors import MissingBlockError
from lut.exchange import export_table, exported_ms, import_table, require_exchange_suffix, resolutions_in
from lut.files import replacing
from lut.formats.fleet import add_tables
from lut.formats.parquet import require_table_suffix
from lut.table import LatencyTable, TableMetadata
from lut.version import now_text, tool_version
from lut.views.several import compare_several, describe_several, several_document
from lut.views.summary import (
    describe,
    describe_difference,
    describe_problems,
    difference_document,
    table_document,
)
from lut.words import printable
from pnag.delivery.feasible import feasible_networks, feasible_text
from pnag.errors import SpaceError
from pnag.space.search_space import SearchSpace
from pnag.space.spaces import load_space, parse_resolutions
from profiler.console import (
    DebugOption,
    JsonOption,
    VersionOption,
    command_line,
    new_app,
    print_json,
    print_text,
    run_app,
    say,
)
from profiler.measure.estimator import ESTIMATORS
from profiler.measure.trace import trace_of
from profiler.refit import load_visits, refitted, save_visits, visits_path
from profiler.report import shown_table

app = new_app()
fleet = new_app()
app.add_typer(fleet, name="fleet")

_CONFIDENCE = 0.95  # as pnag-generate has it unless it is told
_MOST_TABLES = 2  # of a report
_LISTED = 5  # of what a file lacks; the document of --json names all

TableArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A latency table (parquet).", show_default=False)]
PlotOption = Annotated[
    Path | None, typer.Option("--plot", metavar="FILE", help="Also draw it: .png, .svg or .pdf.", show_default=False)
]


@app.callback()
def commands(version: VersionOption = False) -> None:
    """Look at latency tables, check and compare them, exchange them with other programs."""


@app.command()
def show(file: TableArgument, plot: PlotOption = None, json: JsonOption = False, debug: DebugOption = False) -> None:
    """Device, runtime, calibration, fidelity, the cheapest and dearest blocks, and which networks are feasible."""
    table = LatencyTable.load(file)
    if plot is not None:
        from lut.views.plots import plot_table

        plot_table(table, plot)
        say(f"drawn to {plot}")
    try:
        space = _space_of(table)
        networks = feasible_networks(space, space.cost_model(table), table.upper_margin(_CONFIDENCE))
        told = feasible_text(networks)
    except (MissingBlockError, SpaceError) as error:  # a table with gaps, or of a space of another program
        networks, told = [], f"networks  not known: {error}"
    _answer(json, {**table_document(table), "feasible": networks}, f"{describe(table)}\n\n{told}")


@app.command()
def check(file: TableArgument, json: JsonOption = False, debug: DebugOption = False) -> int:
    """Which blocks of the table's space are missing, failed, or measured in doubtful conditions.

    Ends with 0 if there is none, with 1 if there are some, with 2 if FILE is no readable table.
    """
    table = LatencyTable.load(file)
    blocks = _space_of(table).blocks()
    problems = find_problems(table, blocks)
    document = {"table": str(file), "blocks": len(blocks), "problems": [asdict(problem) for problem in problems]}
    unknown = sum(not entry.samples_ms for entry in table.blocks.values())
    _answer(json, document | {"without_samples": unknown}, describe_problems(problems, blocks, unknown=unknown))
    return 1 if problems else 0


@app.command()
def diff(
    tables: Annotated[
        list[Path], typer.Argument(metavar="A B...", help="Two latency tables, or more.", show_default=False)
    ],
    *,
    worst: Annotated[
        int, typer.Option(min=1, max=10_000, help="How many of the blocks that differ most to list, of two.")
    ] = 10,
    fail_above: Annotated[
        float | None,
        typer.Option(metavar="PERCENT", help="End with 1 if a block surely differs by more than so many percent."),
    ] = None,
    plot: PlotOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> int:
    """Latencies block by block (B over A) with intervals, the largest differences, and what differs in the metadata.

    More than two are each compared with the first, and all with each other in a matrix. Ends with 0; with
    `--fail-above`, with 1 if the latency of a block differs by more from A's, and significantly.
    """
    if fail_above is not None and not fail_above >= 0:
        raise typer.BadParameter(f"--fail-above {fail_above:g} is no difference; give percent from 0 on")
    if len(tables) < 2:
        raise typer.BadParameter(f"there is nothing to compare {tables[0]} with; give two tables or more")
    if plot is not None and len(tables) > 2:
        raise typer.BadParameter(f"--plot draws two tables, not {len(tables)}; leave it out, or give two")
    least = None if fail_above is None else fail_above / 100
    loaded = [(str(path), LatencyTable.load(path)) for path in tables]
    if len(loaded) > 2:
        compared = compare_several(loaded)
        _answer(json, several_document(compared), describe_several(compared))
        return int(least is not None and compared.differs(least))
    (a, first), (b, second) = loaded
    difference = compare(first, second)
    if plot is not None:
        from lut.views.plots import plot_difference

        plot_difference(difference, (a, b), plot)
        say(f"drawn to {plot}")
    _answer(json, {"a": a, "b": b} | difference_document(difference), describe_difference(difference, worst))
    return int(least is not None and bool(difference.significant(least)))


@app.command()
def report(
    tables: Annotated[
        list[Path],
        typer.Argument(metavar="TABLE [OTHER]", help="A latency table, or two side by side.", show_default=False),
    ],
    *,
    out: Annotated[Path, typer.Option(metavar="FILE.html", help="The page to write.")],
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """One page to open in a browser, also offline: costs, predictions, noise, and the device over time."""
    from lut.views.html.page import require_report
    from lut.views.html.report import write_table_report

    if len(tables) > _MOST_TABLES:
        raise typer.BadParameter(f"{len(tables)} tables; a report shows one, or two side by side")
    require_report(out)
    shown = [shown_table(LatencyTable.load(path), path) for path in tables]
    write_table_report(out, shown, created=now_text(), command=command_line())
    document = {
        "report": str(out),
        "bytes": out.stat().st_size,
        "tables": [
            {"table": str(path), "content_sha256": each.table.content_sha256}
            for path, each in zip(tables, shown, strict=True)
        ],
    }
    _answer(json, document, f"report written to {out}")


@app.command()
def refit(
    file: TableArgument,
    *,
    statistic: Annotated[
        str, typer.Option(help="What a latency is: quiet (the device at its quietest), median or p90 of its calls.")
    ] = "quiet",
    out: Annotated[Path, typer.Option(metavar="OUT", help="The table to write (parquet).")],
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Make a table anew with another statistic, from all visits, which lie beside it in FILE's .visits.gz."""
    if statistic not in ESTIMATORS:
        raise typer.BadParameter(
            f"--statistic {printable(statistic, 40)} is unknown; choose from {', '.join(ESTIMATORS)}"
        )
    require_table_suffix(out)
    table = LatencyTable.load(file)
    made = refitted(table, load_visits(visits_path(file), table.metadata.created), statistic)
    made.save(out)
    save_visits(visits_path(out), made.metadata.created, load_visits(visits_path(file), table.metadata.created))
    fidelity = made.metadata.fidelity
    document = {
        "table": str(out),
        "statistic": statistic,
        "content_sha256": made.content_sha256,
        "mape": None if fidelity is None else fidelity.mape,
    }
    _answer(json, document, f"{statistic} latencies of {len(made.blocks)} blocks written to {out}")


@app.command()
def trace(
    file: TableArgument,
    *,
    out: Annotated[Path, typer.Option(metavar="OUT.json", help="The trace to write.")],
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write a session as a Chrome trace, from all visits, which lie beside the table in FILE's .visits.gz."""
    if out.suffix.lower() != ".json":
        raise typer.BadParameter(f"--out {out} is no trace by its suffix; call it {out.stem or 'trace'}.json")
    table = LatencyTable.load(file)
    made = trace_of(table, load_visits(visits_path(file), table.metadata.created))
    with replacing(out) as temporary:
        temporary.write_text(dumps(made.document(), allow_nan=False), encoding="utf-8")
    if not made.durations_known:
        say("the visits are of an older release and do not say how long they lasted: shown is the time of their calls")
    document = {
        "out": str(out),
        "visits": made.visits,
        "readings": made.readings,
        "events": len(made.events),
        "session_s": made.lasted_s,
        "durations_known": made.durations_known,
    }
    _answer(json, document, f"{made.visits} visits in {made.lasted_s:.0f} s written to {out}")


@fleet.callback()
def fleet_commands() -> None:
    """Tables of many devices as one data set that DuckDB, pandas and pyarrow query."""


@fleet.command("add")
def fleet_add(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Latency tables.", show_default=False)],
    *,
    to: Annotated[Path, typer.Option(metavar="DIR", help="The data set's folder; made if it is not there.")],
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Put tables into a data set of parquet, parted by device, runtime and precision; each replaces its own part."""
    tables = [LatencyTable.load(file) for file in files]
    parts = add_tables(to, tables)
    rows = [
        {"table": str(f), "part": str(p), "rows": len(t.entries)} for f, p, t in zip(files, parts, tables, strict=True)
    ]
    _answer(json, {"dataset": str(to), "parts": rows}, "\n".join(f"{row['table']}: {row['part']}" for row in rows))


@app.command()
def add(
    file: TableArgument,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run whose networks were measured.", show_default=False)],
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Add to a table the networks that pnag-generate --verify measured: they teach and judge its predictions."""
    from pnag.runs.measured import added_to, recall

    table = LatencyTable.load(file)
    of_table = [n for n in recall(run) if n.device == table.metadata.device.get("model")]
    grown, added = added_to(table, of_table)
    if added:
        grown.save(file)
    before, after = table.metadata.fidelity, grown.metadata.fidelity
    document = {
        "table": str(file),
        "added": added,
        "mape_before": before and before.mape,
        "mape": after and after.mape,
        "content_sha256": grown.content_sha256,
    }
    error = f", error on unseen networks {after.mape:.2%}" if after else ""
    _answer(json, document, f"{added} networks of {run} added to {file}{error}")


@app.command("export")
def export_command(
    file: TableArgument,
    out: Annotated[Path, typer.Option(metavar="OUT", help="OUT.csv, or OUT.yaml for once-for-all's form.")],
    calibrated: Annotated[
        bool,
        typer.Option(help="Write costs in a network, the intercept in the head, so that plain sums are predictions."),
    ] = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write the blocks' latencies as CSV (block,latency_ms) or as once-for-all's YAML."""
    require_exchange_suffix(out)
    table = LatencyTable.load(file)
    blocks = _space_of(table).blocks()
    values = exported_ms(table, blocks, calibrated=calibrated)
    export_table(out, values, blocks)
    left_out = [block.key for block in blocks if block.key not in values]
    if left_out:
        say(f"left out, as the table has no latency: {', '.join(left_out)}")
    document = {"out": str(out), "blocks": len(values), "left_out": left_out, "calibrated": calibrated}
    _answer(json, document, f"{len(values)} blocks written to {out}")


@app.command("import")
def import_command(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="FILE.csv, FILE.yaml or FILE.json, or several.", show_default=False),
    ],
    *,
    device: Annotated[str, typer.Option(metavar="NAME", help="Where the latencies were measured.")],
    out: Annotated[Path, typer.Option(metavar="OUT", help="The table to write (parquet).")],
    space: Annotated[str, typer.Option(metavar="S", help="The space the blocks are of.")] = "ofa-mbv3-w1.2",
    resolution: Annotated[
        str | None,
        typer.Option(metavar="R[,R...]", help="Side of the images in pixels (224); all that several files have."),
    ] = None,
    classes: Annotated[int | None, typer.Option(metavar="N", help="Classes that networks tell apart.")] = None,
    batch: Annotated[int, typer.Option(min=1, max=4096, metavar="N", help="Images in one call.")] = 1,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Make a table of latencies measured elsewhere: CSV (block,latency_ms) or once-for-all's YAML or JSON."""
    if not device.strip():
        raise typer.BadParameter("an empty device name; say where the latencies were measured")
    require_table_suffix(out)
    found = resolutions_in(files) if resolution is None and len(files) > 1 else ()
    sides = (found or None) if resolution is None else parse_resolutions(resolution)
    of_space = load_space(space, resolution=sides, classes=classes)
    imported = import_table(files, of_space.blocks(), _imported_metadata(of_space, device, batch))
    imported.table.save(out)
    file, at = ", ".join(map(str, files)), ", ".join(map(str, of_space.sides))
    if imported.missing:
        listed = ", ".join(imported.missing[:_LISTED]) + (", …" if len(imported.missing) > _LISTED else "")
        say(f"{len(imported.missing)} blocks of the space are not in {file}: {listed}")
    if imported.unused:
        say(f"{imported.unused} keys of {file} are of no block of {space} at {at}; passed over")
    if imported.repeated:
        say(
            f"{len(imported.repeated)} blocks are in several of the files, with latencies up to "
            f"{imported.spread:.1%} apart; their means are taken"
        )
    document = {
        "table": str(out),
        "blocks": len(imported.table.blocks),
        "missing": list(imported.missing),
        "unused": imported.unused,
        "repeated": list(imported.repeated),
        "content_sha256": imported.table.content_sha256,
    }
    _answer(json, document, f"{len(imported.table.blocks)} blocks imported to {out}")


def _answer(as_json: bool, document: Mapping[str, Any], text: str) -> None:
    if as_json:
        print_json(document)
    else:
        print_text(text)


def _space_of(table: LatencyTable) -> SearchSpace:
    meta = table.metadata
    return replace(SearchSpace.from_dict(meta.space), resolution=meta.resolution, classes=meta.classes)


def _imported_metadata(space: SearchSpace, device: str, batch: int) -> TableMetadata:
    return TableMetadata(
        space=space.to_dict(),
        resolution=space.resolution,
        classes=space.classes,
        batch=batch,
        device={"name": device.strip()},
        runtime={},
        sampling={},
        created=now_text(),
        tool_version=tool_version(),
        notes=("imported: measured by another program, without calibration networks",),
    )


def main() -> None:
    """The command `pnag-lut`."""
    run_app(app, "pnag-lut")


if __name__ == "__main__":
    main()
