"""Measure networks that exist as torch modules on a device by name: what `--verify` does."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import nn

from devices import DeviceInfo, DeviceSpec, load_spec, open_backend
from devices.backend import Artefact, ArtefactFormat
from lut.blocks import BlockSpec
from lut.table import LatencyTable
from profiler.build.artefacts import ArtefactCache, input_shape, open_factory
from profiler.build.export_onnx import write_onnx
from profiler.build.export_tflite import export_tflite, file_precision
from profiler.build.memory import activation_bytes
from profiler.build.modules import Network
from profiler.measure.sampling import sampling_for
from profiler.measure.session import Watcher
from profiler.verification.as_profiled import as_profiled, difference
from profiler.verification.pairs import PairedResult, Subject, verify_in_pairs


@dataclass(frozen=True)
class OnDevice:
    """One result for each network, in order; the hardware, and with what it was measured.

    `runtime` is what the back-end says of itself, latencies are for `batch` images a call. `slowdown` is by how
    much networks of the table took longer than when the table was made, relative, in the mean over all results; None
    without a table of this device in the same setting.
    """

    results: list[PairedResult]
    device: DeviceInfo
    runtime: Mapping[str, Any]
    batch: int

    @property
    def slowdown(self) -> float | None:
        """See the class."""
        known = [result.slowdown for result in self.results if result.slowdown is not None]
        return fmean(known) if known else None


def measure_networks(
    device: str,
    networks: Mapping[str, Network],
    *,
    table: LatencyTable | None = None,
    allow_mismatch: bool = False,
    tell: Callable[[str], None],
    watcher: Watcher | None = None,
    cache: ArtefactCache | None = None,
    **options: Any,
) -> OnDevice:
    """Measure `networks` (eval mode) on the device of that name, in pairs with networks of `table`.

    They are converted to what the device's runtime takes, with the weights that they have. Batch, precision, threads
    and options are those of `table`, where it says them, so that its predictions can be judged; `tell` is told what
    differs all the same (then there are no pairs), and if the device is slower than when the table was made.
    Files of the table's networks come from `cache`. `options` go to the back-end. Raises `UnknownDeviceError`,
    `DeviceMismatchError` unless `allow_mismatch`, `ExportError`, and what else the back-end raises.
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
        if table is not None and (unlike := difference(table.metadata, found, runtime)):
            tell(unlike)
            table = None
        sampling = sampling_for(spec)
        of_files = {"precision": spec.precision} if backend.artefact_format == "tflite" else {}
        factory = open_factory(backend.artefact_format, cache or ArtefactCache(), spec.batch, **of_files)
        with tempfile.TemporaryDirectory(prefix="pnag-verify-") as folder:
            make = partial(_artefact, format=backend.artefact_format, spec=spec)
            subjects = [
                Subject(make(name, network, network.specs, Path(folder) / str(index)), tuple(network.specs))
                for index, (name, network) in enumerate(networks.items())
            ]
            results = verify_in_pairs(backend, subjects, table, factory, sampling=sampling, watcher=watcher)
        measured = OnDevice(results, found, runtime, spec.batch)
        if measured.slowdown is not None and measured.slowdown > sampling.drift_limit:
            tell(slower(measured.slowdown))
        return measured
    finally:
        backend.close()


def slower(slowdown: float) -> str:
    """What is said of a device that is slower than when its table was made, and what to do."""
    return (
        f"the device is {slowdown:.0%} slower than when the table was made, by networks of it measured again; budgets "
        "are judged at the table's speed. If it stays so, end what else runs, let it cool, or profile anew"
    )


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
    return Artefact(name, format, shape, path, activation_bytes=activation_bytes(specs, spec.batch))
