"""`--check`: all that is missing or wrong, at once, and nothing is measured."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from devices import DeviceSpec, load_spec
from devices.backend import DeviceState
from profiler.cli_check import _of_state, check_device, tell


def problems(spec: DeviceSpec, tmp_path: Path, **options: object) -> dict[str, str]:
    found = check_device(spec, options, out=tmp_path / "t.parquet", cache=tmp_path / "cache")
    return {finding.subject: finding.problem for finding in found if finding.problem}


def test_a_device_that_is_ready(tmp_path, capsys):
    found = check_device(DeviceSpec("x", "x", "fake"), {}, out=tmp_path / "t.parquet", cache=tmp_path)
    assert tell(found, "x", json=False) == 0
    assert capsys.readouterr().out.endswith("x: ready to be profiled\n")
    assert list(tmp_path.iterdir()) == []


def test_all_that_is_missing_is_said_together(tmp_path, monkeypatch, home, capsys):
    (tmp_path / "t.parquet").mkdir()
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 5 << 20}))
    wrong = problems(load_spec("android"), tmp_path, adb="127.0.0.1:1")
    assert wrong.keys() == {"table", "space", "tool", "way to the phone", "device"}
    assert "--benchmark-model" in wrong["tool"]
    assert "nothing listens at 127.0.0.1:1" in wrong["way to the phone"]


def test_a_phone_is_looked_at(tmp_path, phone, home, tool):
    phone.files.write("/sys/devices/system/cpu/online", "0-1\n")
    spec = replace(load_spec("snapdragon821"), match={"soc": "msm8996"})
    wrong = problems(spec, tmp_path, adb=phone.address, benchmark_model=str(tool))
    assert "soc is 'MSM8996pro'" in wrong["device"]
    assert "cores 2, 3 are off line" in wrong["cores"]
    assert not any("--graph" in command for command in phone.commands)


@pytest.mark.parametrize(
    ("state", "fields", "subject"),
    [
        (DeviceState(temperature_c=44.0), {}, "heat"),
        (DeviceState(throttled=True), {}, "clock"),
        (DeviceState(load=2.0), {}, "load"),
        (DeviceState(), {"governor": "powersave"}, "governor"),
        (DeviceState(details={"battery_percent": 9, "charging": False}), {}, "battery"),
    ],
)
def test_what_disturbs_is_named(state, fields, subject):
    assert [finding.subject for finding in _of_state("phone", fields, state) if finding.problem] == [subject]


def test_json_is_one_document(tmp_path, capsys):
    found = check_device(DeviceSpec("x", "x", "fake"), {}, out=tmp_path / "t.parquet", cache=tmp_path)
    tell(found, "x", json=True)
    assert json.loads(capsys.readouterr().out)["wrong"] == 0
