"""A session over networks of the zoo: the same rounds, journals and reference as a table's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from devices import open_backend
from devices.backend import Artefact, ArtefactFormat, Backend
from lut.blocks import BlockSpec, parse_block
from lut.table import LatencyTable
from profiler.build.artefacts import Ahead, ArtefactCache, NetworkFactory, ahead_of, open_factory
from profiler.measure.journal import Journal
from profiler.measure.plan import Unit, block_units
from profiler.measure.sampling import load_device, sampling_for
from profiler.measure.session import Sampling
from profiler.profile import Job, Prepared, measure, prepare
from profiler.progress import Progress
from profiler.verification.as_profiled import as_profiled, difference
from profiler.verification.pairs import statistic_of
from profiler.zoo.network import TORCHVISION, ZooNetwork

# What the device is watched by: the block of median size of the usual table.
REFERENCE = parse_block("mbconv-i48-o48-k7-e4-s1-relu-se1@28")
SPACE: Mapping[str, Any] = {"name": "zoo"}
SIDE, CLASSES = 224, 1000


def zoo_units(networks: Sequence[ZooNetwork]) -> tuple[Unit, ...]:
    """The reference and the networks."""
    return (*block_units([REFERENCE]), *(Unit("holdout", network.name, network.blocks) for network in networks))


def zoo_job(networks: Sequence[ZooNetwork], batch: int, sampling: Sampling, device: Mapping[str, Any]) -> Job:
    """What `profiler.profile.measure` is asked for."""
    return Job(SPACE, SIDE, CLASSES, batch, zoo_units(networks), sampling, device)


class ZooFactory:
    """Makes artefacts of the networks by name: of blocks like those of any network, of torchvision's as they are."""

    def __init__(self, inner: NetworkFactory, networks: Sequence[ZooNetwork]) -> None:
        self._inner = inner
        self._others = {network.name: network for network in networks if not network.blocks}

    def identity(self) -> Mapping[str, Any]:
        """That of blocks, and torchvision's version where it has a part."""
        return {**self._inner.identity(), **(_builder_identity() if self._others else {})}

    def make(self, name: str, specs: Sequence[BlockSpec]) -> Artefact:
        """The artefact of that name. Raises `ExportError`, `CacheError`."""
        network = self._others.get(name)
        if network is None:
            return self._inner.make(name, specs)
        about = {**_builder_identity(), "builder": network.builder}
        return self._inner.of_module(name, network.module, network.image, about)

    def is_cached(self, specs: Sequence[BlockSpec]) -> bool:
        """Whether an artefact of these blocks is there; that of a network of torchvision (no blocks) may not be."""
        inner: Callable[[Sequence[BlockSpec]], bool] | None = getattr(self._inner, "is_cached", None)
        return inner is None or (bool(specs) and inner(specs))


def zoo_ahead(format: ArtefactFormat, factory: NetworkFactory) -> Ahead | None:
    """How files of blocks are made many at once, where the format has that, torchvision's networks left aside."""
    inner = ahead_of(format, factory)
    if inner is None:
        return None
    return lambda wanted, on_done, max_s: inner(
        {name: specs for name, specs in wanted.items() if specs}, on_done, max_s
    )


def _builder_identity() -> Mapping[str, Any]:
    from importlib.metadata import version

    return {TORCHVISION: version(TORCHVISION)}


def measure_zoo(
    backend: Backend,
    networks: Sequence[ZooNetwork],
    factory: NetworkFactory,
    journal: Path,
    *,
    batch: int,
    sampling: Sampling,
    exporting: Progress | None = None,
    measuring: Progress | None = None,
) -> tuple[LatencyTable, Journal]:
    """Make and measure `networks` in one session; a table of networks alone, and its journal to remove.

    Raises what `profiler.profile.measure` does; a network that cannot be made or run is a failed row.
    """
    made_by = ZooFactory(factory, networks)
    job = zoo_job(networks, batch, sampling, {})
    prepared: Prepared = prepare(job.units, made_by, exporting, ahead=zoo_ahead(backend.artefact_format, factory))
    return measure(backend, job, prepared, journal, watcher=measuring)


@contextmanager
def zoo_sessions(
    device: str,
    table: LatencyTable,
    *,
    allow_mismatch: bool = False,
    tell: Callable[[str], None],
    exporting: Progress | None = None,
    measuring: Progress | None = None,
    cache: ArtefactCache | None = None,
    **options: Any,
) -> Iterator[Callable[[Sequence[ZooNetwork]], LatencyTable]]:
    """A function that measures networks in a session each, on the device of that name, set up as it was for `table`.

    `tell` is told what differs all the same; `options` say how to reach the device. Raises what opening it does.
    """
    spec, said = as_profiled(load_device(device), table.metadata)
    backend = open_backend(spec, **{**said, **options})
    try:
        found = backend.device()
        if mismatch := spec.check(found, allow_mismatch=allow_mismatch):
            tell(f"going on though {mismatch}")
        if unlike := difference(table.metadata, found, backend.runtime()):
            tell(unlike)
        sampling = replace(sampling_for(spec), statistic=statistic_of(table))
        factory = open_factory(backend.artefact_format, cache or ArtefactCache(), spec.batch, spec.precision)

        def measured(networks: Sequence[ZooNetwork]) -> LatencyTable:
            for watcher, each in ((exporting, 1), (measuring, sampling.stop.min_rounds)):
                if watcher is not None:
                    watcher.extend((len(networks) + 1) * each)
            with TemporaryDirectory(prefix="pnag-zoo-") as folder:
                journal = Path(folder) / "session.journal"
                return measure_zoo(
                    backend, networks, factory, journal, batch=spec.batch, sampling=sampling, exporting=exporting,
                    measuring=measuring,
                )[0]  # fmt: skip

        yield measured
    finally:
        backend.close()
