"""Generated networks with their files, hashes, and the commands that make them again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from lut.views.html.markup import Html, code, heading, number, paragraph, table
from lut.views.html.page import Section
from pnag.reporting.source import Row, RunSource

TITLE = "Networks, hashes and commands"


def networks_section(of: RunSource) -> Section:
    """The answers of the command, networks measured before, and what all of them rest on."""
    pieces: list[Html] = []
    missing: list[str] = []
    untried: list[str] = []
    if of.rows:
        pieces += [heading("Answers of this command"), _answers(of.rows)]
        if files := [(row, report) for row in of.rows for report in row["exports"]]:
            pieces += [heading("Their files"), _files(files)]
        missing += _missing(of.rows)
        untried += _untried(of.rows)
    missing.append("Files that earlier commands exported are not listed; each says itself what it came from.")
    if of.measured:
        pieces += [heading("Networks of this run that were measured"), _measured(of)]
    pieces += [heading("What they came from"), _origins(of)]
    pieces += [heading("Commands to make them again"), *_commands(of)]
    return Section(TITLE, tuple(pieces), tuple(dict.fromkeys(missing)), tuple(untried))


def _answers(rows: Iterable[Row]) -> Html:
    head = (
        "budget, ms", "predicted, ms", "measured, ms", "kept", "predicted accuracy, %", "accuracy, %", "weights",
        "network",
    )  # fmt: skip
    cells: list[list[str | Html]] = [
        [
            f"{row['budget_ms']:g}", number(row["cost_ms"]), _ms(row.get("measured_ms")),
            {None: "–", True: "yes", False: "NO"}[row.get("kept")], _share(row["ranking"]["accuracy"]),
            _share(row["accuracy"]), row["weights"] or "–", code(row["architecture"]),
        ]
        for row in rows
    ]  # fmt: skip
    return table(head, cells, (0, 1, 2, 4, 5))


def _files(files: Iterable[tuple[Row, Row]]) -> Html:
    head = ("budget, ms", "file", "MB", "precision", "accuracy, %", "differs from torch", "SHA-256")
    cells: list[list[str | Html]] = [
        [
            f"{row['budget_ms']:g}", code(report["path"]), f"{report['bytes'] / 1e6:.2f}", report["precision"],
            _share(report["accuracy"]),
            "–" if report["relative_difference"] is None else f"{report['relative_difference']:.1e}",
            code(report["sha256"]),
        ]
        for row, report in files
    ]  # fmt: skip
    return table(head, cells, (0, 2, 4, 5))


def _measured(of: RunSource) -> Html:
    head = ("network", "predicted, ms", "measured, ms", "error, %", "device", "when")
    cells: list[list[str | Html]] = [
        [
            code(network.architecture), number(network.cost_ms), number(network.latency_ms),
            number(100 * network.residual, 2), network.device, network.created,
        ]
        for network in of.measured
    ]  # fmt: skip
    return table(head, cells, (1, 2, 3))


def _origins(of: RunSource) -> Html:
    """Hashes of table, accuracies, supernet and generator, and how long each took."""
    names = (
        ("table", "latency table"),
        ("supernet", "supernet"),
        ("archive", "accuracies"),
        ("generator", "generator"),
    )
    cells: list[list[str | Html]] = []
    for stage, name in names:
        record = of.run.done(stage)
        if record is not None:
            seconds = record.get("seconds")
            cells.append(
                [
                    name, code(record.get("from") or record.get("path") or ""), code(record.get("sha256") or "unknown"),
                    f"{seconds:.1f}" if isinstance(seconds, int | float) else "–",
                ]
            )  # fmt: skip
    return table(("", "file", "SHA-256", "seconds"), cells, (3,))


def _commands(of: RunSource) -> Iterable[Html]:
    yield paragraph("The run: ", code(of.train_command()))
    for key, what in (("supernet_sha256", "CHECKPOINT"), ("accuracy_sha256", "FILE")):
        if digest := of.run.asked.get(key):
            yield paragraph(f"{what} is the file with the SHA-256 ", code(digest), kind="note")
    if of.rows and of.made_by:
        yield paragraph("The answers: ", code(of.made_by))
    else:
        yield paragraph("A network for a budget: ", code(f"pnag-generate 25ms --from {of.run.directory} --export FILE"))


def _untried(rows: Sequence[Row]) -> Iterable[str]:
    if any(row.get("measured_ms") is None and not row.get("failure") for row in rows):
        yield "Answers of this command were not measured on the device; --verify DEVICE does."
    if not all(row["exports"] for row in rows):
        yield "Answers of this command were not exported; --export FILE does."


def _missing(rows: Iterable[Row]) -> Iterable[str]:
    for row in rows:
        budget = f"{row['budget_ms']:g} ms"
        if row.get("failure"):
            yield f"The network for {budget} was not measured: {row['failure']}."
        if row["weights"] == "untrained":
            yield f"The network for {budget} has untrained weights, so it has no accuracy."
        elif row["exports"] and row["accuracy"] is None:
            yield f"The accuracy of the network for {budget} was not measured."
        for report in row["exports"]:
            if not report["matches_table"] and report["format"] != "json":
                yield f"The latency of {report['path']} was not measured: {report['latency']}."


def _ms(value: Any) -> str:
    return "–" if value is None else number(float(value))


def _share(value: Any) -> str:
    return "–" if value is None else f"{100 * value:.2f}"
