import json
from dataclasses import replace

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
        replace(job(), batch=2),
        replace(job(), device={"spec": "fake", "options": {"affinity": "0"}}),
        replace(job(), device={"spec": "another"}),
    ],
)
def test_a_journal_is_not_continued_by_another_job(tmp_path, other):
    run(tmp_path)
    with pytest.raises(JournalError, match="--fresh"):
        run(tmp_path, other)
    run(tmp_path, other, fresh=True)


class Other(FakeBackend):
    """A fake device of which one thing is unlike."""

    def __init__(self, unit="", runtime=None, **facts):
        super().__init__()
        self._unit, self._facts, self._unlike = unit, facts, runtime or {}

    def device(self):
        found = super().device()
        return replace(found, kind="cpu", unit=self._unit, fields={**found.fields, **FACTS, **self._facts})

    def runtime(self):
        return {**super().runtime(), **self._unlike}


FACTS = {"cpu_family_model_stepping": "25/1/1", "cores_used": [1], "memory_mib": 8192, "load_1min_at_start": 0.1}


@pytest.mark.parametrize(
    ("other", "names"),
    [
        (Other(unit="b"), "device.unit was a, now b"),
        (Other("a", cpu_family_model_stepping="26/2/1"), "device.cpu_family_model_stepping was 25/1/1, now 26/2/1"),
        (Other("a", cores_used=[0]), r"device.cores_used was \[1\], now \[0\]"),
        (Other("a", runtime={"version": "2"}), "runtime.version was 1, now 2"),
        (Other("a", runtime={"threads": 2}), "runtime.threads was 1, now 2"),
    ],
)
def test_a_journal_is_not_continued_on_another_device_or_runtime(tmp_path, other, names):
    run(tmp_path, backend=Other("a"))
    before = (tmp_path / "x.journal").read_bytes()
    with pytest.raises(JournalError, match=names):
        run(tmp_path, backend=other)
    assert (tmp_path / "x.journal").read_bytes() == before
    run(tmp_path, backend=Other("a", load_1min_at_start=7.0))


def test_a_journal_is_not_continued_with_files_of_another_making(tmp_path):
    one, two = (replace(prepare(job().units, SpecsFactory(1)), files={"exporter": version}) for version in ("1", "2"))
    measure(FakeBackend(), job(), one, tmp_path / "x.journal")
    with pytest.raises(JournalError, match=r"files\.exporter was 1, now 2"):
        measure(FakeBackend(), job(), two, tmp_path / "x.journal")


def test_a_session_goes_on_with_fewer_files_than_its_journal_knows(tmp_path):
    """The time left for exporting was shorter than before: what was measured stays, for a longer run to use."""
    whole = run(tmp_path)
    before = (tmp_path / "x.journal").read_bytes()
    fewer = prepare(job().units, SpecsFactory(1), max_s=0.0)
    table, _ = measure(FakeBackend(), job(), fewer, tmp_path / "x.journal")
    assert len(table.entries) == len(BLOCKS)
    assert {key: entry.latency_ms for key, entry in table.blocks.items()} == {
        key: entry.latency_ms for key, entry in whole.blocks.items()
    }
    assert (tmp_path / "x.journal").read_bytes() == before
    measured = sum(row.get("round", -1) >= 0 for row in map(json.loads, before.splitlines()))
    assert run(tmp_path).metadata.sampling["quality"]["resumed_visits"] == measured > 0


class Slow(SpecsFactory):
    """Takes a second a file, unless it was made before."""

    def __init__(self, made=()):
        super().__init__(1)
        self.made, self.now_s = set(made), 0.0

    def is_cached(self, specs):
        return specs in self.made

    def make(self, name, specs):
        self.now_s += specs not in self.made
        self.made.add(specs)
        return super().make(name, specs)


def test_exporting_keeps_the_time(tmp_path):
    slow = Slow()
    prepared = prepare(job().units, slow, max_s=2.5, clock=lambda: slow.now_s)
    assert slow.now_s <= 3.5
    assert 0 < len(prepared.artefacts) < len(BLOCKS)
    assert prepared.late == set(prepared.failures) == {unit.name for unit in BLOCKS} - set(prepared.artefacts)
    table, _ = measure(FakeBackend(), job(), prepared, tmp_path / "x.journal")
    assert table.metadata.notes[1] == f"{len(prepared.late)} blocks were not exported: the time was up"
    assert all(table.blocks[name].failed for name in prepared.late)


def test_a_short_run_is_watched_by_the_block_that_a_longer_one_is(tmp_path):
    slow = Slow()
    prepared = prepare(job().units, slow, max_s=0.5, clock=lambda: slow.now_s)
    short, _ = measure(FakeBackend(), job(), prepared, tmp_path / "x.journal")
    assert len(prepared.artefacts) == 1
    longer = run(tmp_path)
    blocks = [table.metadata.sampling["quality"]["reference_block"] for table in (short, longer)]
    assert blocks[0] == blocks[1]
    assert longer.metadata.sampling["quality"]["resumed_visits"] > 0


class Broken(SpecsFactory):
    def make(self, name, specs):
        raise ExportError("no converter here")


@pytest.mark.parametrize(("units", "what"), [(job().units, "block"), (BLOCKS, "block"), (NETWORKS, "network")])
def test_without_a_single_file_the_reason_is_the_error(tmp_path, units, what):
    with pytest.raises(ExportError, match=f"^no {what} could be exported: no converter here$"):
        measure(FakeBackend(), job(units), prepare(units, Broken(1)), tmp_path / "x.journal")
    assert not (tmp_path / "x.journal").exists()


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

    def ahead(wanted, on_done, max_s):
        for name in wanted:
            on_done(name)
        return {blocks[0]: "no such operator"}

    prepared = prepare(units, SpecsFactory(1), watcher, ahead=ahead)
    assert prepared.failures == {blocks[0]: "no such operator"}
    assert blocks[0] not in prepared.artefacts
    assert watcher.done == len(units)


def test_with_little_time_blocks_come_first_and_both_get_a_share():
    units, asked, limits = job(UNITS).units, [], []

    def ahead(wanted, on_done, max_s):
        asked.extend(wanted)
        limits.append(max_s)
        return {}

    prepare(units, SpecsFactory(1), max_s=60.0, ahead=ahead)
    roles = {unit.name: unit.role for unit in units}
    assert sorted(asked) == sorted(roles)
    assert [roles[name] for name in asked] == sorted((roles[name] for name in asked), key=lambda role: role != "block")
    assert limits == [24.0]


class Cached(SpecsFactory):
    """Every second file is there already; a new one takes a second."""

    def __init__(self, names):
        super().__init__(1)
        self.there, self.now_s = set(names[::2]), 0.0
        self.name_of = {}

    def is_cached(self, specs):
        return self.name_of[specs] in self.there

    def make(self, name, specs):
        self.now_s += 0.0 if name in self.there else 1.0
        return super().make(name, specs)


def test_when_the_time_for_networks_is_up_those_that_are_there_are_kept():
    units = job(UNITS).units
    networks = [unit.name for unit in units if unit.role != "block"]
    factory = Cached([*networks, *(unit.name for unit in units if unit.role == "block")])
    factory.name_of = {unit.specs: unit.name for unit in units}

    def ahead(wanted, on_done, max_s):
        factory.now_s += max_s + 0.5  # the converter is stopped in time, and that takes a moment
        return {}

    watcher = Watcher()
    prepared = prepare(units, factory, watcher, max_s=60.0, ahead=ahead, clock=lambda: factory.now_s)
    assert set(prepared.left_out) == set(networks) - factory.there
    assert set(prepared.artefacts) == {unit.name for unit in units} - prepared.left_out
    assert not prepared.late
    assert watcher.done == len(prepared.artefacts)
