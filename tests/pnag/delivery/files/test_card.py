"""Model cards: what hubs read, and what people read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pnag.delivery.files.card import card_path, card_text, save_card
from pnag.delivery.metadata import describe_network, to_text
from pnag.space.spaces import load_space

SPACE = load_space("ofa-mbv3-w0.25", resolution=64, classes=3)
RANKING = {"kind": "predicted", "accuracy": 0.81, "error": 0.004, "images": "ImageNet", "how": "asked"}
RUNTIME = {"name": "litert", "version": "2.1", "precision": "float32", "threads": 2}
MEASURED = {
    "budget_ms": 25.0, "measured_ms": 24.1, "measured_interval_ms": [23.9, 24.3], "kept": True, "device": "Pixel 8",
    "measured_with": {"batch": 1, "threads": 2, "precision": "float32"}, "measured_file": "net.tflite",
}  # fmt: skip
REPORT = {"path": "net.tflite", "format": "tflite", "precision": "float32", "bytes": 4_200_000, "sha256": "e" * 64}


def about(**changes: Any) -> dict[str, Any]:
    known: dict[str, Any] = {
        "trained": True, "labels": ("a", "b", "c"), "budget_ms": 25.0, "cost_ms": 23.5, "device": "Pixel 8",
        "accuracy": 0.7512, "accuracy_source": "measured on cats, 900 images", "ranking": RANKING, "runtime": RUNTIME,
        "data": "cats", "license": "cc-by-4.0", "hashes": {"table": "a" * 64},
    }  # fmt: skip
    described = describe_network(SPACE.extremes()[0], SPACE, **(known | changes))
    written = {"format": "tflite", "precision": "float32", "layout": "NHWC", "input_shape": [1, 3, 64, 64], "batch": 1,
               "tool": "pnag 0.1.0", "matches_table": True}  # fmt: skip
    return json.loads(json.dumps(described | written))


def front_of(text: str) -> dict[str, Any]:
    assert text.startswith("---\n")
    return yaml.safe_load(text.split("---\n")[1])


def test_hubs_find_accuracy_and_latency_with_device_runtime_and_precision() -> None:
    front = front_of(card_text(about(), MEASURED, REPORT))
    assert (front["license"], front["library_name"], front["datasets"]) == ("cc-by-4.0", "tflite", ["cats"])
    assert front["pipeline_tag"] == "image-classification"
    (model,) = front["model-index"]
    (result,) = model["results"]
    accuracy, measured, predicted = result["metrics"]
    assert (accuracy["type"], accuracy["value"]) == ("accuracy", 0.7512)
    assert (measured["type"], measured["value"]) == ("latency", 24.1)
    assert measured["name"] == "latency in ms, measured on Pixel 8, float32, threads 2, batch 1"
    assert predicted["value"] == 23.5
    assert predicted["name"].endswith("predicted for Pixel 8, litert, 2.1, float32, threads 2, batch 1")


def test_untrained_weights_claim_no_accuracy() -> None:
    text = card_text(about(trained=False, accuracy=None, accuracy_source=None, data=None, license=None), {}, REPORT)
    front = front_of(text)
    assert front["license"] == "unknown"
    assert "datasets" not in front
    assert [metric["type"] for metric in front["model-index"][0]["results"][0]["metrics"]] == ["latency"]
    assert "None: the weights are untrained" in text
    assert "The weights have seen no data." in text


def test_a_file_that_the_table_is_not_of_claims_no_latency() -> None:
    other = about() | {"matches_table": False, "latency": "not measured for this file: the table is of litert int8"}
    text = card_text(other, MEASURED, REPORT)
    metrics = front_of(text)["model-index"][0]["results"][0]["metrics"]
    assert [metric["type"] for metric in metrics] == ["accuracy"]
    assert "- not measured for this file: the table is of litert int8" in text


def test_a_person_finds_how_it_was_measured_what_goes_in_and_where_it_comes_from() -> None:
    row: dict[str, Any] = MEASURED | {
        "limits": [{}, {"name": "parameters", "cost": 4.2e6, "most": 5e6, "unit": "parameters"}]
    }
    text = card_text(about(), row, REPORT)
    assert "75.12%, measured on cats, 900 images." in text
    assert (
        "(float32, threads 2, batch 1), this file: 24.1 ms (95 % interval 23.9 to 24.3); the budget of 25 ms is kept"
        in text
    )
    assert "limit kept too, parameters: 4.2M parameters of 5M parameters" in text
    assert "That is no accuracy of this file." in text
    assert "NHWC, RGB, batch 1, values of 0 to 1 less the mean [0.485, 0.456, 0.406]" in text
    assert f"SHA-256 of table: `{'a' * 64}`" in text
    parameters = sum(block.params for block in SPACE.decompose(SPACE.extremes()[0]))
    assert f"{parameters / 1e6:.2f} million parameters" in text


@pytest.mark.parametrize("data", [None, "cats"])
def test_what_weights_were_trained_on_is_said_or_not_known(data: str | None) -> None:
    text = card_text(about(data=data), {}, REPORT)
    assert ("The weights were trained on cats." in text) == (data is not None)
    assert ("What they were trained on is not known." in text) == (data is None)


def test_a_card_lies_beside_its_file_with_the_files_own_facts(tmp_path: Path) -> None:
    model = tmp_path / "net.json"
    model.write_text(to_text(about(accuracy=0.5)))
    path = save_card({}, REPORT | {"path": str(model)})
    assert path == card_path(model) == tmp_path / "net.json.md"
    assert front_of(path.read_text())["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.5
