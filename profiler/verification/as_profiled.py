"""A device set up as it was when a latency table was made: what is then measured may be compared with the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from devices import DeviceInfo, DeviceSpec, load_spec
from devices.errors import UnknownDeviceError
from lut.identity import unlike
from lut.table import TableMetadata
from profiler.build.suffixes import suffix_for

# Back-ends that run .tflite files, whose precision is that of the file.
_TFLITE = frozenset({"android", "litert"})
# What latencies depend on; a difference is told in this order.
_TELLING = ("version", "precision", "threads", "delegate", "core_mask", "provider", "mode", "memory_format", "l2",
            "spinning")  # fmt: skip


def as_profiled(spec: DeviceSpec, about: TableMetadata) -> tuple[DeviceSpec, Mapping[str, Any]]:
    """`spec` with what the table says in place of its own, and the options that the table's back-end was given.

    Batch and threads are the table's on any device. Precision and options are, where the device has the
    back-end that the table was made with; of other back-ends only those that run the same files take its
    precision, and cores mean something on the same device only. What the table does not say (it was imported)
    stays as it is in `spec`.
    """
    made_on = _backend_of(about, spec)
    same = made_on == spec.backend
    said: dict[str, Any] = {"batch": about.batch}
    if "threads" in about.runtime:
        said["threads"] = about.runtime["threads"]
    precision = about.runtime.get("precision")
    # A delegate's float16 is how it computes a float32 file: other back-ends compute that file as they do.
    if precision and (same or ({made_on, spec.backend} <= _TFLITE and precision != "float16")):
        said["precision"] = precision
    options = dict(about.device.get("options", {})) if same else {}
    if about.device.get("spec") != spec.name:
        options.pop("affinity", None)
    return replace(spec, **said), options


def _backend_of(about: TableMetadata, spec: DeviceSpec) -> str:
    """The back-end by which the table was made; empty if its device is not known here."""
    name = str(about.device.get("spec", ""))
    if name == spec.name:
        return spec.backend
    try:
        return load_spec(name).backend
    except UnknownDeviceError:
        return ""


def suffix_of(about: TableMetadata) -> str | None:
    """The suffix of the files whose latency the table is of; None where its runtime is not known (it was imported)."""
    return suffix_for(str(about.runtime.get("name", "")))


def difference(about: TableMetadata, found: DeviceInfo, runtime: Mapping[str, Any]) -> str | None:
    """What is unlike the table's measurements all the same, as a notice; None if nothing that is known is."""
    theirs = "the table's"
    here = {"kind": found.kind, "model": found.model, **found.fields}
    parts = [item.describe(theirs) for item in unlike(here, about.device)]
    names = _TELLING if about.runtime.get("name") == runtime.get("name") else ("name",)
    for name in names:
        value, made_with = runtime.get(name), about.runtime.get(name)
        if made_with not in (None, value):
            parts.append(f"{'runtime' if name == 'name' else name} {value} ({theirs}: {made_with})")
    return f"measured unlike the table: {', '.join(parts)}" if parts else None
