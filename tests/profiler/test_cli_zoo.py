"""`pnag-profile --zoo` as a user types it, on the fake device."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.json_documents import assert_documented
from tests.pnag.commands import MAIN, Ended, runner

DEVICE = 'name = "fake"\ntitle = "fake device"\nbackend = "fake"\n'
ONLY = "pnag-cpu-3*,note10_lat-8ms*"


@pytest.fixture
def profile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Ended]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fake.toml").write_text(DEVICE)
    run = runner(MAIN["pnag-profile"], capsys, monkeypatch)
    return lambda *words: run("--device", "fake.toml", *words)


def test_the_file_is_written_beside_the_tables_and_is_the_document(profile: Callable[..., Ended]) -> None:
    ended = profile("--zoo-only", ONLY, "--json")
    assert ended.code == 0, ended.err
    assert_documented("pnag-profile --zoo", ended.document)
    path = Path("lut/fake-zoo.json")
    assert json.loads(path.read_text()) == ended.document
    assert [row["resolution"] for row in ended.document["networks"]] == [224, 224, 160]
    assert sorted(file.name for file in Path("lut").iterdir()) == ["fake-zoo.json"]


def test_a_person_sees_a_table(profile: Callable[..., Ended]) -> None:
    ended = profile("--zoo-only", ONLY, "--out", "mine.json")
    assert ended.code == 0, ended.err
    assert "3 networks of the zoo" in ended.err
    assert "3 measured, 0 failed" in ended.out
    assert Path("mine.json").exists()


def test_a_lost_connection_leaves_what_was_measured_and_the_next_run_goes_on(profile: Callable[..., Ended]) -> None:
    Path("fake.toml").write_text(DEVICE + "[options]\nlose_at = 40\n")
    assert profile("--zoo-only", ONLY).code == 3
    assert Path("lut/fake-zoo.journal").exists()
    Path("fake.toml").write_text(DEVICE)
    ended = profile("--zoo-only", ONLY, "--json")
    assert ended.document["quality"]["resumed_visits"] > 0
    assert not Path("lut/fake-zoo.journal").exists()


def test_a_network_that_fails_is_a_row_with_its_reason(profile: Callable[..., Ended]) -> None:
    Path("fake.toml").write_text(DEVICE + "[options]\nfail_load = 'pnag-cpu-30'\n")
    ended = profile("--zoo-only", ONLY, "--json")
    assert ended.code == 0, ended.err
    failures = {row["name"]: row["failure"] for row in ended.document["networks"]}
    assert failures.pop("pnag-cpu-30") == "the fake device refuses pnag-cpu-30"
    assert set(failures.values()) == {None}


def test_the_zoo_is_listed_without_a_device(profile: Callable[..., Ended]) -> None:
    ended = profile("--list-zoo", "--json")
    assert_documented("pnag-profile --list-zoo", ended.document)
    assert len(ended.document["networks"]) == 56
    assert all(row["macs"] > 5e7 and row["params"] > 2e6 for row in ended.document["networks"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--zoo-only", "abacus"), "'abacus' is no network of the zoo; give names"),
        (("--zoo", "--resolution", "192"), "--resolution 192 is for the blocks of a space"),
        (("--zoo", "--space", "ofa-mbv3-w1.0"), "--space ofa-mbv3-w1.0 is for the blocks of a space"),
        (("--zoo", "--holdout", "3"), "--holdout 3 is for the blocks of a space"),
    ],
)
def test_what_does_not_go_with_the_zoo_is_refused(
    profile: Callable[..., Ended], words: tuple[str, ...], says: str
) -> None:
    ended = profile(*words)
    assert (ended.code, ended.out) == (2, "")
    assert says in ended.err.replace("\n", " ")
    assert not Path("lut").exists()
