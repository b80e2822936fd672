"""Measure networks that exist as torch modules on a device by name: what `--verify` does."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from devices import DeviceInfo, open_backend
from devices.backend import ArtefactFormat
from lut.table import LatencyTable
from profiler.build.artefacts import ArtefactCache, open_factory
from profiler.build.modules import Network
from profiler.measure.sampling import load_device, sampling_for
from profiler.progress import Progress
from profiler.verification.as_profiled import as_profiled, difference
from profiler.verification.pairs import PairedResult, Subject, verify_in_pairs


@dataclass(frozen=True)
class OnDevice:
    """One result for each network, in order; the hardware, and with what it was measured.

    `runtime` is what the back-end says of itself, latencies are for `batch` images a call. `slowdown` is by how
    much networks of the table took longer than when the table was made, relative, in the mean over all results; None
    without a table of this device in the same setting. `files` are those that were measured themselves, by name.
    """

    results: list[PairedResult]
    device: DeviceInfo
    runtime: Mapping[str, Any]
    batch: int
    files: Mapping[str, Path] = field(default_factory=dict)

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
    watcher: Progress | None = None,
    cache: ArtefactCache | None = None,
    files: Mapping[str, Sequence[Path]] | None = None,
    **options: Any,
) -> OnDevice:
    """Measure `networks` (eval mode) on the device of that name, in pairs with networks of `table`.

    Of a network's `files` the one in the format that the device's runtime takes is measured, byte for byte; without
    such a file the network is converted, with the weights that it has. Batch, precision, threads
    and options are those of `table`, where it says them, so that its predictions can be judged; `tell` is told what
    differs all the same (then there are no pairs), and if the device is slower than when the table was made.
    Files of the table's networks come from `cache`. `options` go to the back-end. Raises `UnknownDeviceError`,
    `DeviceMismatchError` unless `allow_mismatch`, `ExportError`, and what else the back-end raises.
    """
    spec = load_device(device)
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
        factory = open_factory(backend.artefact_format, cache or ArtefactCache(), spec.batch, spec.precision)
        with tempfile.TemporaryDirectory(prefix="pnag-verify-") as folder:
            given = {name: _file_for(backend.artefact_format, files or {}, name) for name in networks}
            subjects = [
                Subject(
                    factory.of_network(name, network, network.specs, Path(folder) / str(index))
                    if (path := given[name]) is None
                    else factory.of_file(name, network.specs, path),
                    tuple(network.specs),
                )
                for index, (name, network) in enumerate(networks.items())
            ]
            results = verify_in_pairs(backend, subjects, table, factory, sampling=sampling, watcher=watcher)
        measured = OnDevice(results, found, runtime, spec.batch, {n: path for n, path in given.items() if path})
        if measured.slowdown is not None and measured.slowdown > sampling.drift_limit:
            tell(slower(measured.slowdown))
        return measured
    finally:
        backend.close()


def _file_for(format: ArtefactFormat, files: Mapping[str, Sequence[Path]], name: str) -> Path | None:
    """The file of a network that a back-end for this format runs as it is."""
    return next((path for path in files.get(name, ()) if path.suffix == f".{format}"), None)


def slower(slowdown: float) -> str:
    """What is said of a device that is slower than when its table was made, and what to do."""
    return (
        f"the device is {slowdown:.0%} slower than when the table was made, by networks of it measured again; budgets "
        "are judged at the table's speed. If it stays so, end what else runs, let it cool, or profile anew"
    )
