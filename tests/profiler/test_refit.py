from dataclasses import replace

import pytest

from devices.fake import FakeBackend, FakeSettings
from lut.table import LatencyTable
from profiler.build.artefacts import SpecsFactory
from profiler.errors import JournalError
from profiler.profile import measure, prepare
from profiler.refit import load_visits, refitted, save_visits, visits_path
from tests.profiler.test_profile import job


@pytest.fixture
def measured(tmp_path):
    """A table of a device that was slow for a while, and all visits of its session."""
    this = job()
    backend = FakeBackend(FakeSettings(noise=0.02, drift_at=60, drift_calls=30, drift_factor=1.3))
    table, journal = measure(backend, this, prepare(this.units, SpecsFactory(1)), tmp_path / "x.journal")
    return table, journal.everything


def test_the_same_statistic_gives_the_same_table(measured):
    table, visits = measured
    assert any("drifted" in visit.flags for visit in visits)
    assert refitted(table, visits, "quiet").content_sha256 == table.content_sha256


def test_another_statistic_is_named_and_gives_other_latencies(measured):
    table, visits = measured
    other = refitted(table, visits, "p90")
    assert other.metadata.sampling["statistic"] == "p90"
    assert all(row.latency_ms > table.blocks[key].latency_ms for key, row in other.blocks.items())
    assert other.metadata.calibration != table.metadata.calibration
    assert refitted(other, visits, "quiet").content_sha256 == table.content_sha256


def test_visits_survive_their_file(measured, tmp_path):
    table, visits = measured
    path = visits_path(tmp_path / "x.parquet")
    save_visits(path, table.metadata.created, visits)
    back = load_visits(path, table.metadata.created)
    assert [visit.to_json() for visit in back] == [visit.to_json() for visit in visits]
    assert refitted(table, back, "median").content_sha256 == refitted(table, visits, "median").content_sha256


def test_a_failed_row_stays_as_it_is(measured):
    table, visits = measured
    first, *others = table.entries
    broken = LatencyTable((replace(first, flags=("failed",), reason="no memory"), *others), table.metadata)
    assert refitted(broken, visits, "median").entries[0].reason == "no memory"


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: path.unlink(), "no visits at"),
        (lambda path: path.write_bytes(path.read_bytes()[:-20]), "damaged"),
        (lambda path: path.write_bytes(b"what"), "damaged"),
        (lambda path: save_visits(path, "another time", ()), "another table"),
    ],
)
def test_what_is_no_visits_of_this_table_is_one_line(measured, tmp_path, spoil, says):
    table, visits = measured
    path = tmp_path / "x.visits.gz"
    save_visits(path, table.metadata.created, visits)
    spoil(path)
    with pytest.raises(JournalError, match=says):
        load_visits(path, table.metadata.created)
