"""A table of several resolutions: the supernet is trained at all of them, and each network is judged at its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pnag.accuracy.archive import AccuracyArchive
from pnag.data.augment import Augmentation
from pnag.data.folder import FolderSplit
from pnag.data.load import load_data
from pnag.data.split import Split
from pnag.delivery.deliver import Workshop
from pnag.delivery.finetuning import fine_tune, settings
from pnag.delivery.metadata import read_metadata
from pnag.errors import RunError
from pnag.generator.generate import Candidate, Generator
from pnag.runs.pipeline import train_run
from pnag.runs.request import TrainRequest
from pnag.runs.run import ARCHIVE, SUPERNET, Run
from pnag.space.sampling import sample_archive
from pnag.space.search_space import SearchSpace
from pnag.supernet.evaluation import accuracy, calibrated_subnet, calibration_batches
from pnag.supernet.supernet import Supernet
from pnag.supernet.training import train_supernet
from profiler.build.parity import open_file
from profiler.console import Progress
from tests.pnag.tiny import TINY_CONFIG, TINY_SPACE, coloured_squares
from tests.tables import made_up_table

SIDES = (16, 24, 32)
SPACE = replace(TINY_SPACE, classes=10, resolutions=SIDES)
DIGITS = load_data("digits", resolution=32)


def request(folder: Path, space: SearchSpace = SPACE, **asked: object) -> TrainRequest:
    made_up_table(space).save(folder / "table.parquet")
    asked = {"method": "random", "architectures": 20, "epochs": 0.5, **asked}
    return TrainRequest(folder / "table.parquet", folder / "run", data="digits", **asked)  # type: ignore[arg-type]


def train(asked: TrainRequest) -> Run:
    train_run(asked, tell=lambda _: None, progress=Progress)
    return Run.load(asked.out)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(request(tmp_path_factory.mktemp("sides")))


@pytest.fixture(scope="module")
def supernet(run: Run) -> Supernet:
    return Supernet.load(run.path(run.stages["supernet"]["path"]), SPACE)


def folder_split(folder: Path) -> FolderSplit:
    rng, samples = np.random.default_rng(0), []
    for number in range(6):
        path = folder / f"{number}.png"
        Image.fromarray(rng.integers(0, 256, (50, 60, 3), dtype=np.uint8)).save(path)
        samples.append((path, number % 2))
    return FolderSplit(tuple(samples), 32)


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_each_training_batch_has_one_side_the_same_in_all_shards_and_after_a_kill(kind: str, tmp_path: Path) -> None:
    split: Split = DIGITS.train if kind == "memory" else folder_split(tmp_path)

    def batches(start: int, number: int, shard: tuple[int, int] = (0, 1)) -> list[torch.Tensor]:
        stream = split.stream(4, seed=5, start=start, augmentation=Augmentation(), shard=shard, sides=SIDES)
        return [images for (images, _), _ in zip(stream, range(number), strict=False)]

    whole = batches(0, 12)
    sides = [images.shape[-1] for images in whole]
    assert set(sides) == set(SIDES)
    assert [images.shape[-1] for images in batches(0, 12, (1, 2))] == sides
    assert torch.equal(batches(7, 1)[0], whole[7])


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_a_split_serves_another_side(kind: str, tmp_path: Path) -> None:
    split: Split = DIGITS.val if kind == "memory" else folder_split(tmp_path)
    images, labels = next(split.at(24).batches(6))
    assert tuple(images.shape) == (6, 3, 24, 24)
    large, same = next(split.batches(6))
    assert torch.equal(labels, same)
    again = torch.nn.functional.interpolate(large, (24, 24), mode="bicubic", antialias=True)
    if kind == "memory":
        assert (again - images).abs().max() < 0.1  # rounded to 8 bits in between
    assert DIGITS.at(None) is DIGITS.at(32) is DIGITS
    assert DIGITS.at(16).resolution == 16


def test_accuracies_are_of_the_networks_own_resolution(run: Run, supernet: Supernet) -> None:
    archive = AccuracyArchive.load(run.path(ARCHIVE), SPACE)
    assert archive.space.sides == SIDES
    for row in (0, 1, 2, 19):
        architecture = archive.architectures[row]
        data = load_data("digits", resolution=32).at(architecture.resolution)
        batches = calibration_batches(data, archive.source["calibration_images"])
        assert {batch.shape[-1] for batch in batches} == {architecture.resolution}
        assert accuracy(calibrated_subnet(supernet, architecture, batches), data.val) == archive.accuracy[row]


def test_a_few_accuracies_are_known_at_every_resolution() -> None:
    many = replace(SPACE, resolution=80, resolutions=tuple(range(16, 81, 8)))
    costs = many.macs_model()
    for seed in range(6):
        tokens = sample_archive(many, 20, costs, np.random.default_rng(seed))
        assert len(np.unique(tokens, axis=0)) == 20
        assert set(tokens[:, -1].tolist()) == set(range(9))


@pytest.mark.parametrize("side", SIDES)
def test_a_network_is_delivered_at_its_resolution(run: Run, supernet: Supernet, side: int, tmp_path: Path) -> None:
    architecture = replace(SPACE.extremes()[0], resolution=side)
    workshop = Workshop(run, test_images=50)
    assert workshop.untrained is None
    made = workshop.build(Candidate(architecture, 1.0, 0.8, 0.8, 0.001, 1.1, 1.05, 0.95, 0.05))
    assert made.trained
    workshop.export(made, tmp_path / "net.onnx")
    about = read_metadata(tmp_path / "net.onnx")
    assert about["input"]["height"] == side
    assert about["input_shape"] == [1, 3, side, side]
    assert about["accuracy"] == made.test_accuracy
    images, _ = next(DIGITS.at(side).test.batches(1))
    with torch.no_grad():
        assert np.allclose(open_file(tmp_path / "net.onnx")(images.numpy()), made.network(images).numpy(), atol=1e-4)


def test_answers_name_their_resolution(run: Run) -> None:
    generator = Generator.load(run.directory)
    low, high = generator.range_ms
    assert generator.generate((low + high) / 2 * 1.2).architecture.resolution in SIDES


def test_a_network_is_fine_tuned_at_its_resolution(tmp_path: Path) -> None:
    space, data = replace(TINY_SPACE, resolutions=SIDES), coloured_squares()
    net = train_supernet(space, data, replace(TINY_CONFIG, epochs=1), tmp_path / SUPERNET)
    architecture = space.extremes()[0]
    config = settings(TINY_CONFIG, 1, 0)
    tuned = fine_tune(net, architecture, data.at(architecture.resolution), config, tmp_path)
    assert tuned.trained.specs == space.decompose(architecture)
    assert tuned.val_trained == accuracy(tuned.trained, data.at(16).val)


def test_what_does_not_go_together_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"choice of 16, 24, 32 pixels.*leave out --resolution 24"):
        train(request(tmp_path, resolution=24))
    assert not (tmp_path / "run").exists()
    one = replace(request(tmp_path, SPACE.at(32)), out=run.directory)
    with pytest.raises(RunError, match=r"has accuracies at 16, 24, 32 pixels, and the table has 32; choose another"):
        train(one)


def test_the_supernet_of_such_a_run_serves_a_table_of_one_of_them(run: Run, tmp_path: Path) -> None:
    asked = replace(request(tmp_path, SPACE.at(24), epochs=None), data=None, supernet=run.directory)
    other = train(asked)
    assert other.stages["supernet"]["space"]["resolution"] == 24
    assert Workshop(other, test_images=0).untrained is None
