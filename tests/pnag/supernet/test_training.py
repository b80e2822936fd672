import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lut.journal import read_lines
from pnag.accuracy.archive import AccuracyArchive
from pnag.errors import CheckpointError, DataError
from pnag.supernet import CURVE
from pnag.supernet.collect import collect_archive
from pnag.supernet.evaluation import evaluate
from pnag.supernet.supernet import Supernet
from pnag.supernet.training import SUPERNET, train_supernet
from pnag.supernet.training_config import PRESETS, TrainConfig, preset
from pnag.supernet.training_loop import CHECKPOINT, rate_share
from tests.pnag.tiny import TINY_CONFIG, TINY_SPACE, coloured_squares

DATA = coloured_squares()


class Stop(Exception):  # noqa: N818
    pass


class Reports:
    def __init__(self, stop_after=None):
        self.total, self.steps, self.stop_after = 0.0, 0, stop_after

    def advance(self, amount=1.0, note=""):
        self.total += amount
        self.steps += 1
        if self.steps == self.stop_after:
            raise Stop


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out, reports = tmp_path_factory.mktemp("trained"), Reports()
    return train_supernet(TINY_SPACE, DATA, replace(TINY_CONFIG, epochs=6), out, progress=reports), out, reports


def test_small_and_large_networks_learn(trained):
    net, _, _ = trained
    for architecture in [*TINY_SPACE.extremes(), *TINY_SPACE.decode(TINY_SPACE.sample(2, np.random.default_rng(0)))]:
        assert evaluate(net, architecture, DATA, "test") >= 0.9


def test_the_supernet_is_written_with_what_it_was_trained_on(trained):
    net, out, _ = trained
    loaded = Supernet.load(out / SUPERNET, TINY_SPACE)
    assert loaded.sha256() == net.sha256()
    assert loaded.data["sha256"] == DATA.sha256


def test_a_finished_supernet_is_the_one_that_was_written(trained, monkeypatch):
    """On another number of threads its batch-norm statistics would be others in the last digit, were they redone."""
    net, out, _ = trained
    before = (out / SUPERNET).read_bytes()
    monkeypatch.setattr("pnag.supernet.training.calibrated_subnet", lambda *_: pytest.fail("worked out anew"))
    again = train_supernet(TINY_SPACE, DATA, replace(TINY_CONFIG, epochs=6), out)
    assert again.sha256() == net.sha256()
    assert (out / SUPERNET).read_bytes() == before


def test_the_curve_and_the_progress_reach_the_end(trained):
    _, out, reports = trained
    curve = read_lines(out / CURVE)
    assert curve[-1]["done"] == 1
    assert curve[-1]["step"] == 6 * 7 == reports.steps
    assert curve[-1]["losses"][0] < curve[0]["losses"][0]
    assert reports.total == pytest.approx(100)


def test_a_finished_training_is_not_done_again(trained):
    net, out, _ = trained
    reports = Reports()
    again = train_supernet(TINY_SPACE, DATA, replace(TINY_CONFIG, epochs=6), out, progress=reports)
    assert again.sha256() == net.sha256()
    assert reports.steps == 1


def test_a_killed_training_goes_on_exactly(tmp_path):
    config = replace(TINY_CONFIG, epochs=1, checkpoint_every_s=0)
    straight = train_supernet(TINY_SPACE, DATA, config, tmp_path / "straight")
    with pytest.raises(Stop):
        train_supernet(TINY_SPACE, DATA, config, tmp_path / "killed", progress=Reports(stop_after=4))
    assert not (tmp_path / "killed" / SUPERNET).exists()
    with (tmp_path / "killed" / CURVE).open("a") as file:
        file.write('{"step": 5, "do')
    told = []
    resumed = train_supernet(
        TINY_SPACE, DATA, config, tmp_path / "killed", watch=lambda step, figures: told.append((step, figures))
    )
    assert resumed.sha256() == straight.sha256()
    steps = [[row["step"] for row in read_lines(tmp_path / name / CURVE)] for name in ("straight", "killed")]
    assert steps[0] == steps[1]
    rows = read_lines(tmp_path / "killed" / CURVE)  # the watch is told all of the curve, of its losses the first
    figures = [{k: v for k, v in row.items() if k not in ("step", "losses")} for row in rows]
    assert told == [(row["step"], {"loss": row["losses"][0], **one}) for row, one in zip(rows, figures, strict=True)]


def test_a_training_can_begin_with_a_trained_supernet(trained, tmp_path):
    net, _, _ = trained
    config = replace(TINY_CONFIG, epochs=0.2, learning_rate=1e-5, warm_up=0.0)
    further = train_supernet(TINY_SPACE, DATA, config, tmp_path, start=net)
    assert evaluate(further, TINY_SPACE.extremes()[0], DATA, "test") >= 0.9  # a fresh one knows nothing after two steps
    assert further.sha256() != net.sha256()
    with pytest.raises(CheckpointError, match=r"another start \(supernet was .*, now None\)"):
        train_supernet(TINY_SPACE, DATA, config, tmp_path)


def test_refuses_to_go_on_with_other_settings_or_from_a_damaged_checkpoint(trained):
    _, out, _ = trained
    with pytest.raises(CheckpointError, match=r"another config \(epochs was 6, now 7\)"):
        train_supernet(TINY_SPACE, DATA, replace(TINY_CONFIG, epochs=7), out)
    with pytest.raises(CheckpointError, match="another data"):
        train_supernet(TINY_SPACE, coloured_squares(seed=1), replace(TINY_CONFIG, epochs=6), out)


def test_refuses_a_damaged_checkpoint(tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(b"half a file")
    with pytest.raises(CheckpointError, match="damaged"):
        train_supernet(TINY_SPACE, DATA, TINY_CONFIG, tmp_path)


def test_core_minutes_end_a_training(tmp_path):
    config = replace(TINY_CONFIG, epochs=10_000, core_minutes=0.5 / 60, alternate=True, distill=0.5)
    train_supernet(TINY_SPACE, DATA, config, tmp_path)
    last = read_lines(tmp_path / CURVE)[-1]
    assert last["core_s"] >= 0.5
    assert last["learning_rate"] < 0.01


def test_the_rate_rises_and_falls_to_zero():
    assert rate_share(0.0, 0.1) == 0.01
    assert rate_share(0.05, 0.1) == pytest.approx(0.5)
    assert rate_share(0.1, 0.1) == 1
    assert rate_share(0.55, 0.1) == pytest.approx(0.5)
    assert rate_share(1.0, 0.1) == pytest.approx(0)


def test_refuses_data_that_do_not_fit_the_space(tmp_path):
    with pytest.raises(DataError, match="3 classes at side 32, the space 4"):
        train_supernet(replace(TINY_SPACE, classes=4), DATA, TINY_CONFIG, tmp_path)


@pytest.mark.parametrize("name", PRESETS)
def test_every_kind_of_data_has_a_preset(name):
    assert preset(f"{name}:somewhere") == PRESETS[name]
    assert json.loads(json.dumps(PRESETS[name].to_dict())) == PRESETS[name].to_dict()


def test_refuses_senseless_settings():
    with pytest.raises(DataError, match="known are digits"):
        preset("mnist")
    with pytest.raises(DataError, match="batch 0"):
        TrainConfig(batch=0)
    with pytest.raises(DataError, match=r"warm_up 1\.5"):
        TrainConfig(warm_up=1.5)


@pytest.mark.slow
def test_two_processes_stay_in_step_and_share_the_evaluations(tmp_path):
    root = Path(__file__).parents[3]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    done = subprocess.run(
        [*command, "-m", "tests.pnag.supernet.two_processes", str(tmp_path)],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert one == two
    assert one["world"] == 2
    assert one["again"] == one["supernet"]  # the same seed, the same supernet, bit by bit
    net = Supernet.load(tmp_path / SUPERNET, TINY_SPACE)
    assert net.sha256() == one["supernet"]
    tokens = TINY_SPACE.sample(5, np.random.default_rng(0))
    alone = collect_archive(net, DATA, tokens, tmp_path / "alone.parquet")
    shared = AccuracyArchive.load(tmp_path / "archive.parquet", TINY_SPACE)
    assert np.allclose(alone.accuracy, shared.accuracy, atol=1e-9)
    assert list(tmp_path.glob("*journal*")) == []
