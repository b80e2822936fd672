"""How trainings went, read from what a run keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lut.views.html.markup import Html
from lut.views.html.page import Plots
from pnag.reporting.curves import curves_section
from pnag.reporting.source import RunSource
from pnag.runs.run import FINETUNED, LEARNING, SUPERNET, Run
from pnag.supernet import CURVE

EPOCHS = [
    {"step": 10, "epoch": 1.0, "losses": [2.0, 2.5], "val_smallest": 0.25, "val_largest": 0.5},
    {"step": 15, "epoch": 1.5, "losses": [1.5, 2.0]},
    {"step": 20, "epoch": 2.0, "losses": [1.0, 1.5], "val_smallest": 0.5, "val_largest": 0.75},
]
STEPS = [{"step": n, "loss": 1 / n, "entropy": 40.0 - n, "kept": n / 4, "used": 1.25} for n in (1, 2, 3)]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def made(directory: Path, **stages: Any) -> RunSource:
    return RunSource(Run(directory, {"method": "pnag"}, dict(stages)))


def lines(plot: Any) -> dict[str, list[float]]:
    """The values of each line of a plot by its column of x and its label."""
    found = {}
    for item in plot.legend[0].items:
        data = item.renderers[0].data_source.data
        found[item.label.value] = list(data["value"])
    return found


def test_losses_accuracies_and_steps_are_those_that_were_kept(tmp_path: Path) -> None:
    write(tmp_path / SUPERNET / CURVE, EPOCHS)
    write(tmp_path / LEARNING, STEPS)
    write(tmp_path / FINETUNED / "abc" / CURVE, [{"step": 5, "epoch": 1.0, "losses": [0.5], "val": 0.8}])
    section = curves_section(made(tmp_path, supernet={"data": {"name": "squares"}, "seconds": 12.4}))
    loss, accuracy, shares, entropy, own_loss, own = (
        model for piece in section.pieces if isinstance(piece, Plots) for model in piece.models
    )
    assert lines(loss) == {"of the step": [2.0, 1.5, 1.0]}
    assert lines(accuracy) == {"largest network": [50, 75], "smallest network": [25, 50]}
    kept, used = lines(shares).values()
    assert (kept, used) == ([25, 50, 75], [125, 125, 125])
    assert lines(entropy) == {"entropy": [39, 38, 37]}
    assert (lines(own_loss), lines(own)["the network"]) == ({"of the step": [0.5]}, [80])
    told = " ".join(piece.markup for piece in section.pieces if isinstance(piece, Html))
    assert "Trained on squares in 12 s." in told
    assert section.missing == ()


def test_what_was_not_trained_or_cannot_be_read_is_said(tmp_path: Path) -> None:
    section = curves_section(made(tmp_path))
    assert section.pieces == ()
    assert section.missing[0].startswith("No supernet was trained in this run")
    assert "method pnag has none" in section.missing[1]
    (tmp_path / LEARNING).write_text("no json\n{}\n")
    write(tmp_path / SUPERNET / CURVE, [{"step": "x"}, {"other": 1}])
    section = curves_section(made(tmp_path))
    assert section.pieces == ()
    assert [sentence for sentence in section.missing if sentence.startswith("A curve cannot be read")]
