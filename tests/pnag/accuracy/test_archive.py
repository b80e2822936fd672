from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pnag.accuracy.archive import AccuracyArchive
from pnag.errors import ArchiveError
from pnag.space.sampling import sample_archive, sample_spread, sample_tilted, stratified
from pnag.space.spaces import load_space

SPACE = load_space("ofa-mbv3-w1.2")


def archive(n=12, *, test=True):
    rng = np.random.default_rng(0)
    tokens = SPACE.sample(n, rng)
    return AccuracyArchive(
        SPACE, tokens, rng.random(n), rng.random(n) if test else None, "val", {"supernet": "ab", "data": {"name": "d"}}
    )


@pytest.mark.parametrize("test", [True, False])
@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_what_is_saved_is_loaded(tmp_path, suffix, test):
    saved = archive(test=test)
    saved.save(tmp_path / f"a{suffix}")
    loaded = AccuracyArchive.load(tmp_path / f"a{suffix}", SPACE)
    assert (loaded.tokens == saved.tokens).all()
    assert loaded.tokens.dtype == np.int8
    assert (loaded.accuracy == saved.accuracy).all()
    assert (loaded.test_accuracy is None) is not test
    assert loaded.sha256 == saved.sha256
    assert loaded.source == (saved.source if suffix == ".parquet" else {})


def test_a_plain_table_of_two_columns_is_enough(tmp_path):
    frame = pd.DataFrame({"architecture": [str(a) for a in archive(3).architectures], "accuracy": [0.1, 0.2, 1]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    for name in ("a.csv", "a.parquet"):
        assert AccuracyArchive.load(tmp_path / name, SPACE).accuracy.tolist() == [0.1, 0.2, 1]


@pytest.mark.parametrize("head", ["", "sep=;\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
def test_what_spreadsheets_of_other_countries_write_is_read(tmp_path, encoding, head):
    rows = [(str(network), 0.5 + i / 64) for i, network in enumerate(archive(3).architectures)]
    text = head + "architecture;accuracy;note\r\n"
    text += "".join(f"{name};{value};a\r\n".replace(".", ",") for name, value in rows)
    (tmp_path / "a.CSV").write_bytes(text.encode(encoding))
    assert AccuracyArchive.load(tmp_path / "a.CSV", SPACE).accuracy.tolist() == [value for _, value in rows]


def test_percent_signs_are_refused_with_what_to_write(tmp_path):
    (tmp_path / "a.csv").write_text(f'architecture,accuracy\n"{archive(1).architectures[0]}",75.3%\n')
    with pytest.raises(ArchiveError, match=r"has accuracy 75.3%; .*write 0.75 for 75 %"):
        AccuracyArchive.load(tmp_path / "a.csv", SPACE)


def test_small_images_rank_for_large_ones_but_not_another_width(tmp_path):
    archive().save(tmp_path / "a.parquet")
    small = load_space("ofa-mbv3-w1.2", resolution=32, classes=10)
    assert AccuracyArchive.load(tmp_path / "a.parquet", small).space == SPACE
    with pytest.raises(ArchiveError, match=r"width 1\.2"):
        AccuracyArchive.load(tmp_path / "a.parquet", load_space("ofa-mbv3-w1.0"))


TWO = load_space("ofa-mbv3-w1.2", resolution=(160, 192))


def of_two_sides():
    tokens = TWO.sample(3, np.random.default_rng(0))[[0, 1, 2, 0, 1]]
    tokens[:, -1] = [0, 0, 0, 1, 1]
    return AccuracyArchive(TWO, tokens, np.arange(5) / 10)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_rows_of_several_resolutions_are_told_apart(tmp_path, suffix):
    of_two_sides().save(tmp_path / f"a{suffix}")
    whole = AccuracyArchive.whole(tmp_path / f"a{suffix}", SPACE)
    assert [a.resolution for a in whole.architectures] == [160, 160, 160, 192, 192]
    frame = pd.read_csv(tmp_path / "a.csv") if suffix == ".csv" else pd.read_parquet(tmp_path / "a.parquet")
    assert frame["resolution"].tolist() == [160, 160, 160, 192, 192]
    assert not frame["architecture"].str.contains("@").any()
    assert whole.sha256 == of_two_sides().sha256
    for asked, taken, accuracies in ((160, 160, [0, 0.1, 0.2]), (175, 160, [0, 0.1, 0.2]), (176, 192, [0.3, 0.4]),
                                     (224, 192, [0.3, 0.4])):  # fmt: skip
        one = AccuracyArchive.load(tmp_path / f"a{suffix}", load_space("ofa-mbv3-w1.2", resolution=asked))
        assert one.space.sides == (taken,)
        assert one.tokens.shape[1] == SPACE.length
        assert one.accuracy.tolist() == pytest.approx(accuracies)
        one.save(tmp_path / "one.parquet")
        assert AccuracyArchive.load(tmp_path / "one.parquet", SPACE).space.resolution == taken


def test_the_hash_knows_the_resolution():
    one = of_two_sides()
    other = replace(one, space=load_space("ofa-mbv3-w1.2", resolution=(160, 208)))
    assert other.sha256 != one.sha256


def test_a_choice_of_resolutions_needs_accuracies_at_each(tmp_path):
    of_two_sides().save(tmp_path / "a.parquet")
    both = AccuracyArchive.load(tmp_path / "a.parquet", TWO)
    assert (both.tokens == of_two_sides().tokens).all()
    with pytest.raises(ArchiveError, match=r"a\.parquet has no accuracies at 176 pixels"):
        AccuracyArchive.load(tmp_path / "a.parquet", load_space("ofa-mbv3-w1.2", resolution=(160, 176, 192)))
    for name in ("plain.parquet", "plain.csv"):
        archive().save(tmp_path / name)
        with pytest.raises(ArchiveError, match=rf"{name} does not say at which resolution"):
            AccuracyArchive.load(tmp_path / name, TWO)


def test_of_more_resolutions_than_asked_for_the_rest_is_left_out(tmp_path):
    three = load_space("ofa-mbv3-w1.2", resolution=(160, 176, 192))
    tokens = three.sample(9, np.random.default_rng(0))
    tokens[:, -1] = [0, 1, 2] * 3
    saved = AccuracyArchive(three, tokens, np.arange(9) / 10)
    saved.save(tmp_path / "a.parquet")
    loaded = AccuracyArchive.load(tmp_path / "a.parquet", TWO)
    rows = [0, 2, 3, 5, 6, 8]
    assert loaded.space.sides == (160, 192)
    assert loaded.accuracy.tolist() == saved.accuracy[rows].tolist()
    assert [str(a) for a in loaded.architectures] == [str(saved.architectures[row]) for row in rows]


def test_resolutions_may_stand_in_the_architectures_too(tmp_path):
    texts = [str(a) for a in of_two_sides().architectures]
    assert texts[0].endswith("@160")
    pd.DataFrame({"architecture": texts, "accuracy": np.arange(5) / 10}).to_csv(tmp_path / "a.csv", index=False)
    assert (AccuracyArchive.load(tmp_path / "a.csv", TWO).tokens == of_two_sides().tokens).all()


def _frame():
    return pd.DataFrame(
        {"architecture": [str(a) for a in archive(4).architectures], "accuracy": [0.7, 0.71, 0.72, 0.73]}
    )


def _changed(column, row, value):
    frame = _frame().astype({column: object})
    frame.loc[row - 1, column] = value
    return frame


BAD = {
    "percent": (_changed("accuracy", 3, 76.3), "row 3 .* accuracy 76.3.*divide accuracies in percent by 100"),
    "negative": (_changed("accuracy", 2, -0.1), "row 2 .* accuracy -0.1"),
    "nan": (_changed("accuracy", 4, float("nan")), "row 4 .* accuracy nan"),
    "word": (_changed("accuracy", 1, "good"), "row 1 .* accuracy good"),
    "unknown": (_changed("architecture", 2, "1,2:3,3,0:3,3,0"), "row 2 of archive"),
    "other choice": (_changed("architecture", 2, _frame()["architecture"][1].replace("7", "9")), "row 2 .* kernel 9"),
    "duplicate": (_changed("architecture", 4, _frame()["architecture"][0]), "rows 1 and 4 .* are both"),
    "columns": (_frame().rename(columns={"accuracy": "top1"}), "has columns architecture, top1"),
    "empty": (_frame().iloc[:0], "no rows"),
    "no pixels": (_frame().assign(resolution=[224, 0, 224, 224]), "row 2 of archive a.csv has resolution 0"),
    "half a pixel": (_frame().assign(resolution=[224, 224, 160.5, 224]), "row 3 of archive a.csv has resolution 160.5"),
    "two resolutions": (
        _frame().assign(architecture=lambda f: f["architecture"] + "@160", resolution=[160, 160, 192, 160]),
        "row 3 .*@160 in a row with resolution 192",
    ),
    "one resolution": (_changed("architecture", 2, _frame()["architecture"][1] + "@160"), "row 1 .* has no resolution"),
    "duplicate at a resolution": (
        pd.concat([_frame(), _frame()]).assign(resolution=[160] * 4 + [192] * 3 + [160]),
        "rows 4 and 8 .* are both .*@160",
    ),
    "splits": (_frame().assign(split=["val", "val", "test", "val"]), "mixes the splits test, val"),
}


@pytest.mark.parametrize("what", BAD)
def test_names_the_row_and_the_remedy(tmp_path, what):
    frame, message = BAD[what]
    frame.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(ArchiveError, match=message) as error:
        AccuracyArchive.load(tmp_path / "a.csv", SPACE)
    assert "\n" not in str(error.value)


def test_refuses_damaged_and_missing_files(tmp_path):
    archive().save(tmp_path / "a.parquet")
    content = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "half.parquet").write_bytes(content[: len(content) // 2])
    for name in ("half.parquet", "none.parquet"):
        with pytest.raises(ArchiveError, match=name):
            AccuracyArchive.load(tmp_path / name, SPACE)
    with pytest.raises(ArchiveError, match="suffix"):
        archive().save(tmp_path / "a.json")


def test_the_hash_does_not_depend_on_the_order():
    one = archive()
    turned = AccuracyArchive(SPACE, one.tokens[::-1], one.accuracy[::-1], one.test_accuracy[::-1], "val")
    assert turned.sha256 == one.sha256
    other = AccuracyArchive(SPACE, one.tokens, one.accuracy[::-1], one.test_accuracy, "val")
    assert other.sha256 != one.sha256


def test_samples_reach_over_the_whole_cost_range():
    cost = SPACE.macs_model()
    tokens = sample_spread(SPACE, 200, cost, np.random.default_rng(0))
    assert (tokens == SPACE.canonical(tokens)).all()
    assert len(np.unique(tokens, axis=0)) == 200
    smallest, largest = cost(SPACE.encode(SPACE.extremes()))
    tenths = np.histogram(cost(tokens), bins=10, range=(smallest, largest))[0]
    assert tenths.min() >= 12


def test_samples_for_an_archive_are_mostly_plain_and_reach_both_ends() -> None:
    cost = SPACE.macs_model()
    tokens = sample_archive(SPACE, 300, cost, np.random.default_rng(0))
    plain = cost(SPACE.sample(300, np.random.default_rng(1)))
    costs = cost(tokens)
    assert len(np.unique(tokens, axis=0)) == 300
    assert (costs.min(), costs.max()) == cost.range_ms
    assert np.median(costs) == pytest.approx(np.median(plain), rel=0.05)
    assert costs.std() > 1.2 * plain.std()


def test_tilted_samples_are_architectures_with_every_choice():
    tokens = sample_tilted(SPACE, 500, np.random.default_rng(0))
    SPACE.encode(SPACE.decode(tokens))
    for position, choices in enumerate(SPACE.token_choices):
        assert len(set(tokens[:, position].tolist()) - {0}) >= choices - 1


def test_strata_take_turns():
    cost = np.concatenate([np.zeros(90), np.ones(10)])
    chosen = cost[stratified(cost, 20, np.random.default_rng(0))]
    assert chosen.sum() == 10
    assert len(stratified(cost, 200, np.random.default_rng(0))) == 100
