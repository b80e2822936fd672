from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lut.errors import OutputError
from pnag.errors import RunError
from pnag.runs.run import GENERATOR, MANIFEST, Run, sha256_of

ASKED = {"supernet_sha256": "ab", "seed": 1, "settings": {"k": 10}}


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
    with pytest.raises(RunError, match="another --supernet file; choose another --out"):
        Run.start(tmp_path, {**ASKED, "supernet_sha256": "cd"})


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


def test_fresh_removes_what_a_run_left_and_nothing_else_when_a_stage_is_done(tmp_path: Path) -> None:
    left = ("run.json", "archive.parquet", "archive.parquet.journal-1.jsonl", "rounds.json", "images.npz", "notes.txt")
    for name in left:
        (tmp_path / name).write_text("mine")
    (tmp_path / "supernet").mkdir()
    (tmp_path / "supernet" / "curve.jsonl").write_text("mine")
    run = Run.start(tmp_path, ASKED, fresh=True)
    assert {(tmp_path / name).read_text() for name in left} == {"mine"}
    with run.stage("archive") as record:
        record["path"] = "archive.parquet"
        run.path("archive.parquet").write_text("new")
        assert (tmp_path / "archive.parquet").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive.parquet", "notes.txt", "run.json"]
    assert run.path("archive.parquet").read_text() == "new"
    assert Run.start(tmp_path, ASKED).done("archive") is not None


def test_a_fresh_run_that_was_interrupted_goes_on_and_the_old_one_is_still_there(tmp_path: Path) -> None:
    with Run.start(tmp_path, ASKED).stage("archive"):
        pass
    other = {**ASKED, "seed": 2}
    begun = Run.start(tmp_path, other, fresh=True)
    begun.path("supernet").mkdir()
    assert Run.load(tmp_path).asked["seed"] == 1
    assert Run.start(tmp_path, other, fresh=True).path("supernet").is_dir()
    assert not Run.start(tmp_path, {**ASKED, "seed": 3}, fresh=True).path("supernet").exists()
    assert Run.start(tmp_path, ASKED).done("archive") is not None


@pytest.mark.parametrize("steps", range(10))
def test_a_kill_while_a_fresh_run_takes_the_olds_place_loses_nothing_of_it(
    steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever file operation is the last, the next start ends the work."""
    with Run.start(tmp_path, ASKED).stage("archive"):
        (tmp_path / "archive.parquet").write_text("old")
        (tmp_path / "generator.npz").write_text("old")
    left = [steps]

    def counted(original: Callable[..., object]) -> Callable[..., object]:
        def call(path: Path, *arguments: object, **options: object) -> object:
            if path.is_relative_to(tmp_path) and path.suffix != ".probe" and ".tmp" not in path.name:
                if not left[0]:
                    raise KeyboardInterrupt
                left[0] -= 1
            return original(path, *arguments, **options)

        return call

    run = Run.start(tmp_path, {**ASKED, "seed": 2}, fresh=True)
    with monkeypatch.context() as patch:

        def finish_a_stage() -> None:
            with run.stage("archive"):
                run.path("archive.parquet").write_text("new")
                run.path("rounds.json").write_text("new")
                patch.setattr(Path, "unlink", counted(Path.unlink))
                patch.setattr(Path, "replace", counted(Path.replace))

        with pytest.raises(KeyboardInterrupt):
            finish_a_stage()
    found = Run.start(tmp_path, {**ASKED, "seed": 2})
    assert found.done("archive") is not None
    assert (tmp_path / "archive.parquet").read_text() == "new"
    assert (tmp_path / "rounds.json").read_text() == "new"
    assert not (tmp_path / "generator.npz").exists()
    assert not (tmp_path / ".fresh").exists()


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
