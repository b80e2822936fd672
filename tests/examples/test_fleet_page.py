"""The queries of docs/fleet.md, asked of a small fleet."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from lut.formats.fleet import add_tables
from lut.table import LatencyTable
from pnag.space.spaces import load_space
from tests.tables import made_up_table

PAGE = (Path(__file__).parents[2] / "docs" / "fleet.md").read_text(encoding="utf-8")
SPACE = load_space("ofa-mbv3-w0.25", resolution=32, classes=10)


def blocks_of(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.M | re.S)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, LatencyTable]]:
    """Two devices, of which the second takes twice as long, in the folder `fleet`."""
    place, one = tmp_path_factory.mktemp("page"), made_up_table(SPACE)
    slower = tuple(replace(e, latency_ms=2 * e.latency_ms, samples_ms=()) for e in one.entries)
    device = {**one.metadata.device, "model": "Slate"}
    runtime = {"name": "onnxruntime", "version": "1.0", "precision": "float32", "threads": 1}
    two = LatencyTable(slower, replace(one.metadata, device=device, runtime=runtime)).calibrated()
    add_tables(place / "fleet", [one, two])
    return place, {"Abacus 3": one, "Slate": two}


def test_the_queries_of_pandas(fleet: tuple[Path, dict[str, LatencyTable]], monkeypatch: pytest.MonkeyPatch):
    place, tables = fleet
    monkeypatch.chdir(place)
    names: dict[str, object] = {}
    for text in blocks_of("python"):
        exec(text, names)
    slower = names["slower"].to_dict()  # type: ignore[attr-defined]
    assert slower == {("Abacus 3", "beads"): 1.0, ("Slate", "onnxruntime"): pytest.approx(2.0, rel=0.05)}
    assert len(names["here"]) == len(tables["Slate"].entries)  # type: ignore[arg-type]
    errors = {device: value for (device, _), value in names["by_device"].items()}  # type: ignore[attr-defined]
    assert errors == {device: pytest.approx(table.metadata.fidelity.mape) for device, table in tables.items()}


def test_the_queries_of_duckdb(fleet: tuple[Path, dict[str, LatencyTable]], monkeypatch: pytest.MonkeyPatch):
    duckdb = pytest.importorskip("duckdb")
    place, _ = fleet
    monkeypatch.chdir(place)
    costs, kernels, about = (duckdb.sql(text.rstrip().rstrip(";")).fetchall() for text in blocks_of("sql"))
    assert [row[0] for row in costs] == ["Abacus 3", "Slate"]
    assert costs[0][3] == len(SPACE.blocks())
    assert costs[1][2] == pytest.approx(2 * costs[0][2], rel=0.05)
    assert all(times > 1 for *_, times in kernels)
    assert len(kernels) == len(about) == 2
