"""A model card beside a model file, as model hubs read it: facts in the front matter, and the same for a person.

All but what was measured after the file was written comes from the file's own description. Source of the front
matter's keys: Hugging Face, Model Cards, "Model card metadata".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from lut.files import replacing
from pnag.delivery.metadata import read_metadata
from pnag.search.limits import shown
from pnag.space.architecture import Architecture
from pnag.space.search_space import SearchSpace

UNKNOWN_LICENSE = "unknown"
_LIBRARIES = {"tflite": "tflite", "onnx": "onnx", "pt2": "pytorch"}


def card_path(model: Path) -> Path:
    """Where the card of a file lies: `model.tflite.md`."""
    return model.with_name(f"{model.name}.md")


def save_card(row: Mapping[str, Any], report: Mapping[str, Any]) -> Path:
    """Write the card of an exported file, whole or not at all; `row` and `report` are those of the command's document.

    Raises `ModelFileError` if the file cannot be read, `OutputError`.
    """
    model = Path(report["path"])
    path = card_path(model)
    with replacing(path) as temporary:
        temporary.write_text(card_text(read_metadata(model), row, report), encoding="utf-8")
    return path


def card_text(about: Mapping[str, Any], row: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    """The card from a file's description, and from what its measurement and its export said."""
    front = yaml.safe_dump(_front_matter(about, row, report), sort_keys=False, allow_unicode=True, width=1000)
    parts = (
        f"---\n{front}---",
        f"# {Path(report['path']).name}",
        _summary(about),
        _section("Accuracy", _accuracy(about)),
        _section("Latency", _latency(about, row)),
        _section("Input and output", _ends(about, report)),
        _section("Licence and data", _rights(about)),
        _section("Where it comes from", _history(about, report)),
    )
    return "\n\n".join(parts) + "\n"


def _front_matter(about: Mapping[str, Any], row: Mapping[str, Any], report: Mapping[str, Any]) -> dict[str, Any]:
    data = about.get("data") or (about["ranking"] or {}).get("images")
    front: dict[str, Any] = {
        "license": about.get("license") or UNKNOWN_LICENSE,
        "library_name": _LIBRARIES[report["format"]],
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "neural-architecture-search", "latency", report["format"]],
    }
    if about.get("data"):
        front["datasets"] = [about["data"]]
    metrics = [*_accuracy_metric(about), *_latency_metrics(about, row)]
    if metrics:
        task = {"type": "image-classification", "name": "Image classification"}
        result = {"task": task, "dataset": {"name": data or "none", "type": data or "none"}, "metrics": metrics}
        front["model-index"] = [{"name": Path(report["path"]).stem, "results": [result]}]
    return front


def _accuracy_metric(about: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    if about["accuracy"] is not None:
        yield {"type": "accuracy", "value": round(about["accuracy"], 6), "name": str(about["accuracy_source"])}


def _latency_metrics(about: Mapping[str, Any], row: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """Latency as it was measured, and as the table predicts it for files such as this one, in ms."""
    if not about.get("matches_table"):
        return
    if row.get("measured_ms") is not None:
        name = f"latency in ms, measured on {row['device']}, {_measured_with(row)}"
        yield {"type": "latency", "value": round(row["measured_ms"], 4), "name": name}
    if about["cost_ms"] is not None:
        name = f"latency in ms, predicted for {about['device'] or 'an unknown device'}, {_table_with(about)}"
        yield {"type": "latency", "value": round(about["cost_ms"], 4), "name": name}


def _table_with(about: Mapping[str, Any]) -> str:
    return _how({**(about.get("runtime") or {}), "batch": about.get("batch")})


def _measured_with(row: Mapping[str, Any]) -> str:
    return _how(row["measured_with"])


def _how(known: Mapping[str, Any]) -> str:
    """Runtime, precision, threads and batch, as far as they are known."""
    words = [str(known[name]) for name in ("name", "version", "precision") if known.get(name)]
    words += [f"{name} {known[name]}" for name in ("threads", "batch") if known.get(name)]
    return ", ".join(words) or "in an unknown way"


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}"


def _summary(about: Mapping[str, Any]) -> str:
    space = SearchSpace.from_dict(about["space"])
    architecture = Architecture.parse(about["architecture"])
    blocks = space.decompose(architecture)
    parameters, macs = (sum(getattr(block, name) for block in blocks) / 1e6 for name in ("params", "macs"))
    return (
        f"An image classifier: {space.classes} classes, images of {space.resolution} x {space.resolution} pixels, "
        f"{parameters:.2f} million parameters, {macs:.0f} million multiply-accumulates. The architecture was generated "
        f"by {about['tool']} for a latency budget, in the space {space.name}:\n\n    {architecture}"
    )


def _accuracy(about: Mapping[str, Any]) -> str:
    if about["weights"] == "untrained":
        first = "None: the weights are untrained, which is good for measuring latency and for nothing else."
    elif about["accuracy"] is None:
        first = "Not measured for these weights."
    else:
        first = f"{about['accuracy']:.2%}, {about['accuracy_source']}."
    ranking = about["ranking"]
    if ranking is None:
        return first
    images = ranking["images"] or "images that are not named"
    return (
        f"{first}\n\nAmong other networks it was chosen by a predicted accuracy of {ranking['accuracy']:.2%}, with a "
        f"typical error of {ranking['error']:.2%} ({images}, {ranking['how']}). That is no accuracy of this file."
    )


def _latency(about: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    lines = []
    if row.get("measured_ms") is not None:
        low, high = row["measured_interval_ms"]
        of = "this file" if row.get("measured_file") else "the network"
        verdict = "kept" if row["kept"] else "not kept"
        lines.append(
            f"- measured on {row['device']} ({_measured_with(row)}), {of}: {row['measured_ms']:.4g} ms "
            f"(95 % interval {low:.4g} to {high:.4g}); the budget of {row['budget_ms']:g} ms is {verdict}"
        )
    if about["cost_ms"] is not None:
        lines.append(
            f"- predicted from the latency table of {about['device'] or 'an unknown device'} ({_table_with(about)}): "
            f"{about['cost_ms']:.4g} ms, for a budget of {about['budget_ms']:g} ms"
        )
    if not about.get("matches_table"):
        lines.append(f"- {about.get('latency') or 'not measured for this file'}")
    for limit in row.get("limits", ())[1:]:
        cost, most = (shown(limit[name], limit["unit"]) for name in ("cost", "most"))
        lines.append(f"- limit kept too, {limit['name']}: {cost} of {most}")
    return "\n".join(lines)


def _ends(about: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    image, names = about["input"], about["labels"]
    labels = f"{len(names)} names of classes are in the file" if names else "the file names no classes"
    return (
        f"- input: {about['layout']}, {image['channels']}, batch {about['input_shape'][0]}, values of 0 to 1 less the "
        f"mean {json.dumps(image['mean'])}, divided by {json.dumps(image['std'])}\n"
        f"- output: a score for each class before softmax; {labels}\n"
        f"- file: {report['bytes'] / 1e6:.2f} MB, {report['precision']}"
    )


def _rights(about: Mapping[str, Any]) -> str:
    license_ = about.get("license")
    rights = (
        f"Licence: {license_}." if license_ else "The licence of the weights is not known: who trained them decides."
    )
    data = about.get("data")
    if about["weights"] == "untrained":
        return f"{rights} The weights have seen no data."
    return (
        f"{rights} The weights were trained on {data}." if data else f"{rights} What they were trained on is not known."
    )


def _history(about: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    hashes = {"this file": report["sha256"], **about["sha256"]}
    return "\n".join(f"- SHA-256 of {what}: `{digest}`" for what, digest in hashes.items())
