"""The accuracies that come with the program, and learning from them."""

from pathlib import Path

import numpy as np

from lut.table import LatencyTable
from pnag.accuracy.archive import SHIPPED, AccuracyArchive
from pnag.runs.pipeline import TrainRequest, train_run
from pnag.space.search_space import SearchSpace, load_space
from profiler.console import Progress

TABLE = Path(__file__).parents[3] / "lut" / "tables" / "cpu_epyc.parquet"
SPACE = load_space("ofa-mbv3-w1.2")


def test_the_archive_says_where_it_comes_from() -> None:
    archive = AccuracyArchive.load(SHIPPED, SPACE)
    assert len(archive) >= 2000
    assert (archive.split, archive.space.resolution, archive.space.classes) == ("val", 32, 10)
    assert archive.test_accuracy is not None
    assert {"supernet", "data", "recipe", "calibration_images"} <= set(archive.source)
    assert {"config", "machine", "versions"} <= set(archive.source["recipe"])


def test_it_covers_the_whole_cost_range() -> None:
    costs = SearchSpace.from_dict(LatencyTable.load(TABLE).metadata.space).cost_model(LatencyTable.load(TABLE))
    of_archive = costs(AccuracyArchive.load(SHIPPED, SPACE).tokens)
    low, high = costs.range_ms
    assert (np.histogram(of_archive, bins=10, range=(low, high))[0] >= 10).all()


def test_it_is_learnt_from_where_no_accuracies_are_given(tmp_path: Path) -> None:
    said: list[str] = []
    request = TrainRequest(TABLE, tmp_path / "run", method="random")
    trained = train_run(request, tell=said.append, progress=Progress)
    assert trained is not None
    assert trained.archive.sha256 == AccuracyArchive.load(SHIPPED, SPACE).sha256
    assert said[0].startswith(f"learning from the accuracies that come with the program: {len(trained.archive)} arch")
    assert trained.generator.generate(20.0).limit_ms <= 20.0
