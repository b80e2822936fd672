"""The zoo's file, read back: on which device, and each network with its latency there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devices.backend import DeviceInfo
from lut.blocks import parse_block
from lut.errors import LutError
from lut.formats.canonical import parse_json
from lut.table import TableMetadata
from lut.words import printable
from profiler.console import SCHEMA_VERSION
from profiler.verification.as_profiled import difference
from profiler.zoo.network import ZooError, ZooNetwork

_MOST_BYTES = 16 << 20


@dataclass(frozen=True)
class ZooRow:
    """A network and what it took, in ms; `latency_ms` is None where it failed, for the reason `failure`."""

    network: ZooNetwork
    latency_ms: float | None
    interval_ms: tuple[float, float] | None
    failure: str = ""


@dataclass(frozen=True)
class Zoo:
    """A measured zoo. `runtime` is what the back-end said of itself."""

    path: Path
    device: DeviceInfo
    runtime: Mapping[str, Any]
    batch: int
    created: str
    rows: tuple[ZooRow, ...]

    def unlike(self, about: TableMetadata) -> str | None:
        """In what it was measured unlike a table, in words; None if in nothing that is known."""
        said = difference(about, self.device, self.runtime)
        if said is None and self.batch != about.batch:
            said = f"measured unlike the table: batch {self.batch} (the table's: {about.batch})"
        return said


def read_zoo(path: Path) -> Zoo:
    """Read what `pnag-profile --zoo` wrote. Raises `ZooError` for anything else, in one line."""
    remedy = "give the file that pnag-profile --zoo writes"
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ZooError(f"{printable(path)} is larger than {_MOST_BYTES >> 20} MiB, as no zoo is; {remedy}")
        document = parse_json(path.read_bytes())
    except OSError as error:
        raise ZooError(f"cannot read {printable(path)}: {error.strerror or error}; {remedy}") from error
    except ValueError as error:
        raise ZooError(f"{printable(path)} is no JSON ({printable(error, 80)}); {remedy}") from error
    if not isinstance(document, Mapping) or "zoo" not in document:
        raise ZooError(f"{printable(path)} is no measured zoo; {remedy}")
    if document.get("schema_version") != SCHEMA_VERSION:
        version = printable(document.get("schema_version"), 20)
        raise ZooError(f"{printable(path)} has schema_version {version}, not {SCHEMA_VERSION}; measure the zoo again")
    try:
        return _zoo(path, document)
    except (KeyError, TypeError, ValueError, AttributeError, LutError) as error:
        raise ZooError(f"{printable(path)} is damaged ({printable(error, 120)}); measure the zoo again") from error


def _zoo(path: Path, document: Mapping[str, Any]) -> Zoo:
    device = document["device"]
    rows = tuple(_row(row) for row in document["networks"])
    names = [row.network.name for row in rows]
    if len(set(names)) < len(names):
        raise ValueError("two networks of one name")
    return Zoo(
        path,
        DeviceInfo(str(device["kind"]), str(device["model"]), dict(device["facts"])),
        dict(document["runtime"]),
        _whole(document["batch"]),
        str(document["created"]),
        rows,
    )


def _row(values: Mapping[str, Any]) -> ZooRow:
    network = ZooNetwork(
        name=_text(values["name"]),
        source=_text(values["source"]),
        resolution=_whole(values["resolution"]),
        top1=_share(values["top1"]),
        retrained_top1=_share(values["retrained_top1"]),
        blocks=tuple(parse_block(_text(key)) for key in values["blocks"]),
        builder=_text(values["builder"] or ""),
        architecture=_text(values["architecture"] or ""),
        space=_text(values["space"] or ""),
        published=dict(values["published"]),
    )
    if not network.blocks and not network.builder:
        raise ValueError(f"{printable(network.name, 40)} is made of nothing")
    latency_ms, interval = values["latency_ms"], values["interval_ms"]
    if latency_ms is None:
        return ZooRow(network, None, None, _text(values["failure"]))
    known = None if interval is None or None in interval else _interval(interval)
    return ZooRow(network, _time(latency_ms), known)


def _interval(values: Sequence[Any]) -> tuple[float, float]:
    low, high = map(_time, values)
    return low, high


def _time(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"{printable(repr(value)[:80], 40)} is no latency")
    return float(value)


def _share(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{printable(repr(value)[:80], 40)} is no accuracy")
    return float(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 1 << 20:
        raise ValueError(f"{printable(repr(value)[:80], 40)} is no whole number above zero")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{printable(repr(value)[:80], 40)} stands in the place of a name")
    return value
