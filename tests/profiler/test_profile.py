import json

import pytest

from devices.fake import FakeBackend, FakeSettings
from lut.table import LatencyTable
from profiler.build.artefacts import SpecsFactory
from profiler.errors import ExportError, JournalError
from profiler.profile import Job, measure, prepare
from profiler.report import document, summary
from tests.profiler.measure.sessions import BLOCKS, NETWORKS, QUICK, SPECS, UNITS, Unit, Watcher

MORE = tuple(
    Unit("holdout" if i % 3 == 0 else "calibration", f"n{i}", tuple(SPECS[j] for j in range(6) if i >> j & 1))
    for i in range(7, 63, 4)
)


def job(units=(*UNITS, *MORE), sampling=QUICK):
    return Job({"name": "test", "width": 1.2}, 224, 1000, 1, units, sampling, {"spec": "fake"})


def run(tmp_path, this=None, backend=None, **options):
    backend, this = backend or FakeBackend(), this or job()
    prepared = prepare(this.units, SpecsFactory(1))
    return measure(backend, this, prepared, tmp_path / "x.journal", **options)[0]


class Failing(SpecsFactory):
    def make(self, name, specs):
        if "se1" in name:
            raise ExportError("cannot export this")
        return super().make(name, specs)


def test_the_table_has_every_unit_calibrated_and_judged(tmp_path):
    table = run(tmp_path)
    assert set(table.blocks) == {unit.name for unit in BLOCKS}
    assert len(table.networks("calibration")) + len(table.networks("holdout")) == len(NETWORKS) + len(MORE)
    assert table.metadata.calibration.networks == len(table.networks("calibration"))
    assert table.metadata.fidelity is not None
    assert table.metadata.fidelity.mape < 0.02
    assert table.metadata.notes == ()


def test_the_table_survives_its_file_with_device_runtime_and_quality(tmp_path):
    table = run(tmp_path)
    table.save(tmp_path / "x.parquet")
    back = LatencyTable.load(tmp_path / "x.parquet")
    assert back.content_sha256 == table.content_sha256
    assert back.metadata.device["model"] == "fake device"
    assert back.metadata.device["spec"] == "fake"
    assert back.metadata.runtime["name"] == "fake"
    assert back.metadata.sampling["quality"]["rounds"] == 4
    assert back.metadata.sampling["stop"]["max_time_s"] is None


def test_a_failed_export_is_a_row_with_its_reason(tmp_path):
    prepared = prepare(job().units, Failing(1))
    table, _ = measure(FakeBackend(), job(), prepared, tmp_path / "x.journal")
    failed = [entry for entry in table.blocks.values() if entry.failed]
    assert [entry.reason for entry in failed] == ["cannot export this"]
    assert len(table.blocks) == len(BLOCKS)


def test_blocks_are_exported_first_and_networks_left_out_when_time_is_short():
    seconds = iter(range(1000))
    prepared = prepare(job().units, SpecsFactory(1), max_s=30.0, clock=lambda: float(next(seconds)))
    assert set(prepared.artefacts) >= {unit.name for unit in BLOCKS}
    assert prepared.left_out
    assert prepared.left_out <= {unit.name for unit in (*NETWORKS, *MORE)}


def test_networks_left_out_are_no_rows_but_a_note(tmp_path):
    prepared = prepare(job().units, SpecsFactory(1), max_s=0.0)
    table, _ = measure(FakeBackend(), job(), prepared, tmp_path / "x.journal")
    assert len(table.entries) == len(BLOCKS)
    assert table.metadata.notes == (f"{len(NETWORKS) + len(MORE)} networks were left out: the time was up",)


def test_a_session_cut_short_by_the_time_is_noted(tmp_path):
    table = run(tmp_path, deadline_s=0.0)
    assert len(table.entries) == len(job().units)
    assert all(entry.failed for entry in table.entries)
    assert "the time was up" in table.metadata.notes[0]


@pytest.mark.parametrize(
    "other",
    [
        job(UNITS),
        job(sampling=type(QUICK)(seed=9)),
        Job({"name": "test", "width": 1.0}, 224, 1000, 1, job().units, QUICK, {"spec": "fake"}),
    ],
)
def test_a_journal_is_not_continued_by_another_job(tmp_path, other):
    run(tmp_path)
    with pytest.raises(JournalError, match="--fresh"):
        run(tmp_path, other)
    run(tmp_path, other, fresh=True)


def test_exporting_reports_its_progress():
    watcher = Watcher()
    prepare(UNITS, SpecsFactory(1), watcher)
    assert watcher.done == len(UNITS)
    assert watcher.notes[0] == "block"
    assert watcher.notes[-1] != "block"


def test_the_document_is_json_with_what_was_promised(tmp_path):
    table = run(tmp_path, backend=FakeBackend(FakeSettings(fail_run="se1")))
    told = document(table, tmp_path / "x.parquet", 12.3)
    json.dumps(told)
    assert told["table"] == str(tmp_path / "x.parquet")
    assert told["blocks"] == len(BLOCKS)
    assert told["failed"][0]["reason"].startswith("the fake device failed")
    assert {"n", "mape", "within_5", "rank_correlation"} <= set(told["fidelity"])


def test_the_summary_names_failures_and_quality(tmp_path):
    table = run(tmp_path, backend=FakeBackend(FakeSettings(fail_run="se1")))
    text = summary(table, tmp_path / "x.parquet", 12.3)
    assert "5 measured, 1 failed, 0 noisy" in text
    assert "failed    mbconv-i32-o48-k3-e3-s2-relu-se1@56: the fake device failed" in text
    assert "4 rounds" in text


def test_the_summary_without_networks_says_how_to_judge(tmp_path):
    assert "--holdout 20" in summary(run(tmp_path, job(BLOCKS)), tmp_path / "x.parquet", 1.0)


def test_files_made_in_advance_are_not_made_again_and_their_failures_kept():
    units = job(UNITS).units
    blocks = [unit.name for unit in units if unit.role == "block"]
    watcher = Watcher()

    def ahead(wanted, on_done):
        for name in wanted:
            on_done(name)
        return {blocks[0]: "no such operator"}

    prepared = prepare(units, SpecsFactory(1), watcher, ahead=ahead)
    assert prepared.failures == {blocks[0]: "no such operator"}
    assert blocks[0] not in prepared.artefacts
    assert watcher.done == len(units)


def test_with_little_time_only_blocks_are_made_in_advance():
    units, asked = job(UNITS).units, []
    prepare(units, SpecsFactory(1), max_s=60.0, ahead=lambda wanted, _: asked.extend(wanted) or {})
    assert asked == [unit.name for unit in units if unit.role == "block"]
