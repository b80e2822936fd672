import json
import subprocess
import sys
import time

import numpy as np
import pytest

from lut.table import LatencyTable
from pnag.space.search_space import SearchSpace
from profiler.cli import app
from profiler.console import run_app
from tests.pages import Page

SMALL = ("--resolution", "32", "--classes", "10", "--calibrate", "8", "--holdout", "4")


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Writes a spec of the fake device, moves into a folder of its own; options are the device's."""
    monkeypatch.chdir(tmp_path)

    def write(name="fake", match="", **options):
        lines = [f'name = "{name}"', 'title = "fake device"', 'backend = "fake"', match, "[options]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in options.items()]
        path = tmp_path / f"{name}.toml"
        path.write_text("\n".join(lines))
        return str(path)

    return write


@pytest.fixture
def profile(monkeypatch, capsys):
    """Runs the command; gives exit status, stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["pnag-profile", *arguments])
        with pytest.raises(SystemExit) as caught:
            run_app(app, "pnag-profile")
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    return run


def test_a_table_is_written_where_the_readme_says(fake, profile, tmp_path):
    status, out, _ = profile("--device", fake(), *SMALL)
    assert status == 0
    table = LatencyTable.load(tmp_path / "lut" / "fake.parquet")
    assert len(table.blocks) == 93
    assert (table.metadata.resolution, table.metadata.classes, table.metadata.batch) == (32, 10, 1)
    assert "93 measured, 0 failed" in out
    assert sorted(path.name for path in (tmp_path / "lut").iterdir()) == ["fake.parquet", "fake.visits.gz"]


def test_a_report_of_the_session_joins_the_table(fake, profile, tmp_path):
    status, _, err = profile("--device", fake(), *SMALL, "--report", "pages/r.html")
    page = Page.read(tmp_path / "pages" / "r.html")
    assert (status, "report written to pages/r.html" in err) == (0, True)
    assert "The device over time" in page.titles
    assert LatencyTable.load(tmp_path / "lut" / "fake.parquet").content_sha256 in page.codes
    status, _, err = profile("--device", fake(), *SMALL, "--out", "x.parquet", "--report", "r.pdf")
    assert (status, (tmp_path / "x.parquet").exists()) == (2, False)
    assert "r.pdf is no page by its suffix; end it in .html" in err


def test_blocks_of_several_resolutions_make_one_table(fake, profile, tmp_path):
    options = ("--resolution", "48,32", "--classes", "10", "--calibrate", "12", "--holdout", "6")
    assert profile("--device", fake(), *options)[0] == 0
    table = LatencyTable.load(tmp_path / "lut" / "fake.parquet")
    space = SearchSpace.from_dict(table.metadata.space)
    assert space.sides == (32, 48)
    assert set(table.blocks) == {block.key for block in space.blocks()}
    sides = {network.block.partition("@")[2] for role in ("calibration", "holdout") for network in table.networks(role)}
    assert sides == {"32", "48"}
    tokens = space.sample(20, np.random.default_rng(0))
    costs = [table.cost_ms(space.decompose(architecture)) for architecture in space.decode(tokens)]
    assert space.cost_model(table)(tokens) == pytest.approx(costs)


def test_json_is_one_document_and_nothing_else(fake, profile):
    status, out, err = profile("--device", fake(), *SMALL, "--json", "--out", "x.parquet")
    document = json.loads(out)
    assert status == 0
    assert (document["table"], document["blocks"]) == ("x.parquet", 93)
    assert document["fidelity"]["n"] == 4
    assert document["networks"] == {"calibration": 8, "holdout": 4}
    assert "93 blocks" in err


def test_threads_and_batch_go_into_the_table(fake, profile):
    assert profile("--device", fake(), *SMALL, "--threads", "3", "--batch", "2", "--out", "x.parquet")[0] == 0
    table = LatencyTable.load("x.parquet")
    assert (table.metadata.runtime["threads"], table.metadata.batch) == (3, 2)


def test_failed_blocks_are_rows_and_named(fake, profile):
    status, out, _ = profile("--device", fake(fail_run="k7-e6"), *SMALL, "--out", "x.parquet")
    assert status == 0
    table = LatencyTable.load("x.parquet")
    failed = [entry for entry in table.blocks.values() if entry.failed]
    assert len(table.blocks) == 93
    assert len(failed) == 10
    assert "83 measured, 10 failed" in out
    assert "and 5 more" in out


def test_a_device_on_which_nothing_runs_is_a_device_failure(fake, profile):
    status, _, err = profile("--device", fake(fail_run="."), *SMALL)
    assert status == 3
    assert "the reference block cannot be measured" in err


def test_other_hardware_is_refused_unless_allowed(fake, profile):
    spec = fake(match="match = {cpu_model = 'i5-7400'}")
    status, _, err = profile("--device", spec, *SMALL)
    assert status == 3
    assert "found fake device, not fake: cpu_model is 'fake'" in err
    status, _, err = profile("--device", spec, *SMALL, "--allow-mismatch", "--out", "x.parquet")
    assert status == 0
    assert "cpu_model is 'fake'" in LatencyTable.load("x.parquet").metadata.device["mismatch"]


def test_a_lost_connection_is_one_line_and_the_next_run_goes_on(fake, profile, tmp_path):
    status, _, err = profile("--device", fake(lose_at=300), *SMALL)
    assert status == 3
    assert len(err.strip().splitlines()[-1:]) == 1
    assert "the fake device is gone" in err
    assert not (tmp_path / "lut" / "fake.parquet").exists()
    assert (tmp_path / "lut" / "fake.journal").exists()
    status, out, _ = profile("--device", fake(), *SMALL)
    assert status == 0
    assert "measurements from the journal" in out
    assert not (tmp_path / "lut" / "fake.journal").exists()


def test_other_settings_do_not_go_on_with_a_journal_unless_fresh(fake, profile):
    profile("--device", fake(lose_at=300), *SMALL)
    status, _, err = profile("--device", fake(), *SMALL, "--seed", "5")
    assert status == 2
    assert "--fresh" in err
    assert profile("--device", fake(), *SMALL, "--seed", "5", "--fresh")[0] == 0


def test_when_time_is_up_the_table_is_whole_and_a_longer_run_goes_on(fake, profile, tmp_path):
    spec = fake(pause_s=0.01)
    status, out, _ = profile("--device", spec, *SMALL, "--max-minutes", "0.05")
    assert status == 0
    assert "the time was up" in out
    assert len(LatencyTable.load(tmp_path / "lut" / "fake.parquet").blocks) == 93
    status, out, _ = profile("--device", spec, *SMALL)
    assert "the time was up" not in out
    assert LatencyTable.load(tmp_path / "lut" / "fake.parquet").metadata.notes == ()


def test_a_whole_table_outlives_a_run_without_enough_time(fake, profile, tmp_path):
    assert profile("--device", fake(), *SMALL, "--out", "t.parquet")[0] == 0
    before = (tmp_path / "t.parquet").read_bytes()
    status, out, err = profile("--device", fake(), *SMALL, "--seed", "3", "--max-minutes", "1e-9", "--out", "t.parquet")
    assert (status, out) == (3, "")
    assert "no block could be measured (the table that is there stays): the time was up" in err
    assert "give more by --max-minutes" in err
    spec = fake("slow", pause_s=0.01)
    status, out, err = profile("--device", spec, *SMALL, "--max-minutes", "0.01", "--out", "t.parquet")
    assert (status, out) == (3, "")
    assert err.splitlines()[-1].startswith("pnag-profile: ")
    assert (tmp_path / "t.parquet").read_bytes() == before
    assert profile("--device", spec, *SMALL, "--out", "t.parquet")[0] == 0
    assert (tmp_path / "t.parquet").read_bytes() != before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fake.toml", "slow.toml", "t.parquet", "t.visits.gz"]


def test_a_second_profiler_of_one_table_is_refused_and_the_first_goes_on(fake, profile, tmp_path):
    spec = fake(pause_s=0.01)
    command = [sys.executable, "-m", "profiler.cli", "--device", spec, *SMALL, "--out", "t.parquet"]
    first = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    journal = tmp_path / "t.journal"
    while not journal.exists() or journal.read_bytes().count(b"\n") < 2:
        assert first.poll() is None
        time.sleep(0.01)
    status, out, err = profile("--device", spec, *SMALL, "--out", "t.parquet")
    assert (status, out) == (2, "")
    refusal = f"t.parquet is in use by process {first.pid}; wait until it is done, or choose another --out"
    assert err.splitlines()[-1] == f"pnag-profile: {refusal}"
    assert profile("--device", fake(), *SMALL, "--out", "other.parquet")[0] == 0
    assert first.wait(timeout=120) == 0
    left = ["fake.toml", "other.parquet", "other.visits.gz", "t.parquet", "t.visits.gz"]
    assert sorted(path.name for path in tmp_path.iterdir()) == left


def test_a_profiler_that_died_keeps_nobody_out(fake, profile, tmp_path):
    (tmp_path / "t.lock").write_text("1\n")
    assert profile("--device", fake(), *SMALL, "--out", "t.parquet")[0] == 0
    assert not (tmp_path / "t.lock").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--device", "nokia3310"], "unknown device 'nokia3310'; known are"),
        (["--device", "cpu", "--serial", "0123"], "device cpu takes no --serial"),
        (["--device", "cpu", "--affinity", "fast"], "'fast' is not a list of cores"),
        (["--space", "nasbench"], "unknown space 'nasbench'"),
        (["--resolution", "8"], "resolution of 8"),
        (["--max-minutes", "0"], "no time at all"),
        (["--threads", "0"], "--threads"),
        (["--calibrate", "-1"], "--calibrate"),
        (["--out", "file/x.parquet"], "cannot write file/x.parquet"),
        (["--out", "folder.parquet"], "it is a folder"),
        (["--colour"], "--colour"),
    ],
)
def test_wrong_usage_is_one_line_at_once(tmp_path, monkeypatch, profile, arguments, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.parquet").mkdir()
    code, out, err = profile(*arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert len(err.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.parquet"]


def test_devices_are_listed_with_what_is_here(profile):
    status, out, _ = profile("--list-devices")
    assert status == 0
    assert "cpu_i5" in out
    assert "here: " in out
    status, out, _ = profile("--list-devices", "--json")
    assert {"name", "title", "runtime", "attached"} == set(json.loads(out)["devices"][0])


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['pnag-profile', '--help']\n"
        "from profiler.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'pandas', 'onnxruntime', 'pyarrow', 'scipy') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"
