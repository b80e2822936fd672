"""`--check`: all that is missing or wrong, at once, and nothing is measured."""

import json
import os
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from devices import DeviceSpec, load_spec
from devices.backend import DeviceState
from devices.cuda import cards
from devices.locks import holder, holding
from profiler.cli_check import Finding, _of_state, check_device, look_at_places, tell
from tests.pnag.commands import MAIN, runner


def problems(spec: DeviceSpec, tmp_path: Path, **options: object) -> dict[str, str]:
    found = list(check_device(spec, options, out=tmp_path / "t.parquet", cache=tmp_path / "cache"))
    return {finding.subject: finding.problem for finding in found if finding.problem}


def test_a_device_that_is_ready(tmp_path, capsys):
    found = check_device(DeviceSpec("x", "x", "fake"), {}, out=tmp_path / "t.parquet", cache=tmp_path)
    assert tell({"x": found}, json=False) == 0
    assert capsys.readouterr().out.endswith("x: ready to be profiled\n")
    assert list(tmp_path.iterdir()) == []


def test_all_that_is_missing_is_said_together(tmp_path, monkeypatch, home, capsys):
    (tmp_path / "t.parquet").mkdir()
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 5 << 20}))
    wrong = problems(load_spec("android"), tmp_path, adb="127.0.0.1:1")
    assert wrong.keys() == {"table", "space", "tool", "way to the phone", "device"}
    assert "--benchmark-model" in wrong["tool"]
    assert "nothing listens at 127.0.0.1:1" in wrong["way to the phone"]


def test_what_answers_at_an_address_is_no_phone(tmp_path, home):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        threading.Thread(target=greet, args=(server, b"Android Console: type auth\r\n"), daemon=True).start()
        wrong = problems(load_spec("android"), tmp_path, adb=f"127.0.0.1:{port}")
    assert f"an emulator's console; give the port after it, {port + 1}" in wrong["way to the phone"]
    assert "--benchmark-model" in wrong["tool"]


def greet(server: socket.socket, words: bytes) -> None:
    for _ in range(2):
        connection, _ = server.accept()
        with connection:
            connection.sendall(words)


def test_phones_on_usb_are_looked_for(tmp_path, phone, home, usb):
    android = load_spec("android")
    assert "plug it in and turn on USB debugging" in problems(android, tmp_path)["way to the phone"]
    usb.attach("A1", phone)
    assert "way to the phone" not in problems(android, tmp_path)
    assert (
        "no phone with the serial B2 is on USB; there are A1"
        in problems(android, tmp_path, serial="B2")["way to the phone"]
    )


def test_a_phone_is_looked_at(tmp_path, phone, home, tool):
    phone.files.write("/sys/devices/system/cpu/online", "0-1\n")
    spec = replace(load_spec("snapdragon821"), match={"soc": "msm8996"})
    wrong = problems(spec, tmp_path, adb=phone.address, benchmark_model=str(tool))
    assert "soc is 'MSM8996pro'" in wrong["device"]
    assert "cores 2, 3 are off line" in wrong["cores"]
    assert not any("--graph" in command for command in phone.commands)


def test_where_files_go_is_looked_at_before_the_device_is_known(tmp_path, capsys, monkeypatch):
    mine = tmp_path / "mine.toml"
    mine.write_text(
        'name = "x"\nbackend = "fake"\nthreads = 0\nmatsch = 1\n[match]\nsoc = "("\n'
        '[options]\nsped = 1\nnoise = "loud"\n[sampling]\nblocks = 1\nblock_s = "long"\nmax_rounds = 0\n'
    )
    (tmp_path / "out").write_text("a file")
    run = runner(MAIN["pnag-profile"], capsys, monkeypatch)
    words = ["--out", tmp_path / "out" / "t.parquet", "--cache", tmp_path / "out"]
    ended = run("--device", mine, "--check", *words)
    assert ended.code == 3
    table, files, space, device, last = ended.out.splitlines()
    assert table.startswith("wrong  table: ")
    assert "choose another place by --cache" in files
    assert space.startswith("good")
    for fault in FAULTS:
        assert fault in device
    assert last == f"{mine}: 3 of 4 to be seen to"
    assert run("--device", mine, *words).says(*FAULTS)


FAULTS = (
    "unknown keys matsch",
    "lacks title",
    "threads is 0; give",
    "soc in [match] is '(', not a regular",
    "[options]: there is no option sped",
    "[options]: noise is 'loud'; give a number",
    "[sampling]: there is no key 'blocks'",
    "[sampling]: block_s is 'long'; give a number from 0 on",
    "[sampling]: max_rounds is 0; give a whole number from 1 on",
)


def test_what_was_asked_for_is_looked_at_with_the_device(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fake.toml").write_text('name = "x"\ntitle = "x"\nbackend = "fake"\n')
    (tmp_path / "page.html").mkdir()
    run = runner(MAIN["pnag-profile"], capsys, monkeypatch)
    words = ["--max-minutes", "0", "--stop", "soon", "--space", "abacus", "--option", "sped=1", "--report", "page.html"]
    ended = run("--device", "fake.toml", "--check", "--json", *words)
    assert ended.code == 3
    problems = " ".join(row["problem"] for row in ended.document["checks"] if row["problem"])
    for fault in (
        "--max-minutes 0",
        "stop rule 'soon'",
        "unknown space 'abacus'",
        "no option sped",
        "page.html",
    ):
        assert fault in problems
    assert {"subject": "runtime", "found": "fake 1", "problem": None} in ended.document["checks"]


def test_a_gpu_is_looked_for_before_torch_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(cards, "_open_driver", lambda: None)
    monkeypatch.setattr("profiler.cli_check.open_backend", lambda spec, **options: pytest.fail("torch is loaded"))
    wrong = problems(load_spec("cuda"), tmp_path)
    assert "driver (libcuda) is not here" in wrong["card"]
    assert wrong.keys() - {"load"} == {"card", "device"}


def test_findings_are_told_as_they_are_made(tmp_path, capsys):
    def slow():
        yield Finding("first", "found")
        assert capsys.readouterr().out == "good   first: found\n"
        yield Finding("second", "found")

    assert tell({"x": slow()}, json=False) == 0


def test_a_table_that_another_session_makes_is_named(tmp_path):
    assert holder(tmp_path / "t.lock") is None
    with holding(tmp_path / "t.lock", "it", "wait"):
        (found, *_) = look_at_places(tmp_path / "t.parquet", tmp_path)
        assert f"t.parquet is in use by process {os.getpid()}" in found.problem
    (tmp_path / "t.lock").write_text("left behind")
    assert holder(tmp_path / "t.lock") is None


def test_each_disk_needs_room_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 5 << 20}))
    findings = look_at_places(tmp_path / "t.parquet", tmp_path / "cache")
    assert [f.problem for f in findings if f.problem] == [
        f"5 MiB are free at {tmp_path}; make room for 305 MiB, or choose other places by --out and --cache"
    ]


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
    tell({"x": found}, json=True)
    assert json.loads(capsys.readouterr().out)["wrong"] == 0
    assert tell({"x": found, "y": [Finding("heat", problem="hot")]}, json=True) == 3
    assert [device["wrong"] for device in json.loads(capsys.readouterr().out)["devices"]] == [0, 1]
