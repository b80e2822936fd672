import io
import json
import pickle
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from pnag.data.augment import Augmentation, augment
from pnag.data.load import load_data
from pnag.data.split import hold_out
from pnag.errors import DataError
from tests.pnag.tiny import coloured_squares

PLAIN = Augmentation()


def png(value, side=8):
    file = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


def write_parquet(path, images, labels, names=None):
    table = pa.table({"image": [{"bytes": b, "path": f"{i:05}.png"} for i, b in enumerate(images)], "label": labels})
    if names:
        features = {"info": {"features": {"label": {"names": names}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    pq.write_table(table, path)


@pytest.fixture
def parquet_dir(tmp_path):
    labels = [i % 2 for i in range(40)]
    write_parquet(tmp_path / "train.parquet", [png(10 + 200 * y) for y in labels], labels, ["dark", "light"])
    write_parquet(tmp_path / "test.parquet", [png(0), png(250)], [0, 1])
    return tmp_path


@pytest.fixture
def image_dir(tmp_path):
    for part, count in (("train", 20), ("val", 3)):
        for number, name in enumerate(("dark", "light")):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                (folder / f"{i}.png").write_bytes(png(10 + 200 * number, 48))
    return tmp_path


def refused(name, **options):
    with pytest.raises(DataError) as error:
        load_data(name, resolution=32, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


# -- digits ---------------------------------------------------------------------------------------------------


def test_digits_are_split_in_proportion_and_identified():
    data = load_data("digits", resolution=32)
    assert (len(data.train), len(data.val), len(data.test)) == (1137, 300, 360)
    assert data.class_names == tuple("0123456789")
    assert data.val.images.shape == (300, 3, 32, 32)
    assert data.val.labels.bincount().min() >= 28
    again, other = load_data("digits", resolution=32), load_data("digits", resolution=32, seed=1)
    assert again.sha256 == data.sha256 != other.sha256
    assert torch.equal(other.test.images, data.test.images)
    assert json.loads(json.dumps(data.identity)) == data.identity


def test_held_out_images_are_not_among_the_others():
    labels = np.arange(100) % 7
    kept, held = hold_out(labels, 21, seed=3)
    assert sorted([*kept, *held]) == list(range(100))
    assert np.bincount(labels[held]).tolist() == [3] * 7


# -- batches --------------------------------------------------------------------------------------------------


def test_batches_cover_a_split_once_and_are_normalised():
    data = coloured_squares()
    images, labels = (torch.cat(part) for part in zip(*data.train.batches(50), strict=True))
    assert torch.equal(labels, data.train.labels)
    assert images.mean((0, 2, 3)).abs().max() < 1e-3
    assert (images.std((0, 2, 3)) - 1).abs().max() < 1e-2


def test_shards_share_the_images_of_a_batch_without_overlap():
    split = coloured_squares().train
    whole = [labels for _, labels in islice(split.stream(12, seed=1, start=0, augmentation=PLAIN), 3)]
    parts = [
        [labels for _, labels in islice(split.stream(12, seed=1, start=0, augmentation=PLAIN, shard=(rank, 2)), 3)]
        for rank in (0, 1)
    ]
    for batch, even, odd in zip(whole, *parts, strict=True):
        assert torch.equal(batch[::2], even)
        assert torch.equal(batch[1::2], odd)
    assert sum(len(labels) for _, labels in split.batches(7)) == len(split)


def test_a_stream_goes_on_as_it_would_have():
    split = coloured_squares().train
    changes = Augmentation(shift=0.1, rotate_deg=10, scale=0.1, flip=True, cutout=0.2)
    straight = list(islice(split.stream(50, seed=1, start=0, augmentation=changes), 5))
    later = list(islice(split.stream(50, seed=1, start=3, augmentation=changes), 2))
    for (images, labels), (again, labels_again) in zip(straight[3:], later, strict=True):
        assert torch.equal(images, again)
        assert torch.equal(labels, labels_again)
    assert not torch.equal(straight[0][0], straight[2][0])


def test_an_epoch_shows_each_image_once():
    split = coloured_squares().train
    epoch = list(islice(split.stream(40, seed=1, start=3, augmentation=PLAIN), 3))
    shown = torch.cat([images for images, _ in epoch]).flatten(1).sum(1).sort()[0]
    stored = torch.cat([images for images, _ in split.batches(120)]).flatten(1).sum(1).sort()[0]
    torch.testing.assert_close(shown, stored)


# -- augmentation ---------------------------------------------------------------------------------------------


def test_no_limits_change_nothing():
    images = torch.randn(3, 3, 16, 16)
    torch.testing.assert_close(augment(images, PLAIN, 0), images, atol=1e-4, rtol=1e-4)


def test_shifts_are_whole_pixels_and_mirrors_exact():
    images = torch.zeros(64, 3, 16, 16)
    images[:, :, 8, 5] = 1
    for limits in (Augmentation(shift=0.2), Augmentation(flip=True)):
        changed = augment(images, limits, 0)
        assert torch.allclose(changed.amax((1, 2, 3)), torch.ones(64), atol=1e-4)
        assert torch.allclose(changed[:, 0].sum((1, 2)), torch.ones(64), atol=1e-3)
    where = {divmod(int(image[0].argmax()), 16) for image in changed}
    assert where == {(8, 5), (8, 10)}


def test_cutout_blanks_one_square():
    changed = augment(torch.ones(32, 3, 16, 16), Augmentation(cutout=0.25), 0)
    blank = (changed.abs() < 0.5).flatten(1).sum(1) / 3
    assert blank.max() == 16
    assert blank.min() >= 4


# -- parquet --------------------------------------------------------------------------------------------------


def test_parquet_in_the_hugging_face_layout(parquet_dir):
    data = load_data(f"parquet:{parquet_dir}", resolution=32)
    assert data.class_names == ("dark", "light")
    assert (len(data.train), len(data.val), len(data.test)) == (36, 4, 2)
    assert data.test.images[1].unique().tolist() == [250]
    assert str(parquet_dir.parent) not in data.name


def test_an_unreadable_image_is_named(parquet_dir):
    write_parquet(parquet_dir / "test.parquet", [png(0), b"no image"], [0, 1])
    assert "00001.png (row 1 of test.parquet)" in refused(f"parquet:{parquet_dir}")


def test_parquet_files_that_are_no_data_sets(parquet_dir):
    assert "no file" in refused(f"parquet:{parquet_dir}/none")
    pq.write_table(pa.table({"img": [1], "label": [0]}), parquet_dir / "test.parquet")
    assert "columns img, label; it needs 'image'" in refused(f"parquet:{parquet_dir}")
    write_parquet(parquet_dir / "test.parquet", [png(0)], ["dark"])
    assert "whole numbers in 'label'" in refused(f"parquet:{parquet_dir}")
    (parquet_dir / "test.parquet").write_bytes(b"PAR1 something else")
    assert "cannot be read" in refused(f"parquet:{parquet_dir}")


def test_one_class_is_nothing_to_learn(parquet_dir):
    write_parquet(parquet_dir / "train.parquet", [png(0)] * 20, [0] * 20)
    assert "has 1 class" in refused(f"parquet:{parquet_dir}")
    write_parquet(parquet_dir / "train.parquet", [png(0)] * 20, [0, 5] * 10, ["dark", "light"])
    assert "label 5" in refused(f"parquet:{parquet_dir}")


# -- folders --------------------------------------------------------------------------------------------------


def test_an_image_folder(image_dir):
    data = load_data(f"imagefolder:{image_dir}", resolution=32)
    assert data.class_names == ("dark", "light")
    assert (len(data.train), len(data.val), len(data.test)) == (36, 4, 6)
    images, labels = next(data.test.batches(6))
    assert images.shape == (6, 3, 32, 32)
    assert labels.tolist() == [0, 0, 0, 1, 1, 1]
    changes = Augmentation(flip=True)
    first, second = list(islice(data.train.stream(9, seed=0, start=3, augmentation=changes), 2))
    again = next(data.train.stream(9, seed=0, start=4, augmentation=changes))
    assert torch.equal(second[0], again[0])
    assert len(first[1]) == 9
    assert data.train.sample(5, 0).shape == (5, 3, 32, 32)


def test_an_unreadable_file_is_named(image_dir):
    bad = image_dir / "val" / "dark" / "1.png"
    bad.write_bytes(png(0)[:40])
    assert str(bad) in refused(f"imagefolder:{image_dir}")


def test_folders_that_are_no_data_sets(image_dir, tmp_path_factory):
    assert "no folder" in refused(f"imagefolder:{image_dir}/none")
    assert "not a folder of classes" in refused(f"imagefolder:{tmp_path_factory.mktemp('empty')}")
    (image_dir / "val" / "light").rename(image_dir / "val" / "bright")
    assert "class 'bright'" in refused(f"imagefolder:{image_dir}")
    one = tmp_path_factory.mktemp("one")
    for part in ("train", "val"):
        (one / part / "dark").mkdir(parents=True)
        for i in range(12):
            (one / part / "dark" / f"{i}.png").write_bytes(png(0))
    assert "has 1 class" in refused(f"imagefolder:{one}")


# -- cifar10 and names ----------------------------------------------------------------------------------------


def test_cifar10_is_read_from_a_local_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        content = {"data": rng.integers(0, 255, (20, 3072), np.uint8), "labels": [i % 10 for i in range(20)]}
        (folder / name).write_bytes(pickle.dumps(content))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"class {i}" for i in range(10)]}))
    data = load_data(f"cifar10:{tmp_path}", resolution=40)
    assert (len(data.train), len(data.val), len(data.test)) == (90, 10, 20)
    assert data.train.images.shape == (90, 3, 40, 40)


def test_cifar10_is_not_fetched_unasked(tmp_path):
    assert "no intact CIFAR-10" in refused("cifar10", root=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["mnist", "digits:here", "parquet:", "imagefolder"])
def test_unknown_names_list_the_known(name):
    assert "known are digits, cifar10" in refused(name)
