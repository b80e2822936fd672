"""Trainings that are interrupted, moved, repeated and given another table: nothing is lost, nothing is asked twice."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from devices.locks import HeldError
from pnag import cli_train
from pnag.accuracy.archive import AccuracyArchive
from pnag.data.split import ImageData
from pnag.delivery import deliver
from pnag.errors import ArchiveError, DataError, RunError
from pnag.generator.generate import Generator
from pnag.runs import pipeline, supernet_stage
from pnag.runs.pipeline import train_run
from pnag.runs.request import TrainRequest
from pnag.runs.run import ARCHIVE, GENERATOR, LOCK, Run
from pnag.space.architecture import Architecture
from pnag.supernet import collect
from pnag.supernet.supernet import Supernet
from profiler.console import Progress
from tests.pnag.tiny import TINY_SPACE, coloured_squares, random_supernet
from tests.tables import made_up_table


@dataclass
class Evaluator:
    """Makes accuracies up, counts what is asked, and is interrupted after so many."""

    asked: list[str] = field(default_factory=list)
    interrupted_after: int = -1

    def accuracy(self, network: Architecture, split: object) -> float:
        if len(self.asked) == self.interrupted_after:
            raise KeyboardInterrupt
        self.asked.append(str(network))
        seed = [*network.depths, *network.kernels, *network.expands]
        return 0.4 + 0.01 * sum(network.depths) + 0.02 * float(np.random.default_rng(seed).random())


@pytest.fixture
def evaluator(monkeypatch: pytest.MonkeyPatch) -> Evaluator:
    evaluator = Evaluator()
    monkeypatch.setattr(collect, "calibrated_subnet", lambda supernet, architecture, batches: architecture)
    monkeypatch.setattr(collect, "accuracy", evaluator.accuracy)
    return evaluator


@dataclass
class Places:
    """Data sets by folder, as `load_data` would find them."""

    known: dict[str, ImageData] = field(default_factory=dict)

    def load(self, name: str, *, resolution: int, seed: int, **_: object) -> ImageData:
        if name not in self.known:
            raise DataError(f"no folder {name}; check the path")
        return self.known[name]


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    monkeypatch.chdir(tmp_path)
    places = Places({f"imagefolder:{tmp_path / 'squares'}": coloured_squares()})
    for module in (supernet_stage, deliver):
        monkeypatch.setattr(module, "load_data", places.load)
    return places


@pytest.fixture
def request_for(tmp_path: Path, places: Places) -> Callable[..., TrainRequest]:
    random_supernet().save(tmp_path / "weights.safetensors")
    made_up_table(TINY_SPACE).save(tmp_path / "table.parquet")
    made_up_table(TINY_SPACE, seed=1).save(tmp_path / "other.parquet")

    def request(out: str, **changes: object) -> TrainRequest:
        given = TrainRequest(
            tmp_path / "table.parquet", tmp_path / out, data="imagefolder:squares",
            supernet=tmp_path / "weights.safetensors", method="random", architectures=22, rounds=3,
        )  # fmt: skip
        return replace(given, **changes)  # type: ignore[arg-type]

    return request


def train(request: TrainRequest, said: list[str] | None = None) -> pipeline.Trained:
    trained = train_run(request, tell=(said if said is not None else []).append, progress=Progress)
    assert trained is not None
    return trained


Requests = Callable[..., TrainRequest]


def test_rounds_interrupted_anywhere_end_as_if_undisturbed(request_for: Requests, evaluator: Evaluator) -> None:
    whole = train(request_for("whole"))
    undisturbed = list(evaluator.asked)
    assert len(undisturbed) == len(set(undisturbed)) == len(whole.archive)
    assert len(whole.archive) == 22
    for stop in (3, 11, 16, 21):
        evaluator.asked.clear()
        evaluator.interrupted_after = stop
        with pytest.raises(KeyboardInterrupt):
            train(request_for(f"stopped-{stop}"))
        evaluator.interrupted_after = -1
        train(request_for(f"stopped-{stop}"))
        assert evaluator.asked == undisturbed
        stopped = request_for(f"stopped-{stop}").out
        assert (stopped / GENERATOR).read_bytes() == (whole.run.directory / GENERATOR).read_bytes()


def test_rounds_interrupted_while_learning_end_as_if_undisturbed(
    request_for: Requests, evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(request_for("whole"))
    undisturbed = list(evaluator.asked)
    from pnag.generator import rounds

    for stop in range(0, 8, 2):
        evaluator.asked.clear()
        with monkeypatch.context() as patch:
            patch.setattr(rounds, "fit_posterior", _cut_off(rounds.fit_posterior, stop))
            with pytest.raises(KeyboardInterrupt):
                train(request_for(f"cut-{stop}"))
        train(request_for(f"cut-{stop}"))
        assert evaluator.asked == undisturbed
        cut_off = request_for(f"cut-{stop}").out
        assert (cut_off / GENERATOR).read_bytes() == (whole.run.directory / GENERATOR).read_bytes()


def _cut_off(original: Callable[..., object], calls: int) -> Callable[..., object]:
    """`original`, interrupted when it is called once more than so often."""
    left = [calls]

    def call(*arguments: object, **options: object) -> object:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return original(*arguments, **options)

    return call


def test_another_table_keeps_supernet_and_accuracies(request_for: Requests, evaluator: Evaluator) -> None:
    first = train(request_for("run"))
    before, said = len(evaluator.asked), []
    second = train(request_for("run", table=request_for("run").table.with_name("other.parquet")), said)
    assert len(evaluator.asked) == before
    assert any("another table" in line for line in said)
    assert second.archive.sha256 == first.archive.sha256
    assert Generator.load(second.run.directory).costs.constant_ms != first.generator.costs.constant_ms
    assert Run.load(second.run.directory).done("table")["sha256"] == second.table.content_sha256  # type: ignore[index]
    again = (second.run.directory / GENERATOR).read_bytes()
    train(request_for("run", table=request_for("run").table.with_name("other.parquet")))
    assert (second.run.directory / GENERATOR).read_bytes() == again


def test_a_runs_folder_serves_another_table_without_asking_anything(
    request_for: Requests, evaluator: Evaluator
) -> None:
    first = train(request_for("run"))
    before, said = len(evaluator.asked), []
    other = request_for("run").table.with_name("other.parquet")
    second = train(request_for("second", table=other, supernet=first.run.directory, data=None), said)
    assert len(evaluator.asked) == before
    assert second.archive.sha256 == first.archive.sha256
    assert second.run.done("supernet")["sha256"] == first.run.done("supernet")["sha256"]  # type: ignore[index]
    assert any("no rounds" in line for line in said)


def test_accuracies_may_stand_beside_data_and_supernet(
    request_for: Requests, evaluator: Evaluator, tmp_path: Path
) -> None:
    first = train(request_for("run"))
    (tmp_path / "a.parquet").write_bytes((first.run.directory / ARCHIVE).read_bytes())
    before = len(evaluator.asked)
    more = request_for("more", accuracy=tmp_path / "a.parquet", architectures=34)
    assert len(train(more).archive) == 34
    assert len(evaluator.asked) == before + 12
    AccuracyArchive(TINY_SPACE, first.archive.tokens, first.archive.accuracy).save(tmp_path / "others.csv")
    with pytest.raises(ArchiveError, match="--rounds would add accuracies of another kind"):
        train(request_for("mixed", accuracy=tmp_path / "others.csv"))
    assert not (tmp_path / "mixed").exists()
    said: list[str] = []
    ranked = train(request_for("ranked", accuracy=tmp_path / "others.csv", rounds=0), said)
    assert any("they rank networks" in line for line in said)
    assert ranked.run.done("supernet") is not None


def test_a_wrong_word_beside_fresh_costs_nothing(request_for: Requests, evaluator: Evaluator, tmp_path: Path) -> None:
    train(request_for("run"))
    before = _files(tmp_path / "run")
    (tmp_path / "bad.csv").write_text("architecture,accuracy\nno,0.5\n")
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    wrong = {"data": "imagefolder:TYPO"}, {"supernet": tmp_path / "bad.safetensors"}, {"accuracy": tmp_path / "bad.csv"}
    for changes in wrong:
        with pytest.raises(Exception, match=r"TYPO|bad\."):
            train(request_for("run", fresh=True, **changes))
        assert _files(tmp_path / "run") == before


def test_a_fresh_run_asks_anew(request_for: Requests, evaluator: Evaluator) -> None:
    train(request_for("run"))
    asked = list(evaluator.asked)
    train(request_for("run", fresh=True))
    assert evaluator.asked == asked * 2


def test_two_trainings_of_one_run_are_refused(request_for: Requests, evaluator: Evaluator, tmp_path: Path) -> None:
    train(request_for("run"))
    with (
        cli_train._alone(tmp_path / "run" / LOCK),
        pytest.raises(HeldError, match=r"run .*run is in use by process \d+; wait"),
    ):
        train_run(request_for("run"), tell=print, progress=Progress, alone=cli_train._alone)


def test_data_are_found_from_any_folder_and_known_by_their_content(
    request_for: Requests, evaluator: Evaluator, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(request_for("run"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    workshop = deliver.Workshop(Run.load(tmp_path / "run"))
    candidate = Generator.load(tmp_path / "run").generate(Generator.load(tmp_path / "run").range_ms[1])
    measured = workshop.build(candidate)
    assert measured.test_accuracy is not None

    places.known = {f"imagefolder:{tmp_path / 'moved'}": coloured_squares()}
    lost = deliver.Workshop(Run.load(tmp_path / "run"))
    built = lost.build(candidate)
    assert built.test_accuracy is None
    assert lost.unexamined is not None
    assert built.trained
    assert built.metadata["labels"] == ["red", "green", "blue"]
    assert built.metadata["input"]["mean"] == measured.metadata["input"]["mean"]
    assert all(
        (one == other).all()
        for one, other in zip(built.network.state_dict().values(), measured.network.state_dict().values(), strict=True)
    )

    train(request_for("run", data=f"imagefolder:{tmp_path / 'moved'}"))  # the same images in another place
    assert deliver.Workshop(Run.load(tmp_path / "run")).build(candidate).test_accuracy == measured.test_accuracy
    places.known = {f"imagefolder:{tmp_path / 'moved'}": coloured_squares(seed=1)}
    squares = f"imagefolder:{tmp_path / 'squares'}"
    with pytest.raises(DataError, match="no folder"):
        train(request_for("run", data=squares))
    places.known[squares] = coloured_squares(seed=1)
    with pytest.raises(RunError, match=r"was trained on .*moved, and .*squares is not the same; .*--fresh"):
        train(request_for("run", data=squares))
    other = deliver.Workshop(Run.load(tmp_path / "run"))
    assert other.build(candidate).test_accuracy is None
    assert "not the one any more" in str(other.unexamined)


def test_a_run_of_an_older_release_goes_on(request_for: Requests, evaluator: Evaluator, tmp_path: Path) -> None:
    """It names its table in what was asked, its data as they were typed, and keeps no images."""
    train(request_for("run"))
    manifest = json.loads((tmp_path / "run" / "run.json").read_text())
    manifest["asked"] |= {"table_sha256": manifest["stages"]["table"]["sha256"], "data": "imagefolder:squares"}
    del manifest["stages"]["supernet"]["images"], manifest["stages"]["generator"]["table_sha256"]
    (tmp_path / "run" / "run.json").write_text(json.dumps(manifest))
    (tmp_path / "run" / "images.npz").unlink()
    before = (tmp_path / "run" / GENERATOR).read_bytes()
    train(request_for("run"))
    assert (tmp_path / "run" / GENERATOR).read_bytes() == before
    assert deliver.Workshop(Run.load(tmp_path / "run")).untrained is None


def test_a_moved_run_delivers(request_for: Requests, evaluator: Evaluator, tmp_path: Path) -> None:
    train(request_for("run"))
    shutil.move(tmp_path / "run", tmp_path / "named")
    assert deliver.Workshop(Run.load(tmp_path / "named")).untrained is None


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# -- trained on for other classes ---------------------------------------------------------------------------


def test_a_checkpoint_of_other_classes_is_trained_on_and_evaluated(request_for: Requests, tmp_path: Path) -> None:
    other = random_supernet()
    other.data = {"class_names": ["cat", "dog", "cow"]}
    other.save(tmp_path / "other.safetensors")
    asked = request_for("moved", supernet=tmp_path / "other.safetensors", epochs=1.0, rounds=0)
    trained = train(asked)
    record = trained.run.done("supernet")
    assert record is not None
    assert record["path"] == "supernet/supernet.safetensors"
    assert len(trained.archive) == 22
    moved = Supernet.load(trained.run.path(record["path"]), TINY_SPACE)
    assert list(moved.data["class_names"]) == ["red", "green", "blue"]
    assert moved.sha256() != other.sha256()
    assert train(asked).run.done("supernet") == record
    with pytest.raises(RunError, match="--epochs 0 trains no new classifier"):
        train(request_for("none", supernet=tmp_path / "other.safetensors", epochs=0.0))
    assert not (tmp_path / "none").exists()
    with pytest.raises(RunError, match="--epochs 0 trains nothing"):
        train(request_for("none", supernet=None, epochs=0.0))


def test_with_no_epochs_a_checkpoint_is_evaluated_as_it_is(
    request_for: Requests, evaluator: Evaluator, tmp_path: Path
) -> None:
    for name, changes in (("plain", {}), ("zero", {"epochs": 0.0})):
        record = train(request_for(name, rounds=0, **changes)).run.done("supernet")
        assert record is not None
        assert record["path"] == str(tmp_path / "weights.safetensors")
