"""The zoo's file: what was measured comes back, and what is none of it is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from profiler.zoo.file import read_zoo
from profiler.zoo.network import ZooError
from profiler.zoo.report import described, list_text, save_zoo, zoo_document, zoo_text
from tests.profiler.zoo.test_session import ALL, LARGE, SMALL, run

SOME = (SMALL, LARGE)


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("zoo")
    return zoo_document(run(folder, SOME, fail_run="^large"), SOME, folder / "zoo.json")


def saved(document: dict[str, Any], path: Path) -> Path:
    save_zoo(document, path)
    return path


def test_what_was_measured_comes_back(document: dict[str, Any], tmp_path: Path) -> None:
    zoo = read_zoo(saved(document, tmp_path / "zoo.json"))
    small, large = zoo.rows
    assert small.network.blocks == SMALL.blocks
    assert (small.network.name, small.network.top1, small.network.resolution) == ("small", 0.71, 224)
    assert small.latency_ms == document["networks"][0]["latency_ms"]
    assert small.interval_ms == tuple(document["networks"][0]["interval_ms"])
    assert (large.latency_ms, "failed to run large" in large.failure) == (None, True)
    assert (zoo.device.kind, zoo.device.model, zoo.device.fields["cpu_model"]) == ("fake", "fake device", "fake")
    assert (zoo.runtime["name"], zoo.batch) == ("fake", 1)


def test_a_person_sees_the_quickest_first_and_what_failed_last(document: dict[str, Any]) -> None:
    lines = zoo_text(document).splitlines()
    assert "1 measured, 1 failed" in lines[2]
    assert lines[5].split()[:5] == ["small", "224", f"{SMALL.counted[0] / 1e6:.0f}M", f"{SMALL.counted[1] / 1e6:.2f}M",
                                    "71.00%"]  # fmt: skip
    assert lines[-1].startswith("failed    large: ")


def test_a_list_needs_no_device() -> None:
    lines = list_text([described(network) for network in SOME]).splitlines()
    assert [line.split()[0] for line in lines] == ["network", "small", "large"]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda d: d.update(schema_version=99), "has schema_version 99, not 1"),
        (lambda d: d.pop("zoo"), "is no measured zoo; give the file that pnag-profile --zoo writes"),
        (lambda d: d.pop("device"), "is damaged .'device'."),
        (lambda d: d["networks"][0].update(latency_ms=-1), "is damaged .-1 is no latency"),
        (lambda d: d["networks"][0].update(top1=71.2), "is damaged .71.2 is no accuracy"),
        (lambda d: d["networks"][0].update(blocks=["a"]), "is damaged .*'a' is not"),
        (lambda d: d["networks"][0].update(blocks=[]), "small is made of nothing"),
        (lambda d: d["networks"][0].update(interval_ms=[1.0]), "is damaged"),
        (lambda d: d["networks"].append(d["networks"][0]), "two networks of one name"),
    ],
)
def test_a_spoilt_file_is_refused_in_one_line(
    document: dict[str, Any], tmp_path: Path, spoil: Callable[[dict[str, Any]], Any], says: str
) -> None:
    path = saved(document, tmp_path / "zoo.json")
    values = json.loads(path.read_text())
    spoil(values)
    path.write_text(json.dumps(values))
    with pytest.raises(ZooError, match=says) as refused:
        read_zoo(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("text", "says"), [("", "is no JSON"), ("[1]", "is no measured zoo"), ("{", "is no JSON")])
def test_what_is_no_zoo_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ZooError, match=says):
        read_zoo(tmp_path / "x.json")
    with pytest.raises(ZooError, match=r"cannot read .*none.json: No such file"):
        read_zoo(tmp_path / "none.json")


def test_the_network_of_torchvision_is_told_by_its_builder() -> None:
    assert described(ALL[2])["builder"] == "squeezenet1_1"
    assert described(ALL[2])["blocks"] == []
