"""Verification in pairs: networks measured beside networks of the table, so that a device's moods cancel out.

A device is never again as it was when its table was made. What is verified is measured in interleaved rounds with
networks of the table that are near it in cost and make-up; what these take now against what they took then is the
device's speed, and divided by it a latency is one at the table's speed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev

from devices.backend import Artefact, Backend
from lut.blocks import BlockSpec, parse_block
from lut.calibration.student_t import student_t_quantile
from lut.entry import Entry
from lut.errors import BlockKeyError
from lut.table import LatencyTable
from profiler.build.artefacts import ArtefactFactory
from profiler.errors import ExportError, ProfilerError
from profiler.measure.estimator import CONFIDENCE, ESTIMATORS
from profiler.measure.measurement import Measurement
from profiler.measure.plan import Unit
from profiler.measure.session import Sampling, measure_units
from profiler.progress import Progress

PARTNERS = 8
_NAN = float("nan")
# Two networks are as far apart as their costs' logarithms, twice, plus the share of cost that they have not in common.
_COST_WEIGHT = 2.0
# Of so many partners or more, the one that is now the fastest against then and the slowest are left aside.
_ENOUGH_TO_TRIM = 5


@dataclass(frozen=True)
class Subject:
    """What is verified: the file (or module) as it will be used, and the blocks that it is made of, in order."""

    artefact: Artefact
    blocks: tuple[BlockSpec, ...] = ()


@dataclass(frozen=True)
class PairedResult:
    """One subject's latencies in ms, by the table's statistic.

    `now_ms` is as measured now, `latency_ms` at the table's speed; intervals are of 95 % confidence. `slowdown` is by
    how much the table's networks near it took longer than when the table was made, relative. These are None where
    the table has nothing to compare with. A subject that could not be measured has a `failure` and NaN.
    """

    name: str
    now_ms: float
    now_interval_ms: tuple[float, float]
    latency_ms: float | None
    interval_ms: tuple[float, float] | None
    slowdown: float | None
    partners: tuple[str, ...]
    measurement: Measurement = field(repr=False)
    failure: str = ""

    @property
    def percentiles_ms(self) -> Mapping[str, float]:
        """Of all calls as they happened now: `p50`, `p90`, `p95` and `p99`."""
        return {f"p{percent}": self.measurement.percentile_ms(percent) for percent in (50, 90, 95, 99)}


def verify_in_pairs(
    backend: Backend,
    subjects: Sequence[Subject],
    table: LatencyTable | None,
    factory: ArtefactFactory,
    *,
    sampling: Sampling | None = None,
    partners: int = PARTNERS,
    watcher: Progress | None = None,
    memory_limit_bytes: int = 4 << 30,
) -> list[PairedResult]:
    """Measure `subjects` in interleaved rounds with their partners from `table`; one result for each, in order.

    `factory` makes the partners' artefacts. Without a table of this device and setting give None: then only what is
    measured now is known. Raises `ProfilerError` for two of one name, `ReferenceFailedError`, and what the back-end
    raises when the device is lost.
    """
    if not subjects:
        return []
    if len({subject.artefact.name for subject in subjects}) < len(subjects):
        raise ProfilerError("two networks to verify have the same name; give each a name of its own")
    sampling = sampling or Sampling()
    if table is not None:
        sampling = replace(sampling, statistic=statistic_of(table))
    chosen = {subject.artefact.name: nearest(table, subject.blocks, partners) for subject in subjects} if table else {}
    made = _make({row.block: row for rows in chosen.values() for row in rows}, factory)
    artefacts = {subject.artefact.name: subject.artefact for subject in subjects}
    units = [Unit("holdout", name, ()) for name in artefacts]
    for row, artefact in made.values():
        artefacts[artefact.name] = artefact
        units.append(Unit(row.role, artefact.name, ()))
    measured = measure_units(
        backend, units, artefacts, _reference(made, subjects),
        sampling=sampling, watcher=watcher, memory_limit_bytes=memory_limit_bytes,
    )  # fmt: skip
    return [
        _result(
            subject.artefact.name,
            measured[subject.artefact.name],
            {
                row.block: (measured[artefact.name], row.latency_ms)
                for row, artefact in (made[n.block] for n in chosen.get(subject.artefact.name, ()) if n.block in made)
            },
        )
        for subject in subjects
    ]


def statistic_of(table: LatencyTable) -> str:
    """The statistic that a table holds; tables of the first schema hold the quiet one and do not say so."""
    name = str(table.metadata.sampling.get("statistic", "quiet"))
    return name if name in ESTIMATORS else "quiet"


def nearest(table: LatencyTable, blocks: Sequence[BlockSpec], n: int) -> list[Entry]:
    """The `n` networks of the table that are nearest to one of these blocks; its reference block if it has none.

    Near in cost and in make-up: the share of cost that lies in blocks which both have.
    """
    rows = [row for role in ("calibration", "holdout") for row in table.networks(role) if row.latency_ms > 0]
    rows = [row for row in rows if row.blocks and all(_is_block(key) for key in row.blocks)]
    if not rows:
        return _reference_row(table)
    mine = Counter(spec.key for spec in blocks)

    def distance(row: Entry) -> float:
        theirs = Counter(row.blocks)
        ours_ms, theirs_ms, common_ms = (_cost_ms(table, keys) for keys in (mine, theirs, mine & theirs))
        if not min(ours_ms, theirs_ms) > 0:
            return math.inf
        apart = abs(math.log(ours_ms / theirs_ms))
        return _COST_WEIGHT * apart + 1 - common_ms / max(ours_ms, theirs_ms)

    return sorted(rows, key=lambda row: (distance(row), row.block))[:n]


def _cost_ms(table: LatencyTable, keys: Counter[str]) -> float:
    """What the blocks among `keys` that the table knows cost together."""
    return sum(count * table.costs_ms.get(key, 0.0) for key, count in keys.items())


def _is_block(key: str) -> bool:
    try:
        parse_block(key)
    except BlockKeyError:
        return False
    return True


def _reference_row(table: LatencyTable) -> list[Entry]:
    quality = table.metadata.sampling.get("quality", {})
    name, latency_ms = quality.get("reference_block"), quality.get("reference_ms")
    if not isinstance(name, str) or not latency_ms or not _is_block(name):
        return []
    return [Entry("block", name, latency_ms=float(latency_ms), blocks=(name,))]


def _make(rows: Mapping[str, Entry], factory: ArtefactFactory) -> dict[str, tuple[Entry, Artefact]]:
    """Artefacts of the table's rows, under names of their own; those that cannot be made are done without."""
    made = {}
    for key, row in rows.items():
        try:
            artefact = factory.make(row.block, tuple(map(parse_block, row.blocks)))
        except ExportError:
            continue
        made[key] = (row, replace(artefact, name=f"{artefact.name} of the table"))
    return made


def _reference(made: Mapping[str, tuple[Entry, Artefact]], subjects: Sequence[Subject]) -> str:
    """What the session is watched by: the partner of median latency, or the first subject."""
    if not made:
        return subjects[0].artefact.name
    return sorted(made.values(), key=lambda pair: pair[0].latency_ms)[len(made) // 2][1].name


def _result(name: str, measured: Measurement, partners: Mapping[str, tuple[Measurement, float]]) -> PairedResult:
    if measured.failure:
        return PairedResult(name, _NAN, (_NAN, _NAN), None, None, None, (), measured, measured.failure)
    known = {key: (now, then_ms) for key, (now, then_ms) in partners.items() if not now.failure}
    now_ms, now_interval_ms = measured.latency_ms, measured.interval_ms
    if not known:
        return PairedResult(name, now_ms, now_interval_ms, None, None, None, (), measured)
    logs = [math.log(now.latency_ms / then_ms) for now, then_ms in known.values()]
    speed, error = speed_of(logs, fallback=next(iter(known.values()))[0].relative_ci)
    latency_ms = now_ms / math.exp(speed)
    reach = math.hypot(measured.relative_ci, error)
    interval_ms = (latency_ms * math.exp(-reach), latency_ms * math.exp(reach))
    return PairedResult(
        name, now_ms, now_interval_ms, latency_ms, interval_ms, math.expm1(speed), tuple(known), measured
    )


def speed_of(logs: Sequence[float], *, fallback: float = _NAN) -> tuple[float, float]:
    """Mean of partners' log ratios (now over then) without the two ends, and half its confidence interval (95 %).

    For one partner the half interval is `fallback`.
    """
    ordered = sorted(logs)
    if len(ordered) >= _ENOUGH_TO_TRIM:
        ordered = ordered[1:-1]
    if len(ordered) < 2:
        return fmean(ordered), fallback
    # The ends that were left aside stand in the spread as their neighbours do.
    spread = stdev([*ordered, ordered[0], ordered[-1]]) if len(logs) >= _ENOUGH_TO_TRIM else stdev(ordered)
    error = spread / math.sqrt(len(ordered))
    return fmean(ordered), student_t_quantile((1 + CONFIDENCE) / 2, len(ordered) - 1) * error
