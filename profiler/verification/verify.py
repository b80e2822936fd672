"""Measure given files on a device, with the same care as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from devices.backend import Artefact, Backend
from profiler.errors import ProfilerError
from profiler.measure.measurement import Measurement
from profiler.measure.plan import Unit
from profiler.measure.session import Sampling, measure_units
from profiler.progress import Progress


def measure_files(
    backend: Backend,
    artefacts: Sequence[Artefact],
    *,
    reference: Artefact | None = None,
    usual_ms: float = math.inf,
    sampling: Sampling | None = None,
    watcher: Progress | None = None,
    memory_limit_bytes: int = 4 << 30,
) -> list[Measurement]:
    """Measure whole networks in interleaved rounds; one measurement for each artefact, in order.

    `reference` is what the device is watched by, the first artefact unless given; `usual_ms` is what it takes
    when the device is as usual, where that is known, else learnt on the way. An artefact that cannot be run
    has a measurement with a `failure`. Raises `ProfilerError` if two artefacts have the same name.
    """
    if not artefacts:
        return []
    by_name = {artefact.name: artefact for artefact in artefacts}
    if len(by_name) < len(artefacts):
        raise ProfilerError("two files to measure have the same name; give each a name of its own")
    watched = reference or artefacts[0]
    by_name.setdefault(watched.name, watched)
    units = [Unit("holdout", artefact.name, ()) for artefact in artefacts]
    measurements = measure_units(
        backend, units, by_name, watched.name,
        sampling=sampling, usual_ms=usual_ms, watcher=watcher, memory_limit_bytes=memory_limit_bytes,
    )  # fmt: skip
    return [measurements[artefact.name] for artefact in artefacts]
