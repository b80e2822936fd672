"""One network trained by itself from its supernet weights: better or left alone, the same again, resumed exactly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pnag import cli_generate
from pnag.delivery import finetuning
from pnag.delivery.finetuning import FineTuned, fine_tune, settings
from pnag.delivery.metadata import read_metadata
from pnag.runs.pipeline import train_run
from pnag.runs.request import TrainRequest
from pnag.runs.run import FINETUNED
from pnag.supernet.evaluation import calibrated_subnet, calibration_batches
from pnag.supernet.supernet import Supernet
from pnag.supernet.training import train_supernet
from profiler.build.modules import Network
from profiler.console import Progress
from tests.pnag.commands import Run, runner
from tests.pnag.tiny import TINY_CONFIG, TINY_SPACE, coloured_squares
from tests.tables import made_up_table

DATA = coloured_squares()
NETWORK = TINY_SPACE.extremes()[0]
CONFIG = settings(replace(TINY_CONFIG, checkpoint_every_s=0), epochs=1, seed=3)


class Stop(Exception):  # noqa: N818
    pass


class Reports:
    def __init__(self, stop_after: int | None = None) -> None:
        self.total, self.steps, self.stop_after = 0.0, 0, stop_after

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        self.total += amount
        self.steps += 1
        if self.steps == self.stop_after:
            raise Stop

    def extend(self, amount: float) -> None:
        raise AssertionError("more to do than was known")


@pytest.fixture(scope="module")
def supernet(tmp_path_factory: pytest.TempPathFactory) -> Supernet:
    """One that has hardly been trained."""
    folder = tmp_path_factory.mktemp("supernet")
    return train_supernet(TINY_SPACE, DATA, replace(TINY_CONFIG, epochs=0.5), folder)


@pytest.fixture(scope="module")
def tuned(supernet: Supernet, tmp_path_factory: pytest.TempPathFactory) -> FineTuned:
    return fine_tune(supernet, NETWORK, DATA, CONFIG, tmp_path_factory.mktemp("tuned"))


def weights(network: Network) -> Tensor:
    return torch.cat([tensor.flatten().double() for tensor in network.state_dict().values()])


def test_what_is_trained_is_the_network_itself(supernet: Supernet) -> None:
    network = calibrated_subnet(supernet, NETWORK, calibration_batches(DATA))
    images, _ = next(DATA.val.batches(8))
    trainee = finetuning._Trainee(network).eval()
    assert torch.allclose(trainee(images), network(images), atol=1e-5)
    assert torch.equal(weights(trainee.network()), weights(network))
    assert all(parameter.requires_grad for parameter in trainee.parameters())


def test_a_network_gets_better_and_begins_where_the_supernet_has_it(tuned: FineTuned, supernet: Supernet) -> None:
    assert tuned.val_begin < 0.8
    assert tuned.val_trained > tuned.val_begin + 0.1
    assert tuned.network is tuned.trained
    assert not tuned.network.training
    begin = calibrated_subnet(supernet, NETWORK, calibration_batches(DATA))
    assert torch.equal(weights(tuned.begin), weights(begin))
    assert settings(TINY_CONFIG, 1, 3).learning_rate < TINY_CONFIG.learning_rate


def test_the_same_seed_gives_the_same_weights_and_another_one_others(
    tuned: FineTuned, supernet: Supernet, tmp_path: Path
) -> None:
    again, other = (fine_tune(supernet, NETWORK, DATA, replace(CONFIG, seed=seed), tmp_path) for seed in (3, 4))
    assert torch.equal(weights(again.trained), weights(tuned.trained))
    assert not torch.equal(weights(other.trained), weights(tuned.trained))


def test_a_killed_training_goes_on_exactly_and_an_ended_one_is_not_done_again(
    tuned: FineTuned, supernet: Supernet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Stop):
        fine_tune(supernet, NETWORK, DATA, CONFIG, tmp_path, progress=Reports(stop_after=3))
    further = Reports()
    resumed = fine_tune(supernet, NETWORK, DATA, CONFIG, tmp_path, progress=further)
    assert torch.equal(weights(resumed.trained), weights(tuned.trained))
    steps = DATA.train.steps_per_epoch(CONFIG.batch)
    assert further.steps == 1 + steps - 3  # what was done before in one, then step by step
    assert further.total == pytest.approx(100)
    monkeypatch.setattr(finetuning, "make_fabric", lambda *_: pytest.fail("trained again"))
    reports = Reports()
    known = fine_tune(supernet, NETWORK, DATA, CONFIG, tmp_path, progress=reports)
    assert torch.equal(weights(known.trained), weights(tuned.trained))
    assert (known.val_begin, known.val_trained) == (tuned.val_begin, tuned.val_trained)
    assert reports.total == 100


def test_where_it_loses_accuracy_the_supernets_weights_are_kept(tmp_path: Path) -> None:
    good = train_supernet(TINY_SPACE, DATA, replace(TINY_CONFIG, epochs=3), tmp_path / "good")
    spoilt = replace(CONFIG, optimizer="sgd", learning_rate=30.0, clip_norm=1e9)
    lost = fine_tune(good, NETWORK, DATA, spoilt, tmp_path)
    assert lost.val_trained < lost.val_begin
    assert lost.network is lost.begin
    assert lost.report(0.9, 0.5) == {
        "epochs": 1,
        "delivered": False,
        "validation_accuracy_before": lost.val_begin,
        "validation_accuracy_after": lost.val_trained,
        "test_accuracy_before": 0.9,
        "test_accuracy_after": 0.5,
    }


# -- the command --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose supernet has hardly seen the digits."""
    folder, space = tmp_path_factory.mktemp("run"), replace(TINY_SPACE, classes=10)
    made_up_table(space).save(folder / "table.parquet")
    request = TrainRequest(
        folder / "table.parquet", folder / "run", data="digits", method="random", architectures=20, epochs=0.3
    )
    train_run(request, tell=lambda _: None, progress=Progress)
    return folder / "run"


@pytest.fixture
def generate(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(cli_generate.main, capsys, monkeypatch)


def budget(run: Path) -> float:
    from pnag.generator.generate import Generator

    return 1.5 * Generator.load(run).range_ms[1]


def test_before_and_after_are_on_the_screen_in_json_and_in_the_file(generate: Run, run: Path, tmp_path: Path) -> None:
    words = (budget(run), "--from", run, "--export", tmp_path / "net.onnx", "--finetune", 0.5)
    before = generate(*words[:-2], "--json").document["networks"][0]
    assert (before["weights"], before["finetuning"]) == ("trained", None)
    ended = generate(*words, "--json")
    assert ended.code == 0
    network = ended.document["networks"][0]
    report = network["finetuning"]
    assert network["weights"] == network["exports"][0]["weights"] == "finetuned"
    assert report["test_accuracy_before"] == before["test_accuracy"]
    assert report["test_accuracy_after"] == network["test_accuracy"]
    about = read_metadata(tmp_path / "net.onnx")
    assert about["finetuning"] == report
    assert about["accuracy"] == network["accuracy"]
    screen = generate(*words).out
    assert "fine-tuned 0.5 epochs: validation accuracy" in screen
    assert f"test accuracy {report['test_accuracy_before']:.2%} before, {report['test_accuracy_after']:.2%}" in screen
    assert len(list((run / FINETUNED).iterdir())) == 1
    assert not list(run.glob("*.lock"))


def test_lost_accuracy_is_said(generate: Run, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Lost(FineTuned):
        better = False

    def lost(*arguments: Any, **options: Any) -> FineTuned:
        found = fine_tune(*arguments, **options)
        return Lost(found.begin, found.trained, found.epochs, 0.9, 0.8)

    monkeypatch.setattr("pnag.delivery.deliver.fine_tune", lost)
    ended = generate(budget(run), "--from", run, "--export", tmp_path / "net.onnx", "--finetune", 0.5)
    assert "lost accuracy on the validation split (90.00% to 80.00%)" in ended.err
    assert "80.00% after (LOST)" in ended.out
    assert "so the supernet's weights are kept" in ended.out
    assert read_metadata(tmp_path / "net.onnx")["weights"] == "trained"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--finetune", "0", "--export", "net.onnx"), "0 is no training; give epochs above 0"),
        (("--finetune", "nan", "--export", "net.onnx"), "nan is no training"),
        (("--finetune", "2"), "give --export or --verify"),
        (("--finetune", "2", "--export", "net.onnx", "--weights", "ckpt"), "pnag-train --data D --supernet ckpt"),
    ],
)
def test_what_cannot_be_meant_is_refused(generate: Run, run: Path, words: tuple[str, ...], said: str) -> None:
    ended = generate(9.0, "--from", run, *words)
    assert ended.code == 2
    assert ended.says(said)


def test_without_images_there_is_nothing_to_tune_on(
    generate: Run, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pnag.delivery.deliver.load_data", lambda *_, **__: DATA)
    ended = generate(9.0, "--from", run, "--finetune", 1, "--export", "net.onnx")
    assert ended.code == 2
    assert ended.says("digits is not the one any more")
    assert list(tmp_path.iterdir()) == []
