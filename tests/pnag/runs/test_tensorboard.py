from pathlib import Path

import pytest

from lut.errors import OutputError
from pnag import cli_train
from pnag.errors import RunError
from pnag.runs import tensorboard
from pnag.runs.tensorboard import EventFiles
from tests.pnag.commands import runner
from tests.tables import TINY, made_up_table


def test_without_the_package_one_line_says_so_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorboard, "find_spec", lambda _: None)
    made_up_table(TINY).save(tmp_path / "t.parquet")
    words = (
        "--lut",
        tmp_path / "t.parquet",
        "--data",
        "digits",
        "--out",
        tmp_path / "run",
        "--tensorboard",
        tmp_path / "c",
    )
    ended = runner(cli_train.main, capsys, monkeypatch)(*words)
    assert ended.code == RunError.exit_code
    assert ended.says("--tensorboard needs", "pip install tensorboard")
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]


def test_a_file_is_no_place_for_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorboard, "find_spec", lambda _: object())
    (tmp_path / "curves").write_text("mine")
    with pytest.raises(OutputError, match="event files need a folder"):
        EventFiles(tmp_path / "curves")


def test_figures_are_read_back_and_what_is_told_again_takes_the_place_of_what_was(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for steps in ((1, 2, 3), (1, 2)):  # the second process goes on from an earlier step
        with EventFiles(tmp_path / "curves") as files:
            for step in steps:
                files.of("supernet")(step, {"loss": 1.0 / step, "kept": float(len(steps))})
    assert [path.name for path in (tmp_path / "curves").iterdir()] == ["supernet"]
    found = events.EventAccumulator(str(tmp_path / "curves" / "supernet")).Reload()
    assert [(event.step, event.value) for event in found.Scalars("loss")] == [(1, 1.0), (2, 0.5)]
    assert {event.value for event in found.Scalars("kept")} == {2.0}
