"""Measure networks that exist as torch modules on a device by name: what `--verify` does."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devices import DeviceInfo, DeviceSpec, load_spec, open_backend
from devices.backend import Artefact, ArtefactFormat
from lut.table import TableMetadata
from profiler.artefacts import input_shape
from profiler.as_profiled import as_profiled, difference
from profiler.export_onnx import write_onnx
from profiler.export_tflite import export_tflite, file_precision
from profiler.measurement import Measurement
from profiler.modules import Network
from profiler.sampling import sampling_for
from profiler.session import Watcher
from profiler.verify import measure_files


@dataclass(frozen=True)
class OnDevice:
    """One measurement for each network, in order; the hardware, and with what it was measured.

    `runtime` is what the back-end says of itself, latencies are for `batch` images a call.
    """

    measurements: list[Measurement]
    device: DeviceInfo
    runtime: Mapping[str, Any]
    batch: int


def measure_networks(
    device: str,
    networks: Mapping[str, Network],
    *,
    table: TableMetadata | None = None,
    allow_mismatch: bool = False,
    tell: Callable[[str], None],
    watcher: Watcher | None = None,
    **options: Any,
) -> OnDevice:
    """Measure `networks` (eval mode) on the device of that name.

    They are converted to what the device's runtime takes, with the weights that they have, and measured in
    interleaved rounds. Batch, precision, threads and options are those of `table`, where it says them, so that
    its predictions can be judged; `tell` is told what differs all the same. `options` go to the back-end. Raises
    `UnknownDeviceError`, `DeviceMismatchError` unless `allow_mismatch`, `ExportError`, and what else the back-end
    raises.
    """
    spec = load_spec(device)
    if table is not None:
        spec, said = as_profiled(spec, table)
        options = {**said, **options}
    backend = open_backend(spec, **options)
    try:
        found, runtime = backend.device(), backend.runtime()
        if mismatch := spec.check(found, allow_mismatch=allow_mismatch):
            tell(f"going on though {mismatch}")
        if table is not None and (unlike := difference(table, found, runtime)):
            tell(unlike)
        with tempfile.TemporaryDirectory(prefix="pnag-verify-") as folder:
            artefacts = [
                _artefact(name, network, backend.artefact_format, spec, Path(folder) / str(index))
                for index, (name, network) in enumerate(networks.items())
            ]
            measured = measure_files(backend, artefacts, sampling=sampling_for(spec), watcher=watcher)
        return OnDevice(measured, found, runtime, spec.batch)
    finally:
        backend.close()


def _artefact(name: str, network: Network, format: ArtefactFormat, spec: DeviceSpec, stem: Path) -> Artefact:
    """The network in a back-end's format; files go beside `stem`."""
    shape = input_shape(network.specs, spec.batch)
    match format:
        case "onnx":
            path = stem.with_suffix(".onnx")
            write_onnx(network, shape, path)
        case "tflite":
            path = stem.with_suffix(".tflite")
            export_tflite(network, shape, path, file_precision(spec.precision))
            shape = (shape[0], *shape[2:], shape[1])
        case "torch":
            return Artefact(name, format, shape, module=network)
        case "specs":
            return Artefact(name, format, shape, module=network.specs)
    return Artefact(name, format, shape, path)
