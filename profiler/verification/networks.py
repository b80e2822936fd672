"""Measure networks that exist as torch modules on a device by name: what `--verify` does."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from torch import nn

from devices import DeviceInfo, DeviceSpec, load_spec, open_backend
from devices.backend import Artefact, ArtefactFormat
from lut.blocks import BlockSpec, parse_block
from lut.errors import BlockKeyError
from lut.table import LatencyTable
from profiler.build.artefacts import input_shape
from profiler.build.export_onnx import write_onnx
from profiler.build.export_tflite import export_tflite, file_precision
from profiler.build.modules import Network, build_network, randomise
from profiler.measure.measurement import Measurement
from profiler.measure.sampling import sampling_for
from profiler.measure.session import Watcher
from profiler.verification.as_profiled import as_profiled, difference
from profiler.verification.verify import measure_files

PATIENCE_S = 180.0  # of waiting for the device: a few networks are soon measured, and judged by what is found


@dataclass(frozen=True)
class OnDevice:
    """One measurement for each network, in order; the hardware, and with what it was measured.

    `runtime` is what the back-end says of itself, latencies are for `batch` images a call. `slowdown` is by how
    much a network (or block) of the table took longer than when the table was made, relative; None without a table
    of this device in the same setting.
    """

    measurements: list[Measurement]
    device: DeviceInfo
    runtime: Mapping[str, Any]
    batch: int
    slowdown: float | None = None


@dataclass(frozen=True)
class _Usual:
    """What the device is watched by: a network of the table, or its reference block, and what it took then."""

    name: str
    specs: tuple[BlockSpec, ...]
    latency_ms: float

    def module(self) -> nn.Module:
        """As it was measured for the table."""
        return randomise(build_network(self.specs))

    def __str__(self) -> str:
        return "a network of it" if len(self.specs) > 1 else f"block {self.name}"


def measure_networks(
    device: str,
    networks: Mapping[str, Network],
    *,
    table: LatencyTable | None = None,
    allow_mismatch: bool = False,
    tell: Callable[[str], None],
    watcher: Watcher | None = None,
    patience_s: float = PATIENCE_S,
    **options: Any,
) -> OnDevice:
    """Measure `networks` (eval mode) on the device of that name.

    They are converted to what the device's runtime takes, with the weights that they have, and measured in
    interleaved rounds. Batch, precision, threads and options are those of `table`, where it says them, so that
    its predictions can be judged; `tell` is told what differs all the same. A device that the table is of is
    watched by one of the table's networks, since what slows networks down (caches that others use too) a single
    block does not feel; it is waited for while it is slower than it was then, `patience_s` in all or what its
    sampling says if that is more, and `tell` is told if it stayed so. `options` go to the back-end. Raises
    `UnknownDeviceError`, `DeviceMismatchError` unless `allow_mismatch`, `ExportError`, and what else the back-end
    raises.
    """
    spec = load_spec(device)
    if table is not None:
        spec, said = as_profiled(spec, table.metadata)
        options = {**said, **options}
    backend = open_backend(spec, **options)
    try:
        found, runtime = backend.device(), backend.runtime()
        if mismatch := spec.check(found, allow_mismatch=allow_mismatch):
            tell(f"going on though {mismatch}")
        usual = None
        if table is not None:
            if unlike := difference(table.metadata, found, runtime):
                tell(unlike)
            else:
                usual = _usual(table)
        sampling = sampling_for(spec)
        sampling = replace(sampling, max_wait_s=max(sampling.max_wait_s, patience_s))
        with tempfile.TemporaryDirectory(prefix="pnag-verify-") as folder:
            make = partial(_artefact, format=backend.artefact_format, spec=spec)
            artefacts = [
                make(name, network, network.specs, Path(folder) / str(index))
                for index, (name, network) in enumerate(networks.items())
            ]
            watch = None
            if usual is not None:
                watch = make(usual.name, usual.module(), usual.specs, Path(folder) / "watch")
            measured = measure_files(
                backend,
                artefacts,
                reference=watch,
                usual_ms=usual.latency_ms if usual else math.inf,
                sampling=sampling,
                watcher=watcher,
            )
        slowdown = _slowdown(measured, usual)
        if usual and slowdown is not None and slowdown > sampling.drift_limit:
            tell(
                f"the device was {slowdown:.0%} slower than when the table was made ({usual}, "
                f"{usual.latency_ms:.4g} ms then), and so were the networks; end what else runs on it, let it cool, "
                "and measure again"
            )
        return OnDevice(measured, found, runtime, spec.batch, slowdown)
    finally:
        backend.close()


def _usual(table: LatencyTable) -> _Usual | None:
    """The table's network of median latency, else its reference block; None where it has neither (it was imported)."""
    networks = [row for role in ("calibration", "holdout") for row in table.networks(role) if row.blocks]
    if networks:
        row = sorted(networks, key=lambda row: row.latency_ms)[len(networks) // 2]
        name, keys, latency_ms = row.block, row.blocks, row.latency_ms
    else:
        quality = table.metadata.sampling.get("quality", {})
        name, latency_ms = quality.get("reference_block"), quality.get("reference_ms")
        keys = (name,)
        if not isinstance(name, str) or not latency_ms:
            return None
    try:
        return _Usual(name, tuple(map(parse_block, keys)), float(latency_ms))
    except BlockKeyError:
        return None


def _slowdown(measured: Sequence[Measurement], usual: _Usual | None) -> float | None:
    """The reference at the visits that count, against what is usual, relative."""
    readings = [visit.reference_ms for measurement in measured for visit in measurement.used]
    readings = [reading for reading in readings if math.isfinite(reading)]
    return median(readings) / usual.latency_ms - 1 if usual and readings else None


def _artefact(
    name: str, module: nn.Module, specs: Sequence[BlockSpec], stem: Path, *, format: ArtefactFormat, spec: DeviceSpec
) -> Artefact:
    """A module in a back-end's format; files go beside `stem`."""
    shape = input_shape(specs, spec.batch)
    match format:
        case "onnx":
            path = stem.with_suffix(".onnx")
            write_onnx(module, shape, path)
        case "tflite":
            path = stem.with_suffix(".tflite")
            export_tflite(module, shape, path, file_precision(spec.precision))
            shape = (shape[0], *shape[2:], shape[1])
        case "torch":
            return Artefact(name, format, shape, module=module)
        case "specs":
            return Artefact(name, format, shape, module=tuple(specs))
    return Artefact(name, format, shape, path)
