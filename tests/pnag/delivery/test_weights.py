"""Networks out of a checkpoint of others, with their class names, as given and with batch-norm re-estimated."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pnag import Architecture, load_space
from pnag.accuracy.archive import AccuracyArchive
from pnag.data.folder import IMAGENET
from pnag.data.photos import load_photos
from pnag.data.split import Normalisation
from pnag.delivery.deliver import Workshop
from pnag.delivery.metadata import read_metadata
from pnag.delivery.weights import GivenWeights, imagenet_names
from pnag.errors import CheckpointError, DataError
from pnag.generator.generate import Candidate
from pnag.runs.pipeline import train_run
from pnag.runs.request import TrainRequest
from pnag.runs.run import Run
from pnag.supernet.evaluation import recalibrate
from pnag.supernet.supernet import Supernet
from profiler.build.parity import open_file
from profiler.console import Progress
from tests.pnag.tiny import random_supernet
from tests.tables import made_up_table

REFERENCE = Path(__file__).parents[2] / "data" / "once-for-all"
CHECKPOINT = REFERENCE / "state_dict.safetensors"
SPACE = load_space("ofa-mbv3-w0.25", resolution=64, classes=10)
SIDES = load_space("ofa-mbv3-w0.25", resolution=(48, 64), classes=10)
IMAGES = np.load(REFERENCE / "logits.npz")["input"]


def case(number: int) -> tuple[Architecture, np.ndarray]:
    one = json.loads((REFERENCE / "cases.json").read_text())["cases"][number]
    present = [layer < depth for depth in one["depths"] for layer in range(4)]
    kernels, expands = (tuple(v * p for v, p in zip(one[k], present, strict=True)) for k in ("kernels", "expands"))
    return Architecture(tuple(one["depths"]), kernels, expands), np.load(REFERENCE / "logits.npz")["logits"][number]


def candidate(architecture: Architecture) -> Candidate:
    return Candidate(architecture, 1.0, 0.8, 0.8, 0.001, 1.1, 1.05, 0.95, 0.05)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs in folders named anyhow, with something beside them that is none."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for number in range(12):
        place = folder / ("holidays" if number % 2 else "holidays/beach")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)).save(place / f"{number}.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that learnt from accuracies alone, over two resolutions."""
    folder, rng = tmp_path_factory.mktemp("weights"), np.random.default_rng(0)
    made_up_table(SIDES).save(folder / "table.parquet")
    tokens = SIDES.sample(30, rng)
    AccuracyArchive(SIDES, tokens, rng.uniform(0.5, 0.6, 30)).save(folder / "a.parquet")
    request = TrainRequest(folder / "table.parquet", folder / "run", accuracy=folder / "a.parquet", method="random")
    train_run(request, tell=lambda _: None, progress=Progress)
    return Run.load(folder / "run")


@pytest.mark.parametrize("number", [0, 2, 5])
def test_an_exported_file_has_once_for_alls_logits(run: Run, tmp_path: Path, number: int) -> None:
    architecture, logits = case(number)
    workshop = Workshop(run, weights=CHECKPOINT)
    assert workshop.untrained is None
    made = workshop.build(candidate(replace(architecture, resolution=64)))
    workshop.export(made, tmp_path / "net.onnx")
    found = np.concatenate([open_file(tmp_path / "net.onnx")(image[None]) for image in IMAGES])
    assert np.abs(found - logits).max() <= 1e-4 * np.abs(logits).max()
    about = read_metadata(tmp_path / "net.onnx")
    assert (about["weights"], about["labels"]) == ("trained", None)
    assert about["sha256"]["supernet"] == Supernet.load(CHECKPOINT, SPACE).sha256()


@pytest.mark.parametrize("side", [48, 64])
def test_batch_norm_is_re_estimated_on_the_photographs_at_the_networks_resolution(
    run: Run, photos: Path, tmp_path: Path, side: int
) -> None:
    architecture, logits = case(2)
    workshop = Workshop(run, weights=CHECKPOINT, photos=f"imagefolder:{photos}")
    made = workshop.build(candidate(replace(architecture, resolution=side)))
    workshop.export(made, tmp_path / "net.onnx")
    assert read_metadata(tmp_path / "net.onnx")["input"]["height"] == side
    expected = Supernet.load(CHECKPOINT, SPACE.at(side)).subnet(architecture)
    recalibrate(expected, load_photos(f"imagefolder:{photos}", side))
    images = IMAGES[:1, :, :side, :side].copy()
    with torch.no_grad():
        wanted = expected(torch.from_numpy(images)).numpy()
    found = open_file(tmp_path / "net.onnx")(images)
    assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()
    if side == 64:
        assert np.abs(found - logits[:1]).max() > 0.01 * np.abs(logits).max()


def test_classes_have_the_names_that_the_weights_were_trained_with(tmp_path: Path) -> None:
    names = imagenet_names()
    assert (len(names), names[0], names[999]) == (1000, "tench", "toilet tissue")
    supernet = random_supernet(SPACE)
    supernet.data = {"class_names": list("abcdefghij"), "mean": [0.5] * 3, "std": [0.25] * 3}
    supernet.save(tmp_path / "own.safetensors")
    own = GivenWeights.load(tmp_path / "own.safetensors", SPACE, None, tell=lambda _: None)
    assert own.labels == list("abcdefghij")
    assert own.normalisation == Normalisation((0.5,) * 3, (0.25,) * 3)
    published = load_space("ofa-mbv3-w0.25", resolution=32)
    random_supernet(published).save(tmp_path / "thousand.safetensors")
    given = GivenWeights.load(tmp_path / "thousand.safetensors", published, None, tell=lambda _: None)
    assert (given.labels, given.normalisation) == (names, IMAGENET)


@pytest.mark.parametrize(
    ("space", "says"),
    [
        (load_space("ofa-mbv3-w1.0", resolution=64, classes=10), "take a checkpoint of this width"),
        (load_space("ofa-mbv3-w0.25", resolution=64), "with 1000 classes needs"),
    ],
)
def test_another_width_or_number_of_classes_is_refused(space: object, says: str) -> None:
    with pytest.raises(CheckpointError, match=says):
        GivenWeights.load(CHECKPOINT, space, None)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=r"no checkpoint at none\.pth"):
        GivenWeights.load(Path("none.pth"), space, None)  # type: ignore[arg-type]


def test_all_pictures_below_a_folder_are_photographs(photos: Path, tmp_path: Path) -> None:
    said: list[str] = []
    batches = load_photos(f"imagefolder:{photos}", 32, tell=said.append)
    assert torch.cat(batches).shape == (12, 3, 32, 32)
    assert said == [
        f"imagefolder:{photos} has 12 photographs; batch-norm statistics of so few are rough, give some hundred"
    ]
    assert len(torch.cat(load_photos(f"imagefolder:{photos}", 32, images=5, tell=said.append))) == 5
    half = Normalisation((0.5,) * 3, (0.5,) * 3)
    pixels = torch.cat(load_photos(f"imagefolder:{photos}", 32, half, tell=said.append)) * 0.5 + 0.5
    assert 0 <= pixels.min() <= pixels.max() <= 1.0001
    with pytest.raises(DataError, match="no picture below"):
        load_photos(f"imagefolder:{tmp_path}", 32)
    with pytest.raises(DataError, match="no folder"):
        load_photos(f"imagefolder:{tmp_path / 'none'}", 32)


def test_other_data_sets_give_their_training_images() -> None:
    batches = load_photos("digits", 32, images=130)
    assert [len(batch) for batch in batches] == [64, 64, 2]
