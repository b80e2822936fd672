"""The page of a table: all there, equal to the table, nothing loaded, and drawn by a real browser without complaint."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lut import cli
from lut.errors import OutputError
from lut.table import LatencyTable
from lut.views.html.report import write_table_report
from lut.views.html.shown import Shown, moments_of
from pnag.space.spaces import load_space
from profiler.console import command_line
from profiler.measure.measurement import Visit
from tests.browser import CHROMIUM, Browser
from tests.pages import Page
from tests.pnag.commands import runner
from tests.tables import made_up_table, with_entry

SPACE = load_space("ofa-mbv3-w0.25", resolution=32, classes=10)
CREATED = "2026-02-03T04:05:06+00:00"
EVIL = "</script><script>alert(1)</script><img src=http://x.example/y onerror=alert(2)> $$x$$ 'a' \"b\""
SECTIONS = ["Device and session", "What each block costs", "Predicted against measured", "Noise"]
MB = 1_000_000


@pytest.fixture(scope="module")
def table() -> LatencyTable:
    return made_up_table(SPACE)


@pytest.fixture(scope="module")
def visits(table: LatencyTable) -> tuple[Visit, ...]:
    """Two rounds of all blocks, with a reading of the reference after each ten, warmer and warmer."""
    made, at_s = [], 0.0
    for number in range(2):
        for index, key in enumerate(table.blocks):
            at_s += 1.5
            if index % 10 == 0:
                made.append(Visit("reference", -1, (1 + 0.01 * number,), at_s=at_s))
            time_ms = table.blocks[key].latency_ms * (1 + 0.02 * number)
            flags = ("disturbed",) if index % 7 == 0 else ()
            made.append(Visit(key, number, (time_ms,), flags=flags, temperature_c=30 + at_s / 100, at_s=at_s))
    return tuple(made)


def write(path: Path, *tables: Shown) -> Page:
    write_table_report(path, tables, created=CREATED, command="pnag-lut report x.parquet")
    return Page.read(path)


def test_one_table_has_its_sections_and_what_it_lacks(tmp_path: Path, table: LatencyTable) -> None:
    path = tmp_path / "r.html"
    page = write(path, Shown(table, "x.parquet"))
    assert path.stat().st_size < 5 * MB
    assert list(tmp_path.iterdir()) == [path]
    assert page.titles == [*SECTIONS, "What was not tried", "What is not in this report"]
    assert page.plots == 4
    assert [item for item in page.items if "over time" in item]
    assert page.row_of("content")[1] == table.content_sha256
    assert page.row_of("device")[1] == "Abacus 3"
    assert "pnag-lut report x.parquet" in page.codes
    assert CREATED in page.words


def test_the_numbers_are_those_of_the_table(tmp_path: Path, table: LatencyTable) -> None:
    page = write(tmp_path / "r.html", Shown(table, "x.parquet"))
    for key, entry in table.blocks.items():
        _, _, cost, alone, ci, rounds, flags = page.row_of(key)
        assert (float(cost), float(alone)) == pytest.approx((entry.cost_ms, entry.latency_ms), rel=1e-4)
        assert (float(ci), rounds, flags) == (pytest.approx(100 * entry.relative_ci, abs=0.006), "3", "")
    for role in ("calibration", "holdout"):
        for entry in table.networks(role):
            _, _, predicted, measured, error = page.row_of(entry.block)
            assert (float(predicted), float(measured)) == pytest.approx((entry.cost_ms, entry.latency_ms), rel=1e-4)
            assert float(error) == pytest.approx(100 * (entry.latency_ms / entry.cost_ms - 1), abs=0.006)
    fidelity = table.metadata.fidelity
    assert fidelity is not None
    assert f"MAPE {100 * fidelity.mape:.2f} % on 8 unseen networks" in page.words


def test_two_tables_stand_side_by_side(tmp_path: Path, table: LatencyTable) -> None:
    key = next(iter(table.blocks))
    twice = with_entry(table, key, cost_ms=2 * table.costs_ms[key])
    page = write(tmp_path / "r.html", Shown(table, "x.parquet"), Shown(twice, "y.parquet"))
    assert page.plots == 8
    assert page.row_of(key)[-1] == "2"
    assert {"x.parquet", "y.parquet"} <= set(page.codes)
    assert "Table A" in page.words
    assert "Table B" in page.words


def test_nothing_is_loaded_and_no_other_script_may_run(tmp_path: Path, table: LatencyTable) -> None:
    page = write(tmp_path / "r.html", Shown(table, "x.parquet"))
    assert page.loaded == ["data:,"]
    assert len(page.scripts) == 2
    assert "iframe" not in page.tags
    content = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "default-src 'none'; script-src 'sha256-" in content


def test_what_is_not_known_is_said(tmp_path: Path, table: LatencyTable) -> None:
    key = next(iter(table.blocks))
    bare = tuple(entry for entry in table.entries if entry.role == "block")
    metadata = replace(table.metadata, fidelity=None, device={"name": "a board"}, runtime={})
    broken = with_entry(LatencyTable(bare, metadata), key, flags=("failed",), reason="no memory")
    page = write(tmp_path / "r.html", Shown(broken, "x.parquet"))
    assert "Predicted against measured" not in page.titles
    said = " ".join(page.items)
    for words in ("no whole network was measured", f"block {key} has no cost", "no memory", "runtime", "visits"):
        assert words.lower() in said.lower()


def test_the_device_over_time_is_that_of_the_visits(
    tmp_path: Path, table: LatencyTable, visits: tuple[Visit, ...]
) -> None:
    page = write(tmp_path / "r.html", Shown(table, "x.parquet", moments=moments_of(visits)))
    assert "The device over time" in page.titles
    assert page.plots == 4 + 3
    readings = sum(visit.round < 0 for visit in visits)
    assert f"{len(visits) - readings} visits in {visits[-1].at_s / 60:.1f} minutes" in page.words
    assert f"{readings} readings of the reference, 90 % of them from 1 to 1.01 ms" in page.words
    assert "flags of visits: disturbed 28" in page.words
    assert [item for item in page.items if "told no clock" in item]


def test_another_file_stays_where_the_page_cannot_be_written(tmp_path: Path, table: LatencyTable) -> None:
    (tmp_path / "r.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"r\.txt is no page by its suffix; end it in \.html"):
        write(tmp_path / "r.txt", Shown(table, "x.parquet"))
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(OutputError, match="it is a folder"):
        write(tmp_path / "folder.html", Shown(table, "x.parquet"))
    assert (tmp_path / "r.txt").read_text() == "mine"


def evil(table: LatencyTable) -> LatencyTable:
    """The table with markup wherever it may hold text."""
    metadata = replace(
        table.metadata, device={"model": EVIL, EVIL: EVIL}, runtime={"name": EVIL}, created=EVIL, notes=(EVIL,),
        sampling={"statistic": EVIL},
    )  # fmt: skip
    entries = tuple(
        replace(entry, flags=(EVIL,), reason=EVIL)
        if entry.role == "block"
        else replace(entry, block=EVIL + entry.block)
        for entry in table.entries
    )
    return LatencyTable(entries, metadata)


def test_foreign_text_is_text(tmp_path: Path, table: LatencyTable) -> None:
    page = write(tmp_path / "r.html", Shown(evil(table), EVIL))
    assert len(page.scripts) == 2
    assert "img" not in page.tags
    assert page.row_of("device")[1] == EVIL


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")
def test_a_browser_draws_every_plot_and_complains_of_nothing(
    tmp_path: Path, table: LatencyTable, visits: tuple[Visit, ...]
) -> None:
    """Two tables, one of them with markup in all its texts: nothing of it runs, nothing is asked for."""
    path = tmp_path / "r.html"
    page = write(path, Shown(evil(table), EVIL), Shown(table, "y.parquet", moments=moments_of(visits)))
    assert page.plots == 8 + 3
    with Browser() as browser:
        browser.open(path)
        painted = browser.painted()
        browser.point_at(0.5)
        told = browser.tooltip()
        assert browser.complaints == []
        assert browser.asked == [path.resolve().as_uri()]
        assert browser.value("document.images.length") == 0
    assert len(painted) >= page.plots
    assert sum(count > 1000 for count in painted) >= page.plots
    assert "mbconv-" in told
    assert " ms" in told


def test_the_command_writes_what_the_function_does(
    tmp_path: Path, table: LatencyTable, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table.save("x.parquet")
    run = runner(cli.main, capsys, monkeypatch)
    ended = run("report", "x.parquet", "x.parquet", "--out", "deep/r.html", "--json")
    assert (ended.code, ended.document["report"]) == (0, "deep/r.html")
    assert ended.document["bytes"] == Path("deep/r.html").stat().st_size
    assert [each["content_sha256"] for each in ended.document["tables"]] == 2 * [table.content_sha256]
    assert Page.read(tmp_path / "deep" / "r.html").plots == 8
    for words, says in (
        (("x.parquet", "--out", "r.pdf"), "r.pdf is no page by its suffix"),
        (("x.parquet",) * 3 + ("--out", "r.html"), "3 tables"),
        (("none.parquet", "--out", "r.html"), "none.parquet"),
    ):
        ended = run("report", *words)
        assert ended.code == 2
        assert ended.says(says)
    assert not Path("r.html").exists()


def test_where_a_phone_is_stays_out_of_a_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys, "argv", ["/bin/pnag-profile", "--serial", "0123", "--adb=10.0.0.2:5555", "--out", "a b.parquet"]
    )
    assert command_line() == "pnag-profile --serial SERIAL --adb=HOST:PORT --out 'a b.parquet'"
