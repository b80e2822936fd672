"""Data sets as people and programs lay them out: names of parts and columns, stray files, hidden labels."""

import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pnag.data import load_data, sound
from pnag.data.names import part_of
from pnag.errors import DataError
from tests.pnag.data.test_decode import encoded

CLASSES = ("dark", "light")


def picture(kind, number):
    values = np.full((12, 12, 3), 60 + 130 * kind, np.uint8)
    values[number % 12, number // 12 % 12] += 20
    return encoded(Image.fromarray(values))


def folder(place, train="train", test="val", classes=CLASSES, counts=(10, 3)):
    for part, count in ((train, counts[0]), (test, counts[1])):
        for kind, name in enumerate(classes):
            (place / part / name).mkdir(parents=True)
            for i in range(count):
                (place / part / name / f"{i:03}.png").write_bytes(picture(kind, i))
    return place


def rows(path, count=20, image="image", labels=None, names=CLASSES, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = {"label": [i % 2 for i in range(count)]} if labels is None else labels
    data = {image: [{"bytes": picture(i % 2, i), "path": f"{i}.png"} for i in range(count)]} | labels | columns
    features = {name: {"names": list(names), "_type": "ClassLabel"} for name in labels}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    with path.open("wb") as file:
        pq.write_table(pa.table(data).replace_schema_metadata(metadata), file)


def read(name):
    told = []
    data = load_data(name, resolution=32, tell=told.append)
    sizes = [sum(len(labels) for _, labels in split.batches(8)) for split in (data.train, data.val, data.test)]
    return sizes, data.class_names, told


def refused(name):
    with pytest.raises(DataError) as error:
        load_data(name, resolution=32, tell=lambda _: None)
    assert "\n" not in str(error.value)
    assert str(error.value).isprintable()
    return str(error.value)


# -- folders ------------------------------------------------------------------------------------------------

SPELLINGS = [
    ("train", "test"), ("training", "testing"), ("Training", "valid"), ("TRAIN", "validation"), ("train", "dev"),
    ("train", "eval"), ("train2017", "val2017"), ("training_set", "test_set"), ("seg_train", "seg_test"),
    ("Train Data", "Test Data"), ("train", "evaluation"), ("train-images", "valid-images"),
]  # fmt: skip


@pytest.mark.parametrize(("train", "test"), SPELLINGS)
def test_parts_under_the_names_that_people_give_them(tmp_path, train, test):
    folder(tmp_path, train, test)
    assert read(f"imagefolder:{tmp_path}") == ([18, 2, 6], CLASSES, [])


def test_words_that_only_look_like_parts():
    for name in ("latest", "trainer", "contest", "devices", "value", "images", "train_test", "medieval"):
        assert part_of(name) is None


def test_one_folder_deeper_and_unpacked_twice(tmp_path):
    folder(tmp_path / "archive" / "data", "train/train", "test/test")
    assert read(f"imagefolder:{tmp_path / 'archive'}")[0] == [18, 2, 6]
    folder(tmp_path / "archive" / "more")
    assert "2 candidates for a data set: data, more" in refused(f"imagefolder:{tmp_path / 'archive'}")


def test_what_is_ambiguous_is_listed(tmp_path):
    folder(tmp_path)
    (tmp_path / "training").mkdir()
    assert "2 candidates for the train part: train, training" in refused(f"imagefolder:{tmp_path}")


def test_no_part_is_named_and_no_part_to_test_on(tmp_path):
    folder(tmp_path / "flat", "daisy", "rose")
    assert "its folders are daisy, rose, and none is named train, training" in refused(f"imagefolder:{tmp_path}/flat")
    folder(tmp_path / "only", "train", "more")
    assert "has no part to test on; name a folder test" in refused(f"imagefolder:{tmp_path}/only")


def test_a_test_part_without_classes_gives_way_to_the_validation_part(tmp_path):
    folder(tmp_path)
    (tmp_path / "test" / "unknown").mkdir(parents=True)
    for i in range(4):
        (tmp_path / "test" / "unknown" / f"{i}.png").write_bytes(picture(0, i))
    sizes, _, told = read(f"imagefolder:{tmp_path}")
    assert sizes == [18, 2, 6]
    assert told == ["test has no folder of a class, so val is tested on"]


def test_what_systems_and_tools_leave_is_no_data(tmp_path):
    folder(tmp_path)
    dark = tmp_path / "train" / "dark"
    for stray in ("._000.png", "._001.png", "Thumbs.db", "desktop.ini", ".DS_Store", "notes.txt", ".000.png.swp"):
        (dark / stray).write_bytes(b"\0\x05\x16\x07")
    for place in (dark, dark.parent, tmp_path):
        for stray in ("@eaDir", "__MACOSX", ".ipynb_checkpoints", "#recycle", "$RECYCLE.BIN", ".git"):
            (place / stray / "dark").mkdir(parents=True)
            (place / stray / "dark" / "000.png").write_bytes(b"thumbnail")
    (tmp_path / "__MACOSX" / "train").mkdir()
    sizes, classes, told = read(f"imagefolder:{tmp_path}")
    assert (sizes, classes) == ([18, 2, 6], CLASSES)
    assert len(told) == 1
    assert told[0].startswith(f"7 files of {tmp_path} left out, no pictures by name (2 ._*, ")


def test_pictures_that_are_broken_are_all_named_before_training(tmp_path):
    folder(tmp_path)
    (tmp_path / "train" / "dark" / "003.png").write_bytes(picture(0, 3)[:60])
    (tmp_path / "val" / "light" / "001.png").write_bytes(b"")
    (tmp_path / "val" / "light" / "002.png").unlink()
    (tmp_path / "val" / "light" / "002.png").symlink_to("nowhere")
    line = refused(f"imagefolder:{tmp_path}")
    assert line.startswith("3 of 26 images cannot be read: ")
    for name in ("train/dark/003.png", "val/light/001.png", "val/light/002.png (No such file or directory)"):
        assert name in line


def test_pictures_that_are_all_alike_are_no_data_set(tmp_path):
    folder(tmp_path)
    for path in (tmp_path / "train").rglob("*.png"):
        path.write_bytes(picture(0, 0))
    assert "all 20 training images are alike" in refused(f"imagefolder:{tmp_path}")


def test_pictures_of_nearly_one_shade_are_no_data_set(tmp_path, monkeypatch):
    """Ten or twelve bits in files of sixteen: a viewer shows black."""
    for part, count in (("train", 10), ("val", 3)):
        for kind in CLASSES:
            (tmp_path / part / kind).mkdir(parents=True)
            for i in range(count):
                values = np.full((12, 12), 900 + 2100 * (kind == "light") + i, np.uint16)
                (tmp_path / part / kind / f"{i}.png").write_bytes(encoded(Image.fromarray(values)))
    assert "20 training images are of nearly one shade (values 3 to 11 of" in refused(f"imagefolder:{tmp_path}")
    monkeypatch.setattr(sound, "_MOST_DECODED", 5)  # as in a large set, of which some pictures are decoded
    assert "20 training images are of nearly one shade" in refused(f"imagefolder:{tmp_path}")


def test_drawings_with_little_ink_are_a_data_set(tmp_path):
    place = folder(tmp_path)
    for path in place.rglob("*.png"):
        values = np.full((256, 256), 255, np.uint8)
        values[(path.parent.name == "light") * 100 + int(path.stem), 3] = 0
        path.write_bytes(encoded(Image.fromarray(values)))
    assert read(f"imagefolder:{place}")[0] == [18, 2, 6]


def test_links_that_lead_back_are_not_followed_for_ever(tmp_path):
    place = folder(tmp_path / "photos")
    (place / "train" / "dark" / "again").symlink_to(place / "train" / "dark")
    (place / "train" / "light" / "all").symlink_to(place)
    (place / "test").symlink_to(place / "val")
    (place / "train" / "dark" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.png").write_bytes(picture(0, 50))
    (place / "val").rename(tmp_path / "held")
    (place / "test").unlink()
    (place / "test").symlink_to(tmp_path / "held")
    sizes, _, _ = read(f"imagefolder:{place}")
    assert sum(sizes) >= 27
    assert sum(sizes) < 60


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_no_picture(tmp_path):
    place = folder(tmp_path)
    os.mkfifo(place / "train" / "dark" / "z.png")
    assert "z.png cannot be read (it is no file)" in refused(f"imagefolder:{place}")


def test_a_class_without_pictures_says_what_is_there(tmp_path):
    folder(tmp_path)
    for path in (tmp_path / "val" / "dark").glob("*.png"):
        path.rename(path.with_suffix(".heic"))
    assert "class 'dark' has no picture in" in refused(f"imagefolder:{tmp_path}")
    assert "3 files there are no pictures by name: .heic" in refused(f"imagefolder:{tmp_path}")


@pytest.mark.parametrize("raw", [b"Stra\xdfe", b"\xe9t\xe9", b"a\nb", b"tab\there", b"\x1b[31mred"])
def test_names_that_are_not_text(tmp_path, raw):
    folder(tmp_path)
    name = os.fsdecode(raw)
    (tmp_path / "train/dark/000.png").rename(tmp_path / f"train/dark/{name}.png")
    assert read(f"imagefolder:{tmp_path}") == ([18, 2, 6], CLASSES, [])
    for part in ("train", "val"):
        (tmp_path / part / "light").rename(tmp_path / part / name)
    sizes, classes, told = read(f"imagefolder:{tmp_path}")
    assert sizes == [18, 2, 6]
    assert all(name.isprintable() and name.encode() for name in classes)
    assert "cannot be written as they are" in told[0]
    (tmp_path / "val" / name).rename(tmp_path / "val" / "other")
    refused(f"imagefolder:{tmp_path}")


def test_the_set_itself_may_have_such_a_name(tmp_path):
    place = folder(tmp_path / os.fsdecode(b"f\xfcr"))
    data = load_data(f"imagefolder:{place}", resolution=32)
    assert json.dumps(data.identity, ensure_ascii=False).encode()
    assert data.name == "imagefolder:f\\xfcr"


# -- parquet ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train.parquet", "test.parquet"),
        ("data/train-00000-of-00001.parquet", "data/validation-00000-of-00001.parquet"),
        ("plain_text/train-00000-of-00001-a1b2.parquet", "plain_text/test-00000-of-00001-c3d4.parquet"),
        ("default/train/0000.parquet", "default/test/0000.parquet"),
        ("default/partial-train/0000.parquet", "default/partial-validation/0000.parquet"),
        ("training.parquet", "eval.parquet"),
        ("cifar10_train.parquet", "cifar10_test.parquet"),
        ("split=train/part-0.parquet", "split=dev/part-0.parquet"),
    ],
)
def test_parquet_files_where_publishers_put_them(tmp_path, train, test):
    rows(tmp_path / train)
    rows(tmp_path / test, 6)
    rows(tmp_path / ".cache" / "train.parquet")
    assert read(f"parquet:{tmp_path}") == ([18, 2, 6], CLASSES, [])


def test_parquet_files_whose_names_are_not_text(tmp_path):
    place = tmp_path / os.fsdecode(b"f\xfcr")
    rows(place / os.fsdecode(b"train-\xdf.parquet"))
    rows(place / "test.parquet", 6)
    assert read(f"parquet:{place}") == ([18, 2, 6], CLASSES, [])


def test_shards_are_joined_by_number(tmp_path):
    for shard in range(11):
        rows(tmp_path / f"train-{shard}.parquet", 2, labels={"label": [0, 1]}, names=[str(i) for i in range(11)])
    rows(tmp_path / "test.parquet", 4, names=[str(i) for i in range(11)])
    for shard in range(11):
        rows(
            tmp_path / f"train-{shard}.parquet", 2, labels={"label": [shard, shard]}, names=[str(i) for i in range(11)]
        )
    data = load_data(f"parquet:{tmp_path}", resolution=32)
    labels = np.sort(np.concatenate([data.train.labels.numpy(), data.val.labels.numpy()]))
    assert labels.tolist() == [shard for shard in range(11) for _ in range(2)]
    assert data.train.labels.tolist() == sorted(data.train.labels.tolist())


def test_a_missing_shard_and_two_exports_are_refused(tmp_path):
    rows(tmp_path / "data/train-00001-of-00002.parquet")
    rows(tmp_path / "data/test-00000-of-00001.parquet", 6)
    assert "shard 0 of 2 is missing beside data/train-00001-of-00002.parquet" in refused(f"parquet:{tmp_path}")
    rows(tmp_path / "data/train-00000-of-00003.parquet")
    assert "shards of more than one export" in refused(f"parquet:{tmp_path}")


def test_a_name_may_claim_any_number_of_shards_and_hold_any_digits(tmp_path):
    rows(tmp_path / f"train-00000-of-{'9' * 60}.parquet", 4)
    rows(tmp_path / "test.parquet", 4)
    assert f"shard 1 of {'9' * 60} is missing" in refused(f"parquet:{tmp_path}")
    (tmp_path / f"train-00000-of-{'9' * 60}.parquet").unlink()
    for name in ("train1\u00b22.parquet", "train1\u00b23.parquet"):
        rows(tmp_path / name, 20)
    assert len(load_data(f"parquet:{tmp_path}", resolution=32).train) > 20


def test_several_sets_side_by_side_are_listed(tmp_path):
    for name in ("one", "two"):
        rows(tmp_path / name / "train.parquet")
        rows(tmp_path / name / "test.parquet", 6)
    assert "2 candidates for the train part: one, two; keep or name one" in refused(f"parquet:{tmp_path}")
    assert read(f"parquet:{tmp_path}/one")[0] == [18, 2, 6]


@pytest.mark.parametrize(
    ("image", "label"), [("img", "label"), ("picture", "fine_label"), ("image", "labels"), ("x", "y")]
)
def test_columns_under_other_names(tmp_path, image, label):
    for name, count in (("train", 20), ("test", 6)):
        rows(tmp_path / f"{name}.parquet", count, image=image, labels={label: [i % 2 for i in range(count)]})
    sizes, classes, told = read(f"parquet:{tmp_path}")
    assert (sizes, classes) == ([18, 2, 6], CLASSES)
    assert len(told) == (image != "image") + (label != "label")
    assert all(f"'{name}'" in " ".join(told) for name in (image, label) if name not in ("image", "label"))


def test_columns_that_could_be_either_are_listed(tmp_path):
    two = [{"bytes": b"", "path": ""}] * 20
    rows(tmp_path / "train.parquet", image="left", right=two)
    rows(tmp_path / "test.parquet", 6)
    assert "2 columns that may hold the images: left, right" in refused(f"parquet:{tmp_path}")
    rows(tmp_path / "train.parquet", labels={"kind": [0, 1] * 10, "colour": [0, 1] * 10})
    assert "2 columns that may hold the labels: kind, colour" in refused(f"parquet:{tmp_path}")
    rows(tmp_path / "train.parquet", labels={}, number=list(range(20)))
    assert "it needs whole numbers in 'label'" in refused(f"parquet:{tmp_path}")


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([-1] * 20, "20 of 20 labels"),
        ([0, 1] * 9 + [0, -1], "1 of 20 labels"),
        ([0, 2] * 10, "label 2"),
        ([-100, 1] * 10, "-100"),
    ],
)
def test_hidden_labels_and_those_out_of_range_are_refused_in_any_part(tmp_path, part, labels, words):
    for name in ("train", "test"):
        rows(tmp_path / f"{name}.parquet", labels={"label": labels} if name == part else None)
    line = refused(f"parquet:{tmp_path}")
    assert f"the {part} part of {tmp_path}" in line
    assert words in line


def test_labels_of_the_test_part_are_judged_by_the_training_part_without_names(tmp_path):
    rows(tmp_path / "train.parquet", names=())
    rows(tmp_path / "test.parquet", labels={"label": [0, 7] * 10}, names=())
    for name in ("train", "test"):
        table = pq.read_table(tmp_path / f"{name}.parquet").replace_schema_metadata(None)
        pq.write_table(table, tmp_path / f"{name}.parquet")
    assert "label 7, out of range: labels go from 0 to 1" in refused(f"parquet:{tmp_path}")


def test_hidden_test_labels_give_way_to_the_validation_part(tmp_path):
    rows(tmp_path / "train.parquet")
    rows(tmp_path / "test.parquet", labels={"label": [-1] * 20})
    rows(tmp_path / "validation.parquet", 6)
    sizes, _, told = read(f"parquet:{tmp_path}")
    assert sizes == [18, 2, 6]
    assert "hidden (-1), so its validation part is tested on" in told[0]


def test_a_labelled_test_part_is_tested_on_though_there_is_a_validation_part(tmp_path):
    for name, count in (("train", 20), ("validation", 4), ("test", 6)):
        rows(tmp_path / f"{name}.parquet", count)
    assert read(f"parquet:{tmp_path}") == ([18, 2, 6], CLASSES, [])
    for part, count in (("train", 10), ("val", 2), ("test", 3)):
        folder(tmp_path / "folder", part, f"x{count}", counts=(count, 1))
    assert read(f"imagefolder:{tmp_path}/folder") == ([18, 2, 6], CLASSES, [])


def test_parts_that_number_their_classes_differently_are_refused(tmp_path):
    rows(tmp_path / "train.parquet")
    rows(tmp_path / "test.parquet", 6, names=CLASSES[::-1])
    assert "are named dark, light, those of the test part light, dark" in refused(f"parquet:{tmp_path}")


def test_all_images_that_cannot_be_read_are_named(tmp_path):
    rows(tmp_path / "train.parquet")
    rows(tmp_path / "test.parquet", 6)
    table = pq.read_table(tmp_path / "test.parquet")
    images = table["image"].to_pylist()
    images[1], images[4] = {"bytes": b"x", "path": None}, None
    pq.write_table(
        table.set_column(0, "image", pa.array(images, table.schema.field("image").type)), tmp_path / "test.parquet"
    )
    line = refused(f"parquet:{tmp_path}")
    assert line.startswith("2 of 6 images cannot be read: image (row 1 of test.parquet) (it is no image")
    assert "row 4 of test.parquet" in line
