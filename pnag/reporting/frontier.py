"""The frontier: networks whose accuracy is known, what the generator answers to many budgets, what was measured."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lut.views.html.charts import (
    BLUE,
    GREEN,
    GREY,
    MOST_POINTS,
    ORANGE,
    PINK,
    chart,
    key_at,
    point_out,
    source,
    spread_rows,
)
from lut.views.html.markup import Html, code, folded, number, paragraph, table
from lut.views.html.page import Plots, Section
from pnag.accuracy.archive import AccuracyArchive
from pnag.delivery.frontier import frontier_budgets, never_worse
from pnag.generator.generate import Candidate, Generator
from pnag.reporting.published import published_pieces
from pnag.reporting.rivals import rivals_of
from pnag.reporting.source import RunSource
from pnag.search.frontier import on_frontier
from pnag.space.architecture import Architecture

TITLE = "The frontier"
_RIVALS = (("#E69F00", "diamond"), ("#56B4E9", "inverted_triangle"), ("#000000", "plus"), ("#8F6BB3", "hex"))
POINTS, _OF_RIVALS = 40, 20  # budgets that a generator answers for its line

Array = NDArray[np.float64]


def frontier_section(of: RunSource) -> Section:
    """Latency against accuracy; each point tells its architecture, latency and accuracy."""
    missing: list[str] = []
    untried: list[str] = []
    drawn = chart("networks by latency and accuracy", "latency, ms", "accuracy, %", height=460)
    if of.archive is None:
        missing.append("The accuracies that were learnt from cannot be read, so they are not beside the frontier.")
    else:
        _draw_archive(drawn, of, of.archive, missing)
    answers = _answers(of.generator, POINTS, of.confidence)
    _draw_answers(drawn, answers)
    _draw_evaluated(drawn, of)
    _draw_measured(drawn, of, untried)
    _draw_rows(drawn, of)
    _draw_rivals(drawn, of, untried)
    key_at(drawn, "bottom_right")
    pieces: list[Html | Plots] = [Plots((drawn,)), paragraph(_caption(of), kind="note"), _numbers(answers)]
    pieces += published_pieces(
        of.zoo, of.table, answers, of.generator.provenance.published, missing=missing, untried=untried
    )
    return Section(TITLE, tuple(pieces), tuple(missing), tuple(untried))


def _answers(generator: Generator, points: int, confidence: float) -> list[Candidate]:
    budgets = frontier_budgets(generator, points, confidence)
    return never_worse(generator.generate_many(budgets, confidence=confidence))


def _caption(of: RunSource) -> str:
    provenance, error = of.generator.provenance, of.generator.accuracy_error
    words = f"Accuracies are of {provenance}; those of generated networks are predicted, typically to {error:.2%}."
    if of.generator.provenance.published is not None:
        words += " Published, fine-tuned networks have other accuracies than such predictions; the answers tell both."
    return f"{words} Latencies are predicted by the table unless a point says that it was measured."


def _draw_archive(drawn: Any, of: RunSource, archive: AccuracyArchive, missing: list[str]) -> None:
    cost, accuracy = of.generator.costs(archive.tokens), archive.accuracy
    rows = _some(cost, accuracy)
    if len(rows) < len(accuracy):
        missing.append(
            f"Of {len(accuracy)} networks with known accuracies {len(rows)} are drawn: those on their frontier, and "
            "others, evenly spread by latency."
        )
    if archive.space.sides != of.generator.space.sides:
        missing.append(
            f"The known accuracies are of images of {archive.space.resolution} pixels, not of the table's "
            f"{of.generator.space.resolution}: they rank networks only."
        )
    names = [str(architecture) for architecture in archive.space.decode(archive.tokens[rows])]
    _points(drawn, f"known accuracy ({len(rows)})", cost[rows], accuracy[rows], names, colour=GREY, size=4, alpha=0.45)


def _some(cost: Array, accuracy: Array) -> NDArray[np.intp]:
    """The rows to draw: all, or those on the frontier and as many more as may be, evenly spread by cost."""
    if len(cost) <= MOST_POINTS:
        return np.arange(len(cost))
    best = np.flatnonzero(on_frontier(cost, accuracy))
    order = np.argsort(cost, kind="stable")
    return np.union1d(best, order[spread_rows(len(order), MOST_POINTS - min(len(best), MOST_POINTS // 2))])


def _points(
    drawn: Any, label: str, ms: Array, accuracy: Array, names: list[str], *, colour: str, size: float, alpha: float = 1,
    marker: str = "circle", said: str = "predicted", about: list[str] | None = None,
) -> None:  # fmt: skip
    columns: dict[str, Any] = {"ms": ms, "accuracy": 100 * np.asarray(accuracy), "network": names}
    shown = [("network", "@network"), ("latency", f"@ms{{0.000}} ms {said}"), ("accuracy", "@accuracy{0.00} %")]
    if about is not None:
        columns["about"] = about
        shown.append(("", "@about"))
    glyphs = drawn.scatter(
        "ms",
        "accuracy",
        source=source(**columns),
        size=size,
        color=colour,
        alpha=alpha,
        marker=marker,
        legend_label=label,
    )
    point_out(drawn, [glyphs], shown)


def _draw_answers(drawn: Any, answers: list[Candidate]) -> None:
    ms = np.array([answer.cost_ms for answer in answers])
    accuracy = np.array([answer.accuracy for answer in answers])
    drawn.line(ms, 100 * accuracy, line_color=BLUE, line_width=2, line_alpha=0.5, legend_label="generated, predicted")
    _points(
        drawn, "generated, predicted", ms, accuracy, [str(answer.architecture) for answer in answers],
        colour=BLUE, size=6, about=[f"answers {answer.budget_ms:.4g} ms" for answer in answers],
    )  # fmt: skip


def _draw_evaluated(drawn: Any, of: RunSource) -> None:
    found = of.evaluated
    if found is None or found.test_accuracy is None:
        return
    names = [str(architecture) for architecture in found.architectures]
    cost = of.generator.costs(found.tokens)
    label = f"generated, evaluated on test images ({len(names)})"
    _points(drawn, label, cost, found.test_accuracy, names, colour=GREEN, size=8, marker="triangle")


def _draw_measured(drawn: Any, of: RunSource, untried: list[str]) -> None:
    if not of.measured:
        untried.append("No generated network of this run was measured on the device; pnag-generate --verify does.")
        return
    tokens = of.generator.space.encode([Architecture.parse(network.architecture) for network in of.measured])
    accuracy, _ = of.generator.accuracies(tokens)
    _points(
        drawn, f"generated, measured ({len(of.measured)})", np.array([network.latency_ms for network in of.measured]),
        accuracy, [network.architecture for network in of.measured], colour=ORANGE, size=9, marker="square",
        said="measured", about=[f"predicted {network.cost_ms:.4g} ms" for network in of.measured],
    )  # fmt: skip


def _draw_rows(drawn: Any, of: RunSource) -> None:
    """The answers of the command, where there are some."""
    if not of.rows:
        return
    _points(
        drawn, f"answers of this command ({len(of.rows)})",
        np.array([row["cost_ms"] for row in of.rows], dtype=float),
        np.array([row["ranking"]["accuracy"] for row in of.rows], dtype=float),
        [str(row["architecture"]) for row in of.rows], colour=PINK, size=13, marker="star",
        about=[f"asked for {row['budget_ms']:g} ms" for row in of.rows],
    )  # fmt: skip


def _draw_rivals(drawn: Any, of: RunSource, untried: list[str]) -> None:
    """What runs of other methods answer, their accuracies as this run predicts them."""
    rivals = rivals_of(of.run, of.generator, partial(_answers, points=_OF_RIVALS, confidence=of.confidence))
    for rival, (colour, marker) in zip(rivals, _RIVALS, strict=False):
        names = [str(answer.architecture) for answer in rival.answers]
        accuracy, _ = of.generator.accuracies(
            of.generator.space.encode([answer.architecture for answer in rival.answers])
        )
        ms = np.array([answer.cost_ms for answer in rival.answers])
        label = f"method {rival.method}, predicted"
        drawn.line(ms, 100 * accuracy, line_color=colour, line_dash="dashed", line_width=1.5, legend_label=label)
        _points(
            drawn, label, ms, accuracy, names, colour=colour, size=8, marker=marker,
            about=[f"{rival.run}, answers {answer.budget_ms:.4g} ms" for answer in rival.answers],
        )  # fmt: skip
    if not rivals:
        untried.append(
            "No other search stands beside: there is no run of another method of this table beside this one; "
            "pnag-train --method NAME makes one."
        )


def _numbers(answers: list[Candidate]) -> Html:
    rows: list[list[str | Html]] = [
        [
            number(answer.budget_ms), number(answer.cost_ms), f"{100 * answer.accuracy:.2f}",
            f"{100 * answer.accuracy_error:.2f}", code(answer.architecture),
        ]
        for answer in answers
    ]  # fmt: skip
    head = ("budget, ms", "predicted, ms", "predicted accuracy, %", "± points", "network")
    return folded(f"The numbers of {len(rows)} budgets", table(head, rows, (0, 1, 2, 3)))
