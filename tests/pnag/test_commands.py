"""pnag-train and pnag-generate from a table and an archive to files, and everything that may be typed wrong."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from devices import Slice
from lut.table import LatencyTable
from pnag import cli_generate, cli_train
from pnag.accuracy.archive import AccuracyArchive
from pnag.delivery.metadata import read_metadata
from pnag.generator import learning
from pnag.generator.generate import Generator
from pnag.generator.policy import PolicySettings
from pnag.runs.run import GENERATOR, MANIFEST, TABLE
from pnag.runs.run import Run as RunFolder
from pnag.space.architecture import Architecture
from pnag.space.sampling import sample_spread
from pnag.space.spaces import load_space
from profiler.measure.session import Sampling
from profiler.measure.stopping import StopSettings
from profiler.verification import networks as measure_networks
from tests.browser import CHROMIUM, Browser
from tests.json_documents import assert_documented
from tests.pages import Page
from tests.pnag.commands import Ended, Run, runner
from tests.pnag.tiny import random_supernet
from tests.tables import made_up_table

SPACE = load_space("ofa-mbv3-w0.25", resolution=32, classes=10)
MISSING = "What is not in this report"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "abacus.parquet"
    made_up_table(SPACE).save(path)
    return path


@pytest.fixture(scope="module")
def archive(table: Path) -> Path:
    """Accuracies that grow with cost, with a bit of noise."""
    rng = np.random.default_rng(0)
    costs = SPACE.cost_model(LatencyTable.load(table))
    tokens = sample_spread(SPACE, 150, costs, rng)
    low, high = costs.range_ms
    accuracy = 0.7 + 0.1 * np.sqrt((costs(tokens) - low) / (high - low)) + rng.normal(0, 0.001, len(tokens))
    path = table.with_name("archive.csv")
    AccuracyArchive(SPACE, tokens, accuracy).save(path)
    return path


@pytest.fixture
def train(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(cli_train.main, capsys, monkeypatch)


@pytest.fixture
def generate(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(cli_generate.main, capsys, monkeypatch)


@pytest.fixture(scope="module")
def run(table: Path, archive: Path) -> Path:
    """A finished run, whose generator was trained in few steps."""
    from pnag.runs.pipeline import train_run
    from pnag.runs.request import TrainRequest
    from profiler.console import Progress

    out = table.with_name("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "PolicySettings", partial(PolicySettings, steps=20, generations=60))
        train_run(TrainRequest(table=table, out=out, accuracy=archive), tell=lambda _: None, progress=Progress)
    return out


def test_training_again_finds_everything_done(train: Run, table: Path, archive: Path, run: Path) -> None:
    before = (run / GENERATOR).read_bytes()
    ended = train("--lut", table, "--accuracy", archive, "--out", run, "--json")
    assert ended.code == 0
    assert (run / GENERATOR).read_bytes() == before
    document = ended.document
    assert document["table_sha256"] == LatencyTable.load(table).content_sha256
    assert document["architectures"] == 150
    assert 0 < document["accuracy_error"] < 0.01
    assert (run / "networks.png").read_bytes().startswith(b"\x89PNG")


def test_other_settings_in_the_same_folder_are_refused(train: Run, table: Path, archive: Path, run: Path) -> None:
    ended = train("--lut", table, "--accuracy", archive, "--out", run, "--seed", 5)
    assert ended.code == 2
    assert ended.says("seed", "5", "--fresh")


def test_a_budget_is_kept_with_the_margin_of_the_confidence(generate: Run, table: Path, run: Path) -> None:
    costs = LatencyTable.load(table)
    low, high = SPACE.cost_model(costs).range_ms
    budget = low + 0.4 * (high - low)
    ended = generate(f"{budget}ms", "--from", run, "--json")
    assert ended.code == 0
    (network,) = ended.document["networks"]
    cost = costs.cost_ms(SPACE.decompose(Architecture.parse(network["architecture"])))
    assert network["cost_ms"] == pytest.approx(cost)
    assert cost * (1 + costs.upper_margin(0.95)) <= budget
    assert cost >= 0.9 * budget


def test_a_person_is_told_budget_architecture_and_accuracy(generate: Run, run: Path) -> None:
    ended = generate("3.2", "--from", run)
    assert ended.code == 0
    assert "budget 3.2 ms" in ended.out
    assert "predicted" in ended.out
    assert "accuracy" in ended.out
    assert "as given, without a source" in ended.out
    assert "Abacus 3, beads 1.0 1 thread batch 1; confidence 0.95" in ended.out
    assert "not used up" not in ended.out


def test_a_budget_above_the_dearest_network_is_not_used_up_and_says_so(generate: Run, run: Path) -> None:
    high = Generator.load(run).range_ms[1]
    ended = generate("140ms", "--from", run)
    assert ended.code == 0
    assert "the budget is not used up: " in ended.out
    (network,) = generate("140ms", "--from", run, "--json").document["networks"]
    assert network["cost_ms"] <= high
    assert network["unused"] == f"the budget is not used up: {network['cost_ms']:.3g} of 140 ms"


def test_a_table_without_unseen_networks_gives_no_confidence(
    train: Run, generate: Run, archive: Path, tmp_path: Path
) -> None:
    made_up_table(SPACE, holdout=0).save(tmp_path / "table.parquet")
    words = ("--lut", tmp_path / "table.parquet", "--accuracy", archive, "--method", "random", "--out", tmp_path / "r")
    assert train(*words).code == 0
    ended = generate("3.2", "--from", tmp_path / "r", "--confidence", 0.99)
    assert "no basis for a confidence" in ended.out
    assert generate("3.2", "--from", tmp_path / "r", "--json").document["confidence"] is None
    assert "published" not in ended.out


def test_without_a_supernet_files_have_untrained_weights_and_say_so(generate: Run, run: Path, tmp_path: Path) -> None:
    ended = generate(
        "3.2", "3.4", "--from", run, "--export", tmp_path / "net.onnx", "--export", tmp_path / "net.json", "--json"
    )
    assert ended.code == 0
    assert "untrained" in ended.err
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "net-3.2ms.json", "net-3.2ms.onnx", "net-3.2ms.onnx.md",
        "net-3.4ms.json", "net-3.4ms.onnx", "net-3.4ms.onnx.md",
    ]  # fmt: skip
    network = ended.document["networks"][0]
    assert network["test_accuracy"] is None
    assert network["accuracy"] is None
    assert network["weights"] == "untrained"
    assert 0.7 < network["ranking"]["accuracy"] < 0.9
    assert network["exports"][0]["relative_difference"] <= 1e-4
    assert network["exports"][0]["matches_table"] is False
    about = read_metadata(tmp_path / "net-3.2ms.onnx")
    assert about["weights"] == "untrained"
    assert about["accuracy"] is about["accuracy_source"] is None
    assert about["ranking"] == network["ranking"]
    assert about["matches_table"] is False
    assert "not measured for this file: the table is of beads" in about["latency"]
    assert about["architecture"] == network["architecture"]
    assert set(about["sha256"]) == {"table", "archive", "generator"}


def test_predictions_of_others_are_called_so_on_the_screen_and_in_files(
    train: Run, generate: Run, table: Path, archive: Path, tmp_path: Path
) -> None:
    read = AccuracyArchive.load(archive, SPACE)
    line = {"slope": 0.5, "offset": 0.1, "deviation": 0.0025, "networks": 19}
    source = {"data": {"name": "Photos"}, "kind": "predicted", "by": "a neighbour's net", "published_top1": line}
    replace(read, source=source).save(tmp_path / "told.parquet")
    words = ("--lut", table, "--accuracy", tmp_path / "told.parquet", "--method", "random", "--out", tmp_path / "run")
    assert "accuracy   Photos, predicted by a neighbour's net" in train(*words).out
    asked = ("3.2", "--from", tmp_path / "run")
    assert "(from accuracies: Photos, 32 pixels, predicted by a neighbour's net)" in generate(*asked).out
    (network,) = generate(*asked, "--export", tmp_path / "net.json", "--json").document["networks"]
    ranking = network["ranking"]
    assert ranking["published_top1"] == pytest.approx(0.5 * ranking["accuracy"] + 0.1)
    about = read_metadata(tmp_path / "net.json")
    assert about["accuracy"] is None
    assert about["ranking"] == ranking
    assert (ranking["images"], ranking["how"]) == ("Photos", "predicted by a neighbour's net")


def test_weights_of_a_checkpoint_make_a_trained_network(generate: Run, run: Path, tmp_path: Path) -> None:
    random_supernet(SPACE).save(tmp_path / "ofa_published_w0.25.pth")
    (tmp_path / "ofa_published_w0.25.pth").rename(tmp_path / "ofa_published_w0.25")  # as once-for-all names its files
    words = ("--from", run, "--weights", tmp_path / "ofa_published_w0.25", "--export", tmp_path / "net.onnx", "--json")
    ended = generate("3.2", *words, "--data", "digits")
    assert ended.code == 0
    assert "untrained" not in ended.err
    (network,) = ended.document["networks"]
    assert network["trained"] is True
    assert read_metadata(tmp_path / "net.onnx")["weights"] == "trained"
    assert "batch-norm statistics are the checkpoint's own" in generate("3.2", *words).err


def test_a_network_is_measured_on_this_machine(generate: Run, run: Path) -> None:
    ended = generate("3.2", "--from", run, "--verify", "cpu", "--json")
    assert ended.code == 0
    assert_documented("pnag-generate", ended.document)
    (network,) = ended.document["networks"]
    assert network["measured_ms"] > 0
    assert network["kept"] == (network["measured_ms"] <= 3.2)
    assert network["measured_with"] == {"batch": 1, "threads": 1, "precision": "float32"}
    assert "measured unlike the table" in ended.err


def test_a_network_is_measured_at_the_tables_batch_and_threads(
    generate: Run, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = Slice(min_time_s=0.0, min_runs=3)
    quick = Sampling(once, once, once, warm_up_s=0.0, max_wait_s=0.0, stop=StopSettings(1.0, 2, 2))
    monkeypatch.setattr(measure_networks, "sampling_for", lambda _: quick)
    shutil.copytree(run, tmp_path / "run")
    table = LatencyTable.load(run / TABLE)
    about = replace(table.metadata, batch=4, runtime={"name": "onnxruntime", "threads": 2, "precision": "float32"})
    replace(table, metadata=about).save(tmp_path / "run" / TABLE)
    manifest = json.loads((tmp_path / "run" / MANIFEST).read_text())
    manifest["stages"]["table"]["sha256"] = replace(table, metadata=about).content_sha256
    (tmp_path / "run" / MANIFEST).write_text(json.dumps(manifest))
    ended = generate("3.2", "--from", tmp_path / "run", "--verify", "cpu", "--json")
    assert ended.code == 0
    (network,) = ended.document["networks"]
    assert network["measured_with"] == {"batch": 4, "threads": 2, "precision": "float32"}


def test_an_unknown_suffix_is_told_before_any_work(generate: Run, run: Path, tmp_path: Path) -> None:
    ended = generate("3.2", "--from", run, "--export", tmp_path / "net.caffe")
    assert ended.code == 2
    assert ended.says("net.caffe", ".tflite")


def test_other_hardware_is_refused_by_name(generate: Run, run: Path) -> None:
    ended = generate("3.2", "--from", run, "--verify", "cpu_i5")
    if "i5-7400" in Path("/proc/cpuinfo").read_text(encoding="utf-8"):
        pytest.skip("this is the CPU that the spec names")
    assert ended.code == 3
    assert ended.says("i5-7400", "--allow-mismatch")


def refuses(ended: Ended, *words: str) -> bool:
    return ended.code == 2 and ended.says(*words)


def test_training_refuses_what_cannot_be_learnt_from(train: Run, table: Path, archive: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "run")
    assert refuses(train("--lut", table, *out), "--data", "--accuracy")
    assert refuses(train("--lut", table, "--accuracy", archive, "--data", "digits", *out), "--accuracy")
    assert refuses(train("--lut", table, "--supernet", archive, *out), "--data")
    assert refuses(train("--lut", table, "--accuracy", tmp_path / "none.csv", *out), "none.csv")
    assert refuses(
        train("--lut", tmp_path / "none.parquet", "--accuracy", archive, *out), "none.parquet", "pnag-profile"
    )
    assert refuses(train("--lut", table, "--accuracy", archive, "--method", "magic", *out), "magic", "pnag")
    assert refuses(train("--lut", table, "--data", "letters", *out), "letters", "digits")


def test_a_predicted_accuracy_stays_within_0_and_1(run: Path) -> None:
    generator = Generator.load(run)
    predictor = generator.evaluator.predictor
    proud = replace(
        generator, evaluator=replace(generator.evaluator, predictor=replace(predictor, bias=2.0, ceiling=np.inf))
    )
    assert proud.generate(3.2).accuracy == 1.0


def test_a_manifest_names_every_stage(run: Path) -> None:
    manifest = json.loads((run / "run.json").read_text())
    assert set(manifest["stages"]) == {"table", "archive", "generator"}
    assert all("sha256" in record for record in manifest["stages"].values())


def test_a_report_shows_table_run_and_answers(generate: Run, train: Run, table: Path, archive: Path, run: Path) -> None:
    page_of, answers = run.with_name("train.html"), run.with_name("answers.html")
    assert train("--lut", table, "--accuracy", archive, "--out", run, "--report", page_of).code == 0
    exported = run.with_name("net.json")
    ended = generate("3.2", "4", "--from", run, "--export", exported, "--report", answers, "--json")
    assert ended.code == 0
    for path in (page_of, answers):
        page = Page.read(path)
        assert path.stat().st_size < 5_000_000
        assert page.titles[:2] == ["Device and session", "What each block costs"]
        assert page.titles[-5:-2] == ["Training", "The frontier", "Networks, hashes and commands"]
        assert page.titles[-2:] == ["What was not tried", MISSING]
        assert page.loaded == ["data:,"]
        assert LatencyTable.load(table).content_sha256 in page.codes
        assert RunFolder.load(run).stages["generator"]["sha256"] in page.codes
        assert any(code.startswith(f"pnag-train --lut {table} --accuracy FILE") for code in page.codes)
        assert [item for item in page.items if item.startswith("No supernet was trained")]
    for network in ended.document["networks"]:
        (row,) = (
            row for row in page.rows if row[-1] == network["architecture"] and row[0] == f"{network['budget_ms']:g}"
        )
        assert float(row[1]) == pytest.approx(network["cost_ms"], rel=1e-4)
        assert page.row_of(network["exports"][0]["sha256"])[1] == network["exports"][0]["path"]
    if CHROMIUM is not None:
        with Browser() as browser:
            browser.open(answers)
            assert browser.complaints == []
            assert browser.asked == [answers.resolve().as_uri()]
            assert sum(count > 1000 for count in browser.painted()) >= page.plots


def test_a_report_that_cannot_be_written_is_refused_before_the_work(
    generate: Run, train: Run, table: Path, run: Path
) -> None:
    for ended in (
        train("--lut", table, "--out", run.with_name("never"), "--report", run.with_name("r.txt")),
        generate("3.2", "--from", run, "--report", run.with_name("r.txt")),
    ):
        assert ended.code == 2
        assert ended.says("r.txt is no page by its suffix; end it in .html")
    assert not run.with_name("never").exists()
