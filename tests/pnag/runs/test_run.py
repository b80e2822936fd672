from __future__ import annotations

import os
from pathlib import Path

import pytest

from lut.errors import OutputError
from pnag.errors import RunError
from pnag.runs.run import GENERATOR, MANIFEST, Run, sha256_of

ASKED = {"table_sha256": "ab", "seed": 1, "settings": {"k": 10}}


def test_a_finished_stage_survives_and_is_not_asked_for_again(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "r", ASKED)
    with run.stage("archive") as record:
        record["n"] = 7
    again = Run.start(tmp_path / "r", ASKED)
    done = again.done("archive")
    assert done is not None
    assert done["n"] == 7
    assert done["seconds"] >= 0
    assert again.done("generator") is None


def test_a_stage_that_fails_is_not_recorded(tmp_path: Path) -> None:
    run = Run.start(tmp_path, ASKED)
    with pytest.raises(ZeroDivisionError), run.stage("archive"):
        _ = 1 / 0
    assert Run.start(tmp_path, ASKED).done("archive") is None
    assert list(tmp_path.iterdir()) == []


def test_other_files_are_refused_by_the_options_name(tmp_path: Path) -> None:
    with Run.start(tmp_path, ASKED).stage("table"):
        pass
    with pytest.raises(RunError, match="another --lut file; choose another --out"):
        Run.start(tmp_path, {**ASKED, "table_sha256": "cd"})


def test_a_folder_that_cannot_be_written_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file is not a folder"):
        Run.start(tmp_path / "file" / "r", ASKED)


def test_other_settings_are_refused_by_name_unless_fresh(tmp_path: Path) -> None:
    run = Run.start(tmp_path, ASKED)
    with run.stage("archive"):
        pass
    other = {**ASKED, "seed": 2}
    with pytest.raises(RunError, match=r"seed = 1, not 2.*--fresh"):
        Run.start(tmp_path, other)
    assert Run.start(tmp_path, other, fresh=True).done("archive") is None


def test_fresh_removes_what_a_run_left_and_nothing_else(tmp_path: Path) -> None:
    for name in ("run.json", "archive.parquet", "archive.parquet.journal-1.jsonl", "notes.txt"):
        (tmp_path / name).write_text("mine")
    Run.start(tmp_path, ASKED, fresh=True)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_empty_directory_is_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run"):
        Run.load(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 99, "asked": {}}'])
def test_a_damaged_manifest_says_so(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(RunError, match=r"damaged|format 99"):
        Run.load(tmp_path)


def test_the_run_trained_last_is_found(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="pnag-train"):
        Run.latest(tmp_path)
    for age, name in enumerate(("unfinished", "new", "old")):
        run = Run.start(tmp_path / name, ASKED)
        with run.stage("generator"):
            if name != "unfinished":
                run.directory.mkdir()
                run.path(GENERATOR).touch()
                os.utime(run.path(GENERATOR), (9 - age, 9 - age))
    assert Run.latest(tmp_path).directory.name == "new"


def test_sha256_is_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert sha256_of(tmp_path / "f").startswith("ba7816bf")
