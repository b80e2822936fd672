"""The accuracies that come with the program, and learning from them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.imagenet_archive import make
from lut.table import LatencyTable
from pnag.accuracy.archive import DEFAULT, SHIPPED, AccuracyArchive, find_archive
from pnag.errors import ArchiveError
from pnag.runs.pipeline import train_run
from pnag.runs.request import TrainRequest
from pnag.space.search_space import SearchSpace
from pnag.space.spaces import load_space
from profiler.console import Progress
from tests.tables import made_up_table

TABLE = Path(__file__).parents[3] / "lut" / "tables" / "cpu_epyc.parquet"
GIVEN = Path(__file__).parents[4] / "shared" / "data" / "imagenet" / "accuracies.parquet"
SPACE = load_space("ofa-mbv3-w1.2")
SIDES = [160, 176, 192, 208, 224]


def test_the_archives_say_where_they_come_from() -> None:
    small = AccuracyArchive.load(SHIPPED["cifar10"], SPACE)
    assert len(small) >= 2000
    assert (small.split, small.space.resolution, small.space.classes) == ("val", 32, 10)
    assert small.test_accuracy is not None
    assert {"supernet", "data", "recipe", "calibration_images"} <= set(small.source)
    assert {"config", "machine", "versions"} <= set(small.source["recipe"])
    large = AccuracyArchive.whole(SHIPPED["imagenet"], SPACE)
    assert str(large.provenance) == "ImageNet, predicted by once-for-all's predictor"
    assert {"licence", "url", "paper", "supernet_name", "drawn"} <= set(large.source)
    assert large.provenance.published is not None
    assert large.provenance.published.networks == 19


def test_imagenet_has_rows_of_five_resolutions() -> None:
    every = AccuracyArchive.whole(SHIPPED[DEFAULT], SPACE)
    assert len(every) == 19682
    assert every.space.resolutions == tuple(SIDES)
    counts = [len(every.at(side)) for side in SIDES]
    assert counts == [sum(every.source["drawn"][str(side)].values()) for side in SIDES]
    assert counts[-1] == 9289


@pytest.mark.skipif(not GIVEN.is_file(), reason="the given accuracies are not at hand")
def test_the_shipped_file_is_what_the_script_makes() -> None:
    made, given = make(GIVEN), pd.read_parquet(GIVEN)
    assert made.sha256 == AccuracyArchive.whole(SHIPPED["imagenet"], SPACE).sha256
    assert [str(a) for a in made.architectures[:50]] == [f"{a}@160" for a in given["architecture"][:50]]
    np.testing.assert_allclose(made.accuracy, given["accuracy"], atol=1e-6)


@pytest.mark.parametrize("name", SHIPPED)
def test_they_cover_the_whole_cost_range(name: str) -> None:
    costs = SearchSpace.from_dict(LatencyTable.load(TABLE).metadata.space).cost_model(LatencyTable.load(TABLE))
    of_archive = costs(AccuracyArchive.load(SHIPPED[name], SPACE).tokens)
    low, high = costs.range_ms
    counts = np.histogram(of_archive, bins=10, range=(low, high))[0]
    if name == "cifar10":  # ten networks of each tenth
        assert (counts >= 10).all()
    else:  # the largest networks are rare: none was drawn for its size alone
        assert (counts[:9] >= 10).all()


def test_a_name_is_an_archive_and_anything_else_a_file(tmp_path: Path) -> None:
    assert find_archive("cifar10") == SHIPPED["cifar10"]
    assert find_archive(SHIPPED["cifar10"]) == SHIPPED["cifar10"]
    with pytest.raises(ArchiveError, match=r"no archive at .*none.csv; give .* or one of imagenet, cifar10"):
        find_archive(tmp_path / "none.csv")


def test_imagenet_at_the_tables_resolution_is_learnt_from_where_no_accuracies_are_given(tmp_path: Path) -> None:
    space = load_space("ofa-mbv3-w1.2", resolution=192)
    made_up_table(space).save(tmp_path / "table.parquet")
    said: list[str] = []
    request = TrainRequest(tmp_path / "table.parquet", tmp_path / "run", method="random")
    trained = train_run(request, tell=said.append, progress=Progress)
    assert trained is not None
    assert trained.archive.sha256 == AccuracyArchive.load(SHIPPED["imagenet"], space).sha256
    assert said == [
        f"learning from accuracies that come with the program: {len(trained.archive)} architectures, ImageNet, "
        "predicted by once-for-all's predictor, at 192 pixels; for images of your own give --data"
    ]
    assert trained.generator.provenance == trained.archive.provenance  # its answers are rows of the archive


@pytest.mark.slow
def test_answers_that_the_distilled_model_predicts_say_so(tmp_path: Path) -> None:
    space = load_space("ofa-mbv3-w1.2", resolution=192)
    made_up_table(space).save(tmp_path / "table.parquet")
    request = TrainRequest(tmp_path / "table.parquet", tmp_path / "run", method="evo")
    rows = AccuracyArchive.load(SHIPPED["imagenet"], space)
    trained = train_run(request, tell=lambda _: None, progress=Progress)
    assert trained is not None
    assert trained.generator.provenance == replace(rows.provenance, how=f"{rows.provenance.how}, distilled")


def test_a_table_of_another_resolution_takes_the_nearest_and_that_is_said(tmp_path: Path) -> None:
    space = load_space("ofa-mbv3-w0.25", resolution=32, classes=10)
    made_up_table(space).save(tmp_path / "table.parquet")
    two = load_space("ofa-mbv3-w0.25", resolution=(160, 192), classes=10)
    tokens, accuracy = two.sample(40, np.random.default_rng(0)), np.linspace(0.5, 0.6, 40)
    tokens[:, -1] = np.repeat([0, 1], 20)
    AccuracyArchive(two, tokens, accuracy).save(tmp_path / "two.csv")
    said: list[str] = []
    request = TrainRequest(tmp_path / "table.parquet", tmp_path / "run", accuracy=tmp_path / "two.csv", method="random")
    trained = train_run(request, tell=said.append, progress=Progress)
    assert trained is not None
    assert (len(trained.archive), trained.archive.accuracy.max()) == (20, accuracy[19])
    assert "the table is for images of 32 pixels, these accuracies are of 160, the nearest in two.csv" in said[0]


def test_names_are_asked_for_as_files_are() -> None:
    assert TrainRequest(TABLE, Path("run")).archive == SHIPPED["imagenet"]
    assert TrainRequest(TABLE, Path("run"), accuracy="cifar10").archive == SHIPPED["cifar10"]
    assert TrainRequest(TABLE, Path("run"), data="digits").archive is None
