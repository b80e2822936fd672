"""What a session over the zoo tells: the JSON document, which is the file too, and a table for a person."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lut.entry import Entry
from lut.files import replacing
from lut.table import LatencyTable
from lut.views.summary import align
from profiler.console import SCHEMA_VERSION
from profiler.zoo.network import ZooNetwork

_HEAD = ("network", "pixels", "MACs", "parameters", "published top-1", "latency", "±")
_TIME_UP = "the time was up before its turn"
_DEVICE = ("kind", "model", "spec", "options", "mismatch")


def rows_of(table: LatencyTable, networks: Sequence[ZooNetwork]) -> list[tuple[ZooNetwork, Entry]]:
    """Each network with its row, in the order given; those that the time did not suffice for have failed."""
    known = {entry.block: entry for entry in table.entries if entry.role != "block"}
    return [(network, known.get(network.name) or _cut_short(network.name)) for network in networks]


def _cut_short(name: str) -> Entry:
    return Entry("holdout", name, flags=("failed",), reason=_TIME_UP)


def zoo_document(table: LatencyTable, networks: Sequence[ZooNetwork], path: Path) -> dict[str, Any]:
    """The document of a session: device, runtime, and each network with its latency. Accuracies are 0 to 1."""
    about = table.metadata
    device = about.device
    facts = {name: value for name, value in device.items() if name not in _DEVICE}
    return {
        "zoo": str(path),
        "device": {
            "kind": device["kind"], "model": device["model"], "spec": device.get("spec"),
            "options": dict(device.get("options", {})), "mismatch": device.get("mismatch"), "facts": facts,
        },
        "runtime": dict(about.runtime),
        "batch": about.batch,
        "statistic": about.sampling["statistic"],
        "created": about.created,
        "tool_version": about.tool_version,
        "networks": [{**described(network), **_latency(entry)} for network, entry in rows_of(table, networks)],
        "quality": dict(about.sampling["quality"]),
        "notes": [note for note in about.notes if note],
        "seconds": round(sum(about.sampling["seconds"].values()), 2),
    }  # fmt: skip


def described(network: ZooNetwork) -> dict[str, Any]:
    """What is known of a network without measuring it."""
    macs, params = network.counted
    return {
        "name": network.name,
        "source": network.source,
        "resolution": network.resolution,
        "top1": network.top1,
        "retrained_top1": network.retrained_top1,
        "published": {"macs": None, "latency_ms": None, "measured_on": None} | dict(network.published or {}),
        "macs": macs,
        "params": params,
        "space": network.space or None,
        "architecture": network.architecture or None,
        "blocks": [spec.key for spec in network.blocks],
        "builder": network.builder or None,
    }


def _latency(entry: Entry) -> dict[str, Any]:
    if entry.failed:
        return {
            "latency_ms": None, "interval_ms": None, "p50_ms": None, "p90_ms": None, "rounds": 0, "flags": [],
            "failure": entry.reason or "not measured",
        }  # fmt: skip
    return {
        "latency_ms": entry.latency_ms,
        "interval_ms": [entry.ci_low_ms, entry.ci_high_ms],
        "p50_ms": entry.p50_ms,
        "p90_ms": entry.p90_ms,
        "rounds": entry.rounds,
        "flags": list(entry.flags),
        "failure": None,
    }


def save_zoo(document: Mapping[str, Any], path: Path) -> None:
    """Write the document, whole or not at all. Raises `OutputError`."""
    text = json.dumps({"schema_version": SCHEMA_VERSION, **_plain(dict(document))}, indent=1, allow_nan=False)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """JSON has no NaN: what is not known is null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# -- for a person -----------------------------------------------------------------------------------------


def zoo_text(document: Mapping[str, Any]) -> str:
    """What was measured: networks from the quickest to the slowest, then those that failed."""
    rows = sorted(document["networks"], key=lambda row: (row["latency_ms"] is None, row["latency_ms"] or 0.0))
    done = [row for row in rows if row["failure"] is None]
    runtime = document["runtime"]
    lines = [
        f"zoo       {document['zoo']}",
        f"device    {document['device']['model']}, {runtime['name']} {runtime['version']}, "
        f"{runtime['threads']} thread(s), batch {document['batch']}",
        f"networks  {len(done)} measured, {len(rows) - len(done)} failed; {document['statistic']} latencies, "
        f"{document['seconds']:.0f} s in all",
        "",
        *align([_HEAD, *map(_cells, done)], right=range(1, len(_HEAD))),
        *[f"failed    {row['name']}: {row['failure']}" for row in rows if row["failure"] is not None],
        *[f"note      {note}" for note in document["notes"]],
    ]  # fmt: skip
    return "\n".join(lines)


def list_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The networks of the zoo that have not been measured, as `--list-zoo` prints them."""
    head = ("network", "pixels", "MACs", "parameters", "published top-1", "from")
    return "\n".join(align([head, *((*_about(row), row["source"]) for row in rows)], right=range(1, len(head))))


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    low, high = row["interval_ms"]
    reach = "" if low is None or high is None else f"{(high - low) / 2 / row['latency_ms']:.1%}"
    return (*_about(row), f"{row['latency_ms']:.4g} ms", reach)


def _about(row: Mapping[str, Any]) -> tuple[str, ...]:
    macs, params = row["macs"], row["params"]
    return (
        row["name"],
        str(row["resolution"]),
        "" if macs is None else f"{macs / 1e6:.0f}M",
        "" if params is None else f"{params / 1e6:.2f}M",
        "" if row["top1"] is None else f"{row['top1']:.2%}",
    )
