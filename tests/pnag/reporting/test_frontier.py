"""What stands beside a run's answers: runs of other methods, and published networks that were measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from devices.backend import DeviceInfo
from lut.views.html.page import Plots, Section
from pnag.accuracy.provenance import Provenance, Published
from pnag.generator.generate import PROVENANCE
from pnag.generator.learning import train_generator
from pnag.reporting import source
from pnag.reporting.frontier import frontier_section
from pnag.reporting.source import RunSource
from pnag.runs.run import TABLE, Run
from profiler.zoo.file import Zoo, ZooRow
from profiler.zoo.network import ZooNetwork
from tests.tables import TINY, made_up_table

MADE_UP = made_up_table(TINY)
IN_PRINT = Published(1.0, -0.03, 0.002, 19)


def finished_run(directory: Path, method: str, published: Published | None = None, table: str = "the table") -> Run:
    """A run with a generator that picks among known networks."""
    costs = TINY.cost_model(MADE_UP)
    tokens = np.unique(TINY.sample(80, np.random.default_rng(0)), axis=0)
    accuracy = 0.6 + 0.1 * np.sqrt(costs(tokens) - costs.range_ms[0] + 0.01)
    run = Run.start(directory, {"method": method})
    with run.stage("table") as record:
        record |= {"sha256": table, "from": str(directory.parent / "abacus.parquet")}
    MADE_UP.save(run.path(TABLE))
    made = train_generator(TINY, costs, tokens, accuracy, method="random", residuals=(-0.01, 0.0, 0.01))
    made.with_metadata(**{PROVENANCE: Provenance("ImageNet", "made up", published).to_dict()}).save(directory)
    return run


def of_zoo(run: Run, rows: list[ZooRow], model: str = "Abacus 3") -> RunSource:
    """The run with published networks that were measured on that device."""
    about = {"name": "beads", "version": "1.0", "threads": 1}
    made = RunSource(run)
    zoo = Zoo(Path("zoo.json"), DeviceInfo("", model, {}), about, 1, "2026-01-01", tuple(rows))
    vars(made)["zoo"] = zoo if zoo.unlike(made.table.metadata) is None else None
    return made


def drawn_in(section: Section) -> dict[str, dict[str, Any]]:
    """The data behind the points and lines of its plots, by their labels."""
    plots = [model for piece in section.pieces if isinstance(piece, Plots) for model in piece.models]
    items = [item for plot in plots for item in plot.legend[0].items]
    return {item.label.value: item.renderers[-1].data_source.data for item in items}


def test_runs_of_other_methods_of_the_same_table_stand_beside(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "ours", "pnag")
    finished_run(tmp_path / "other", "evolution")
    finished_run(tmp_path / "same", "pnag")
    finished_run(tmp_path / "foreign", "mnas", table="another table")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "generator.npz").write_bytes(b"no generator")
    section = frontier_section(RunSource(run))
    (rival,) = (label for label in drawn_in(section) if label.startswith("method"))
    assert rival == "method evolution, predicted"
    data = drawn_in(section)[rival]
    costs = TINY.cost_model(MADE_UP)
    assert len(data["ms"]) == 20
    assert min(data["ms"]) >= costs.range_ms[0] * 0.999
    assert data["about"][0].startswith(f"{tmp_path / 'other'}, answers")
    assert not [sentence for sentence in section.untried if "other search" in sentence]


def test_published_networks_stand_beside_at_the_tables_speed(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "ours", "pnag", IN_PRINT)
    of_blocks = []
    for index, architecture in enumerate(TINY.decode(TINY.sample(4, np.random.default_rng(5)))):
        blocks = TINY.decompose(architecture)
        network = ZooNetwork(f"n{index}", "print", 32, 0.5, blocks=blocks)
        of_blocks.append(ZooRow(network, 1.25 * MADE_UP.cost_ms(blocks), None))
    foreign = ZooRow(ZooNetwork("else", "torchvision", 48, 0.61, builder="else"), 5.0, None)
    failed = ZooRow(ZooNetwork("failed", "torchvision", 48, 0.61, builder="failed"), None, None, "no")
    section = frontier_section(of_zoo(run, [*of_blocks, foreign, failed]))
    drawn = drawn_in(section)
    assert drawn["torchvision (1)"]["ms"] == pytest.approx([4.0])
    assert drawn["torchvision (1)"]["top1"] == pytest.approx([61])
    assert list(drawn["torchvision (1)"]["side"]) == [48]
    assert list(drawn["print (4)"]["name"]) == ["n0", "n1", "n2", "n3"]
    ours = drawn["generated, predicted"]
    answers = RunSource(run).generator.generate(1e3)
    assert ours["top1"][-1] == pytest.approx(100 * (answers.accuracy - 0.03), rel=1e-5)
    assert not [sentence for sentence in section.untried if "Published networks" in sentence]


def test_what_cannot_stand_beside_is_said(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "ours", "pnag")
    row = ZooRow(ZooNetwork("else", "torchvision", 48, 0.61, builder="else"), 5.0, None)
    assert "not known as a published top-1" in " ".join(frontier_section(of_zoo(run, [row])).missing)
    section = frontier_section(of_zoo(run, [row], model="another device"))
    assert "pnag-profile --device NAME --zoo" in " ".join(section.untried)
    assert "pnag-train --method NAME" in " ".join(section.untried)


def test_the_newest_zoo_of_the_same_device_in_the_tables_folder_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished_run(tmp_path / "ours", "pnag")
    (tmp_path / "broken-zoo.json").write_text("{}")
    assert RunSource(run).zoo is None
    about = {"name": "beads", "version": "1.0", "threads": 1}
    known = {
        "a-zoo.json": ("Abacus 3", "2026-01-02"),
        "b-zoo.json": ("Abacus 3", "2026-01-01"),
        "c-zoo.json": ("another device", "2026-01-03"),
    }

    def read(path: Path) -> Zoo:
        model, created = known[path.name]
        return Zoo(path, DeviceInfo("", model, {}), about, 1, created, ())

    (tmp_path / "broken-zoo.json").unlink()
    for name in known:
        (tmp_path / name).write_text("{}")
    monkeypatch.setattr(source, "read_zoo", read)
    found = RunSource(run).zoo
    assert found is not None
    assert found.path.name == "a-zoo.json"
