"""Measure networks that exist as torch modules on a device by name: what `--verify` does."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from devices import DeviceInfo, load_spec, open_backend
from devices.backend import Artefact, ArtefactFormat
from profiler.artefacts import input_shape
from profiler.export_onnx import write_onnx
from profiler.export_tflite import export_tflite
from profiler.measurement import Measurement
from profiler.modules import Network
from profiler.sampling import sampling_for
from profiler.session import Watcher
from profiler.verify import measure_files


def measure_networks(
    device: str,
    networks: Mapping[str, Network],
    *,
    allow_mismatch: bool = False,
    tell: Callable[[str], None],
    watcher: Watcher | None = None,
    **options: Any,
) -> tuple[list[Measurement], DeviceInfo]:
    """Measure `networks` (eval mode) on the device of that name; one measurement each, in order, and the hardware.

    They are converted to what the device's runtime takes, with the weights that they have, and measured in
    interleaved rounds. `options` go to the back-end. Raises `UnknownDeviceError`, `DeviceMismatchError` unless
    `allow_mismatch`, `ExportError`, and what else the back-end raises.
    """
    spec = load_spec(device)
    backend = open_backend(spec, **options)
    try:
        found = backend.device()
        mismatch = spec.check(found, allow_mismatch=allow_mismatch)
        if mismatch:
            tell(f"going on though {mismatch}")
        with tempfile.TemporaryDirectory(prefix="pnag-verify-") as folder:
            artefacts = [
                _artefact(name, network, backend.artefact_format, spec.batch, Path(folder) / str(index))
                for index, (name, network) in enumerate(networks.items())
            ]
            return measure_files(backend, artefacts, sampling=sampling_for(spec), watcher=watcher), found
    finally:
        backend.close()


def _artefact(name: str, network: Network, format: ArtefactFormat, batch: int, stem: Path) -> Artefact:
    """The network in a back-end's format; files go beside `stem`."""
    shape = input_shape(network.specs, batch)
    match format:
        case "onnx":
            path = stem.with_suffix(".onnx")
            write_onnx(network, shape, path)
        case "tflite":
            path = stem.with_suffix(".tflite")
            export_tflite(network, shape, path)
            shape = (shape[0], *shape[2:], shape[1])
        case "torch":
            return Artefact(name, format, shape, module=network)
        case "specs":
            return Artefact(name, format, shape, module=network.specs)
    return Artefact(name, format, shape, path)
