"""`--option KEY=VALUE` and `--list-options`: what a device's runtime declares can be set, and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from devices import list_specs, load_spec
from devices.errors import DeviceOptionError
from devices.host.computer import allowed_cores
from devices.registry import option_rows, read_options
from lut.table import LatencyTable
from profiler import cli
from profiler.cli import _same_cores
from profiler.cli_targets import Target

SMALL = "--space ofa-mbv3-w0.25 --resolution 32 --classes 10 --calibrate 8 --holdout 2"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def run(words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["pnag-profile", *words.split()])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        done = capsys.readouterr()
        return int(ended.value.code or 0), done.out, done.err

    return run


def fake(folder: Path) -> Path:
    path = folder / "fake.toml"
    path.write_text('name = "mine"\ntitle = "fake device"\nbackend = "fake"\n[options]\nnoise = 0.001\n')
    return path


@pytest.mark.parametrize("name", list_specs())
def test_every_device_lists_its_options_with_what_may_stand_there(name: str):
    rows = option_rows(load_spec(name))
    assert rows
    assert all(row["name"] and row["allowed"] and row["help"] for row in rows)


def test_options_are_listed_as_text_and_as_json(run, tmp_path: Path):
    path = fake(tmp_path)
    status, text, _ = run(f"--list-options {path}")
    assert status == 0
    assert any(line.startswith("noise ") and "(0.001)" in line for line in text.splitlines())
    status, text, _ = run(f"--list-options {path} --json")
    assert status == 0
    assert {row["name"]: row["default"] for row in json.loads(text)["options"]}["noise"] == 0.001


def test_an_option_reaches_the_device_and_the_table(run, tmp_path: Path):
    out = tmp_path / "t.parquet"
    status, _, said = run(f"--device {fake(tmp_path)} {SMALL} --option network_scale=3.0 --option noise=0 --out {out}")
    assert status == 0, said
    table = LatencyTable.load(out)
    assert table.metadata.device["options"] == {"network_scale": 3.0, "noise": 0.0}
    assert table.metadata.calibration.scale > 2


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["noise"], "--option noise is no KEY=VALUE"),
        (["=1"], "is no KEY=VALUE"),
        (["nois=1"], r"has no option nois; known are .*noise"),
        (["noise=loud"], "--option noise=loud: noise is 'loud'; give a number"),
        (["noise=1", "noise=2"], "--option noise is given twice"),
        (["drift_is_told=perhaps"], "give true or false"),
    ],
)
def test_what_is_no_option_is_said_in_one_line(tmp_path: Path, texts: list[str], said: str):
    with pytest.raises(DeviceOptionError, match=said) as caught:
        read_options(load_spec(str(fake(tmp_path))), texts)
    assert len(str(caught.value).splitlines()) == 1


def test_a_wrong_option_ends_the_command_before_anything_is_opened(run, tmp_path: Path):
    status, out, said = run(f"--device cpu {SMALL} --option grapf=none --out {tmp_path / 't.parquet'}")
    assert (status, out) == (2, "")
    assert said.count("\n") == 1
    assert "has no option grapf" in said


def test_a_stop_rule_is_chosen_by_name_and_its_reason_is_in_the_rows(run, tmp_path: Path):
    out = tmp_path / "t.parquet"
    status, _, said = run(f"--device {fake(tmp_path)} {SMALL} --stop rounds,min_rounds=3 --out {out}")
    assert status == 0, said
    table = LatencyTable.load(out)
    assert {entry.reason for entry in table.entries} == {"all rounds"}
    assert {entry.rounds for entry in table.entries} == {3}
    assert table.metadata.sampling["stop"]["rule"] == "rounds"


def test_a_stop_rule_may_stand_in_the_device_s_file(run, tmp_path: Path):
    path, out = fake(tmp_path), tmp_path / "t.parquet"
    path.write_text(path.read_text() + '[sampling]\nstop = "precision,min_rounds=2,max_rounds=2,relative_ci=0.5"\n')
    status, _, said = run(f"--device {path} {SMALL} --out {out}")
    assert status == 0, said
    assert {entry.reason for entry in LatencyTable.load(out).entries} == {"precise"}
    path.write_text(path.read_text().replace("precision,", "entropy,"))
    status, _, said = run(f"--device {path} {SMALL} --out {out}")
    assert status == 2
    assert "unknown stop rule 'entropy'" in said
    assert str(path) in said


def test_a_session_goes_on_with_the_cores_it_had(tmp_path: Path):
    """Left to itself a device takes the quietest core, which may be another by now: the session would be refused."""
    cpu, target = load_spec("cpu"), Target(tmp_path / "cpu.parquet")
    assert _same_cores(cpu, target) == {}
    core = allowed_cores()[-1]
    journal = target.out.with_suffix(".journal")
    journal.write_text(json.dumps({"journal": 2, "about": {"device": {"kind": "cpu", "cores_used": [core]}}}) + "\n")
    assert _same_cores(cpu, target) == {"affinity": str(core)}
    assert _same_cores(replace(cpu, options={"affinity": "none"}), target) == {}
    for text in (
        json.dumps({"about": {"device": {"kind": "cpu", "cores_used": [4096]}}}),
        "{",
        "[1]",
        json.dumps({"about": 3}),
    ):
        journal.write_text(text + "\n")
        assert _same_cores(cpu, target) == {}
