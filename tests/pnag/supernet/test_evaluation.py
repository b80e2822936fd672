import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pnag.accuracy.archive import AccuracyArchive
from pnag.data import folder
from pnag.data.decode import decode
from pnag.data.folder import IMAGENET, FolderSplit
from pnag.errors import ArchiveError
from pnag.space.spaces import load_space
from pnag.supernet import collect
from pnag.supernet.collect import collect_archive
from pnag.supernet.elastic import PointwiseConv
from pnag.supernet.evaluation import (
    EvaluationImages,
    accuracy,
    calibrated_subnet,
    calibration_batches,
    evaluate,
    recalibrate,
    small_maps_quick,
)
from profiler.build.modules import build_network, fold_batch_norm, randomise
from tests.pnag.tiny import TINY_SPACE, coloured_squares, random_supernet

DATA = coloured_squares()
TOKENS = TINY_SPACE.sample(6, np.random.default_rng(0))


def test_recalibration_takes_the_mean_over_batches():
    norm = torch.nn.BatchNorm2d(2)
    batches = [torch.randn(5, 2, 3, 3) + shift for shift in (0.0, 4.0)]
    recalibrate(norm, batches)
    means = torch.stack([batch.mean((0, 2, 3)) for batch in batches]).mean(0)
    variances = torch.stack([batch.transpose(0, 1).flatten(1).var(1) for batch in batches]).mean(0)
    torch.testing.assert_close(norm.running_mean, means)
    torch.testing.assert_close(norm.running_var, variances)
    assert not norm.training
    assert norm.momentum == 0.1


def test_calibration_images_are_fixed_training_images():
    one, two = calibration_batches(DATA, 60, 25), calibration_batches(DATA, 60, 25)
    assert [len(batch) for batch in one] == [25, 25, 10]
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_accuracy_counts_all_images_of_a_split():
    class SaysRed(torch.nn.Module):
        def forward(self, images):
            return torch.tensor([1.0, 0.0, 0.0]).expand(len(images), 3)

    assert accuracy(SaysRed(), DATA.test) == pytest.approx(1 / 3)


def test_folding_batch_norm_changes_no_logit():
    network = calibrated_subnet(random_supernet(), TINY_SPACE.extremes()[1], calibration_batches(DATA))
    folded = fold_batch_norm(network)
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in folded.modules())
    assert any(isinstance(layer, torch.nn.BatchNorm2d) for layer in network.modules())
    images, _ = next(DATA.test.batches(8))
    torch.testing.assert_close(folded(images), network(images), atol=1e-4, rtol=1e-4)


def test_quick_small_maps_change_no_logit_and_are_put_back():
    space = load_space(resolution=32, classes=10)
    network = build_network(space.decompose(space.extremes()[1])).eval()
    randomise(network)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    images = torch.randn(4, 3, 32, 32)
    whole = network(images)
    with small_maps_quick(network):
        sides = {block.depth_conv.conv.weight.shape[-1] for block in list(network)[1:-1]}
        assert sum(isinstance(layer, PointwiseConv) for layer in network.modules()) > 40
        quick = network(images)
    assert {1, 3, 7} <= sides  # of maps of 1 and of 2 pixels, and of larger ones
    torch.testing.assert_close(quick, whole, atol=1e-4, rtol=1e-4)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(isinstance(layer, PointwiseConv) for layer in network.modules())
    torch.testing.assert_close(network(images), whole)


def test_an_evaluation_does_not_change_the_supernet_and_repeats():
    net = random_supernet()
    before = net.sha256()
    architecture = TINY_SPACE.decode(TOKENS)[0]
    assert evaluate(net, architecture, DATA) == evaluate(net, architecture, DATA)
    assert net.sha256() == before
    subnet = calibrated_subnet(net, architecture, calibration_batches(DATA))
    assert evaluate(net, architecture, DATA, "test") == accuracy(subnet, DATA.test)


class Stop(Exception):  # noqa: N818
    pass


class StopAfter:
    def __init__(self, n):
        self.left = n

    def advance(self, amount=1.0, note=""):
        if amount == 1.0 and note:
            self.left -= 1
            if self.left == 0:
                raise Stop


def test_a_killed_collection_goes_on_and_ends_as_an_undisturbed_one(tmp_path, monkeypatch):
    net = random_supernet()
    straight = collect_archive(net, DATA, TOKENS, tmp_path / "straight.parquet", test=True)
    out = tmp_path / "killed.parquet"
    with pytest.raises(Stop):
        collect_archive(net, DATA, TOKENS, out, test=True, progress=StopAfter(4))
    assert not out.exists()
    journal = next(tmp_path.glob("killed.parquet.journal-*"))
    with journal.open("a") as file:
        file.write('{"architecture": "1,1:3,')  # a line cut off by the kill

    evaluated = []
    monkeypatch.setattr(
        "pnag.supernet.collect.calibrated_subnet",
        lambda net, architecture, batches: (
            evaluated.append(architecture) or calibrated_subnet(net, architecture, batches)
        ),
    )
    resumed = collect_archive(net, DATA, TOKENS, out, test=True)
    assert len(evaluated) == 2
    assert resumed.sha256 == straight.sha256
    assert list(tmp_path.glob("*journal*")) == []
    loaded = AccuracyArchive.load(out, TINY_SPACE)
    assert loaded.sha256 == straight.sha256
    assert loaded.source["supernet"] == net.sha256()
    assert loaded.source["data"]["name"] == "squares"
    assert loaded.test_accuracy is not None


def test_an_archive_grows_by_what_it_lacks(tmp_path, monkeypatch):
    net, out = random_supernet(), tmp_path / "a.parquet"
    first = collect_archive(net, DATA, TOKENS[:4], out)
    monkeypatch.setattr("pnag.supernet.collect.accuracy", lambda *_: 0.5)
    second = collect_archive(net, DATA, TOKENS[2:], out)
    assert (second.tokens[:4] == first.tokens).all()
    assert len(second) == len(np.unique(TOKENS, axis=0))
    assert (second.accuracy[4:] == 0.5).all()
    assert (second.accuracy[:4] == first.accuracy).all()


def test_test_accuracies_cannot_be_added_later(tmp_path):
    out = tmp_path / "a.parquet"
    assert collect_archive(random_supernet(), DATA, TOKENS[:2], out).test_accuracy is None
    with pytest.raises(ArchiveError, match="no test accuracies"):
        collect_archive(random_supernet(), DATA, TOKENS[:2], out, test=True)


def test_refuses_what_was_measured_with_another_supernet(tmp_path):
    out = tmp_path / "a.parquet"
    collect_archive(random_supernet(), DATA, TOKENS[:2], out)
    with pytest.raises(ArchiveError, match="another supernet"):
        collect_archive(random_supernet(seed=1), DATA, TOKENS[:2], out)
    with pytest.raises(ArchiveError, match="another data"):
        collect_archive(random_supernet(), coloured_squares(seed=1), TOKENS[:2], out)
    journal = tmp_path / "b.parquet.journal-0.jsonl"
    journal.write_text(json.dumps({"supernet": "other"}) + "\n")
    with pytest.raises(ArchiveError, match="journal-0"):
        collect_archive(random_supernet(), DATA, TOKENS[:2], tmp_path / "b.parquet")


# -- images, read once ----------------------------------------------------------------------------------------


@pytest.fixture
def folder_data(tmp_path):
    """Ten pictures for each split, in files."""
    rng, splits = np.random.default_rng(0), {}
    for name in ("train", "val", "test"):
        samples = []
        for number in range(10):
            path = tmp_path / f"{name}{number}.png"
            Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
            samples.append((path, number % 3))
        splits[name] = FolderSplit(tuple(samples), 32)
    return replace(DATA, normalisation=IMAGENET, **splits)


def test_pictures_are_decoded_once_for_each_resolution_and_serve_the_same_batches(folder_data, monkeypatch):
    read = []
    monkeypatch.setattr(folder, "decode", lambda path, *rest: read.append(path.name) or decode(path, *rest))
    images = EvaluationImages(folder_data, calibration=6)
    small, large = (replace(TINY_SPACE.extremes()[0], resolution=side) for side in (24, 32))
    for architecture in (large, small, large, small, replace(large, resolution=None)):
        found = list(images.split("val", architecture).batches(4))
        wanted = list(folder_data.at(architecture.resolution).val.batches(4))
        assert all(
            torch.equal(a, b) for one, two in zip(found, wanted, strict=True) for a, b in zip(one, two, strict=True)
        )
        assert images.batches(architecture)[0].shape[-1] == (architecture.resolution or 32)
    of_val = [name for name in read if name.startswith("val")]
    assert len(of_val) == 2 * 10 + 5 * 10  # kept at two resolutions; the others are those that this test compares with
    assert len(read) - len(of_val) == 2 * 6


def test_pictures_that_do_not_fit_are_read_again_each_time(folder_data, monkeypatch):
    read = []
    monkeypatch.setattr(folder, "decode", lambda path, *rest: read.append(path.name) or decode(path, *rest))
    room = 10 * 3 * 32**2
    images = EvaluationImages(folder_data, limit_bytes=room)
    architecture = TINY_SPACE.extremes()[0]
    for _ in range(3):
        list(images.split("val", architecture).batches(10))
    assert len(read) == 10
    for _ in range(3):
        list(images.split("test", architecture).batches(10))  # there is room for one split
    assert len(read) == 10 + 3 * 10


def test_few_images_are_spread_over_the_split(folder_data):
    architecture = TINY_SPACE.extremes()[0]
    for data in (DATA, folder_data):
        images = EvaluationImages(data, most=5)
        assert images.val == len(images.split("val", architecture)) == 5
        assert len(images.split("test", architecture)) == len(data.test)
        _, labels = next(images.split("val", architecture).batches(5))
        _, all_labels = next(data.val.batches(len(data.val)))
        step = len(data.val) // 5
        assert labels.tolist() == all_labels[step // 2 :: step].tolist()
        assert EvaluationImages(data, most=10**6).val == len(data.val)


def test_accuracies_on_another_number_of_images_do_not_join_an_archive(tmp_path):
    few, out = EvaluationImages(DATA, calibration=256, most=15), tmp_path / "archive.parquet"
    archive = collect_archive(random_supernet(), DATA, TOKENS, out, images=few)
    assert set((archive.accuracy * 15).round(6) % 1) == {0}
    assert archive.source["val_images"] == 15
    with pytest.raises(ArchiveError, match="another number of validation images"):
        collect_archive(random_supernet(), DATA, TOKENS, out)


def test_it_is_said_how_long_evaluating_takes_where_that_is_minutes():
    told = []
    collect._tell_how_long(1.0, 100, 2000, told.append)
    assert told == []
    collect._tell_how_long(1.5, 400, 2000, told.append)
    assert told == [
        "400 more networks on 2,000 validation images will take some 10 minutes, by the 1.5 s of one of them; "
        "--val-images takes fewer images"
    ]
