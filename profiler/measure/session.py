"""A measuring session: interleaved rounds in random order, watched by a reference, resumable at any moment.

Each round visits every unit that still needs it, blocks and networks alike, in an order of its own. A
segment is what is measured between two readings of the reference. Nothing waits for a quiet device and nothing is
thrown away: visits are kept with the readings around them, those at which the device was slower than usual are
flagged, and a unit is visited again while the visits that count do not say enough. Only a device that says itself
that it is throttled is left to cool down. A segment's visits enter the journal together.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from devices.backend import Artefact, Backend, DeviceState, Samples, Slice
from devices.errors import MeasurementError
from lut.entry import Role
from profiler.measure.estimator import ESTIMATORS, relative_ci
from profiler.measure.journal import Journal
from profiler.measure.measurement import Levelled, Measurement, Visit, calls_of, judged
from profiler.measure.plan import Unit
from profiler.measure.program_pool import ProgramPool
from profiler.measure.reference import ReferenceMonitor
from profiler.measure.stopping import StopRule, StopSettings, stop_rule
from profiler.measure.time_share import TimeShare
from profiler.measure.wander import levelled_where_better, wanders
from profiler.progress import Progress

_LONGEST_SEGMENT = 48  # visits, for devices on which a visit takes no time to speak of
_FAILURES = 2
_FEWEST_CALLS = 2  # of a short visit
_FEWEST_WANDERING = 1.25  # times the least rounds, on a device that wanders, however long they take
_GAP_S = 60.0  # between two sessions that continue one another
REFERENCE = "reference"  # the unit of readings of the reference in a journal

_BLOCK = Slice(min_time_s=0.04, min_runs=3, warmup_runs=2)
_NETWORK = Slice(min_time_s=0.1, min_runs=3, warmup_runs=1)
_REFERENCE = Slice(min_time_s=0.02, min_runs=5, warmup_runs=2)
_STOP = StopSettings()


@dataclass(frozen=True)
class Sampling:
    """How a session measures. `statistic` is what a latency is, by its name in `profiler.measure.estimator.ESTIMATORS`.

    `drift_limit` is relative; `max_wait_s` bounds the waits for a device to cool down. After each pause of such a
    wait, `longest_pause_s` at most, the device works for `warm_up_s` before it is read.

    On a device whose speed wanders, visits near in time are disturbed alike: many short ones say more than few long
    ones. There a visit lasts `wandering_visit` of its usual length, and there are `wandering_rounds` times the least
    rounds, or as many as a session of `wandering_s` has time for, but a quarter more than the least.
    """

    block: Slice = _BLOCK
    network: Slice = _NETWORK
    reference: Slice = _REFERENCE
    warm_up_s: float = 1.0
    segment_s: float = 1.0
    drift_limit: float = 0.05
    max_wait_s: float = 60.0
    longest_pause_s: float = 8.0
    stop: StopSettings = _STOP
    seed: int = 0
    statistic: str = "quiet"
    wandering_visit: float = 0.25
    wandering_rounds: float = 3.5
    wandering_s: float = 300.0

    def slice_of(self, role: Role, *, wandering: bool) -> Slice:
        """How long a visit to a unit of this role lasts."""
        usual = self.block if role == "block" else self.network
        if not wandering or self.wandering_visit >= 1:
            return usual
        runs = min(usual.min_runs, _FEWEST_CALLS)
        return replace(usual, min_time_s=usual.min_time_s * self.wandering_visit, min_runs=runs)


@dataclass(frozen=True)
class SessionResult:
    """Measurements by unit name, and how good the session was. `complete`: no unit was cut short by the time.

    `left_out` are networks that were given up so that the time sufficed for the others.
    """

    measurements: Mapping[str, Measurement]
    complete: bool
    quality: Mapping[str, Any] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()


class Session:
    """Measures `units` on `backend`; call `run` once. Artefacts come from `artefact_of`, by unit name.

    `reference` names the unit (or another artefact) to watch the device by, `usual_ms` what it took before if
    that is known. `deadline_s` is a reading of `clock` at which the session ends with what it has.
    """

    def __init__(
        self,
        backend: Backend,
        units: Sequence[Unit],
        artefact_of: Callable[[str], Artefact],
        reference: str,
        *,
        sampling: Sampling,
        journal: Journal | None = None,
        memory_limit_bytes: int = 4 << 30,
        watcher: Progress | None = None,
        deadline_s: float = math.inf,
        usual_ms: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._backend, self._units, self._sampling, self._journal = backend, tuple(units), sampling, journal
        self._watcher, self._clock, self._deadline_s = watcher, clock, deadline_s
        self._estimator = ESTIMATORS[sampling.statistic]
        self._pool = ProgramPool(backend, artefact_of, memory_limit_bytes)
        known = journal.visits if journal else ()
        self._visits: dict[str, list[Visit]] = {unit.name: [] for unit in self._units}
        for visit in known:
            if visit.unit in self._visits and visit.round >= 0:
                self._visits[visit.unit].append(visit)
        readings = [visit for visit in known if visit.round < 0]
        self._origin_s = clock() - _end_s(known)
        self._readings: list[Visit] = []
        self._monitor = ReferenceMonitor(
            backend,
            lambda: self._pool.get(reference),
            sampling.reference,
            limit=sampling.drift_limit,
            max_wait_s=sampling.max_wait_s,
            longest_pause_s=sampling.longest_pause_s,
            warm_up_s=sampling.warm_up_s,
            clock=clock,
            sleep=sleep,
            deadline_s=deadline_s,
            known_ms=[visit.median_ms for visit in readings if visit.steady] or [visit.reference_ms for visit in known],
            usual_ms=usual_ms,
            waiting=self._tell_waiting,
            heard=self._note_reading,
        )
        self._reference = reference
        self._before = self._after = DeviceState()
        self._off_segments = self._segments = 0
        self._resumed = sum(map(len, self._visits.values()))
        self._told_rounds = float(sampling.stop.min_rounds)  # so many for each unit the watcher knows of
        self._share = TimeShare(self._units, started_s=clock(), deadline_s=deadline_s)

    # -- what is left to do ---------------------------------------------------------------------------

    def finished(self, unit: Unit) -> bool:
        """Whether no further visit to `unit` is needed."""
        visits = self._visits[unit.name]
        if unit.name in self._share.left_out or sum(bool(visit.failure) for visit in visits) >= _FAILURES:
            return True
        timed = [visit for visit in visits if not visit.failure]
        stop = self._sampling.stop
        if self._wanders():
            return len(timed) >= self._least_rounds()
        if len(timed) >= stop.max_rounds:
            return True
        if len(timed) < stop.min_rounds and math.isinf(stop.max_time_s):
            return False
        return self._rule(timed).is_finished()

    def _rule(self, timed: Sequence[Visit]) -> StopRule:
        """The stop rule, having seen the rounds that the statistic rests on."""
        rule = stop_rule(self._sampling.stop, partial(relative_ci, self._estimator))
        for visit in map(self._judged, timed):
            if visit.steady or not self._estimator.undisturbed:
                rule.add(calls_of(visit, self._estimator), visit.time_s)
        return rule

    def _wanders(self) -> bool:
        """Whether the device's speed wanders and is to be taken out of all visits together."""
        return self._estimator.undisturbed and wanders(self._monitor.readings_ms, self._monitor.is_usual)

    def _by_wandering(self) -> bool:
        """Whether it wanders, and the stop rule leaves the rounds to the session."""
        return self._sampling.stop.rule != "rounds" and self._wanders()

    def _least_rounds(self) -> float:
        """How many rounds each unit needs at least; on a device that wanders, how many are enough."""
        sampling, times = self._sampling, 1.0
        if self._by_wandering():
            over = self._now_s() >= sampling.wandering_s
            times = min(sampling.wandering_rounds, _FEWEST_WANDERING) if over else sampling.wandering_rounds
        return times * sampling.stop.min_rounds

    def _judged(self, visit: Visit) -> Visit:
        return judged(visit, self._monitor.is_usual) if self._monitor.readings_ms else visit

    def _round(self, number: int) -> deque[Unit]:
        """Units to visit in a round, in its order, which depends on seed and round only."""
        order = np.random.default_rng((self._sampling.seed, number)).permutation(len(self._units))
        todo = (self._units[index] for index in order)
        return deque(
            unit
            for unit in todo
            if not self.finished(unit) and all(visit.round != number for visit in self._visits[unit.name])
        )

    # -- measuring ------------------------------------------------------------------------------------

    def run(self) -> SessionResult:
        """Measure until every unit is finished or the time is up.

        Raises `ReferenceFailedError`, `JournalError`, and `ConnectionLostError` from the device; what was
        measured until then is in the journal.
        """
        try:
            number = 0
            todo = not all(map(self.finished, self._units))
            if todo:
                self._backend.get_ready(max(0.0, self._deadline_s - self._clock()))
            self._before = self._backend.state()
            if todo:
                self._warm_up()
            while not all(map(self.finished, self._units)) and not self._time_is_up():
                self._measure_round(number)
                number += 1
            self._after = self._backend.state()
        finally:
            self._pool.close()
        return self._result()

    def _time_is_up(self) -> bool:
        return self._clock() >= self._deadline_s

    def _warm_up(self) -> None:
        """Bring the device to its working clocks and temperature, then learn the reference's level."""
        try:
            how = replace(self._sampling.reference, warmup_s=self._sampling.warm_up_s)
            self._pool.get(self._reference).measure(how)
        except MeasurementError:
            pass  # the first reading says so, with its own error
        self._monitor.start()

    def _measure_round(self, number: int) -> None:
        queue = self._share.in_order(self._round(number), number)
        while queue and not self._time_is_up():
            self._monitor.cool_down()
            before_ms, throttled = self._monitor.last_ms, self._monitor.throttled
            segment, visits = self._measure_segment(queue, number)
            after_ms = self._monitor.read()
            throttled = throttled or self._monitor.throttled
            self._accept(visits, max(before_ms, after_ms), throttled=throttled)
            self._share.spent(self._clock(), queue, number)
            self._tell(segment, number)

    def _measure_segment(self, queue: deque[Unit], number: int) -> tuple[list[Unit], list[Visit]]:
        segment: list[Unit] = []
        visits: list[Visit] = []
        end_s = min(self._clock() + self._sampling.segment_s, self._deadline_s)
        while queue and len(segment) < _LONGEST_SEGMENT and (not segment or self._clock() < end_s):
            unit = queue.popleft()
            segment.append(unit)
            visits.append(self._visit(unit, number))
        return segment, visits

    def _visit(self, unit: Unit, number: int) -> Visit:
        how = self._sampling.slice_of(unit.role, wandering=self._by_wandering())
        at_s = self._now_s()
        try:
            samples = self._pool.get(unit.name).measure(how)
        except MeasurementError as error:
            self._pool.drop(unit.name)
            why, lasted_s = " ".join(str(error).split()), self._since(at_s)
            return Visit(unit.name, number, failure=why, at_s=at_s, lasted_s=lasted_s)
        return Visit.of(unit.name, number, samples, at_s, self._since(at_s))

    def _now_s(self) -> float:
        """Seconds that this session, or the earlier ones that it goes on with, have lasted."""
        return round(self._clock() - self._origin_s, 4)

    def _since(self, at_s: float) -> float:
        return round(self._now_s() - at_s, 4)

    def _note_reading(self, samples: Samples, lasted_s: float) -> None:
        """Called as soon as the reference has been read."""
        at_s = round(self._now_s() - lasted_s, 4)
        reading = Visit.of(REFERENCE, -1, samples, at_s, self._since(at_s))
        hot = ("throttled",) if self._monitor.throttled else ()
        self._readings.append(replace(reading, flags=(*reading.flags, *hot)))

    def _accept(self, visits: Sequence[Visit], reference_ms: float, *, throttled: bool) -> None:
        state = self._backend.state()
        usual = self._monitor.is_usual(reference_ms)
        self._segments += 1
        self._off_segments += throttled or not usual
        unsteady = ("throttled",) if throttled else () if usual else ("drifted",)
        complete = [
            replace(
                visit,
                flags=(*visit.flags, *unsteady),
                reference_ms=round(reference_ms, 6),
                temperature_c=state.temperature_c,
                clock_mhz=state.clock_mhz,
                load=state.load,
                details=state.details,
            )
            for visit in visits
        ]
        if self._journal is not None:
            self._journal.append([*self._readings, *complete])
        self._readings.clear()
        for visit in complete:
            self._visits[visit.unit].append(visit)

    def _tell(self, segment: Sequence[Unit], number: int) -> None:
        if self._watcher is None:
            return
        if (least := self._least_rounds()) > self._told_rounds:
            self._watcher.extend(math.ceil((least - self._told_rounds) * len(self._units)))
            self._told_rounds = least
        more = sum(not self.finished(unit) and len(self._visits[unit.name]) >= self._told_rounds for unit in segment)
        if more:
            self._watcher.extend(more)
        self._watcher.advance(len(segment), f"round {number + 1}, reference {self._monitor.drift:+.1%}")

    def _tell_waiting(self) -> None:
        if self._watcher is not None:
            self._watcher.advance(0.0, f"waiting for the device to cool down, reference {self._monitor.drift:+.1%}")

    # -- result ---------------------------------------------------------------------------------------

    def _result(self) -> SessionResult:
        plain = {unit.name: self._measurement(unit) for unit in self._units}
        levelled = self._levelled(plain)
        measurements = {name: replace(one, levelled=levelled.get(name)) for name, one in plain.items()}
        visits = [visit for measurement in measurements.values() for visit in measurement.visits]
        timed = [visit for visit in visits if not visit.failure]
        quality = {
            "rounds": max((visit.round + 1 for visit in visits), default=0),
            "visits": len(visits),
            "resumed_visits": self._resumed,
            "segments": self._segments,
            "off_segments": self._off_segments,
            "wandering": bool(levelled),
            "waited_s": round(self._monitor.waited_s, 3),
            "reference_block": self._reference,
            "reference_ms": self._monitor.level_ms if self._monitor.readings_ms else None,
            "reference_spread": self._monitor.spread() if self._monitor.readings_ms else None,
            "disturbed_share": _share(timed, "disturbed"),
            "drifted_share": _share(timed, "drifted"),
            "throttled_share": _share(timed, "throttled"),
            "before": _plain(self._before),
            "after": _plain(self._after),
        }
        complete = all(map(self.finished, self._units))
        return SessionResult(measurements, complete, quality, frozenset(self._share.left_out))

    def _levelled(self, measured: Mapping[str, Measurement]) -> Mapping[str, Levelled]:
        if not self._estimator.undisturbed:
            return {}
        wanted = self._sampling.stop.relative_ci
        return levelled_where_better(measured, wandering=self._wanders(), wanted_ci=wanted)

    def _measurement(self, unit: Unit) -> Measurement:
        visits = tuple(map(self._judged, self._visits[unit.name]))
        failures = [visit.failure for visit in visits if visit.failure]
        if len(failures) >= _FAILURES:
            return Measurement(unit.name, visits, failures[-1], self._estimator)
        if not any(visit.times_ms for visit in visits):
            why = failures[-1] if failures else "the time was up before its turn"
            return Measurement(unit.name, visits, why, self._estimator)
        return Measurement(unit.name, visits, estimator=self._estimator, stopped=self._why_stopped(unit))

    def _why_stopped(self, unit: Unit) -> str:
        timed = [visit for visit in self._visits[unit.name] if not visit.failure]
        if self._by_wandering():
            return "wandering" if self.finished(unit) else "the time was up"
        if why := self._rule(timed).reason:
            return why
        return "most rounds" if len(timed) >= self._sampling.stop.max_rounds else "the time was up"


def _end_s(visits: Sequence[Visit]) -> float:
    """When the last of the visits began, with a gap, since how long they lasted is not known."""
    return max((visit.at_s for visit in visits if math.isfinite(visit.at_s)), default=-_GAP_S) + _GAP_S


def _plain(state: DeviceState) -> dict[str, Any]:
    """What is known of a state, as JSON values."""
    values = {"temperature_c": state.temperature_c, "clock_mhz": state.clock_mhz, "load": state.load}
    return {name: value for name, value in values.items() if value is not None} | {
        "throttled": state.throttled,
        **state.details,
    }


def _share(visits: Sequence[Visit], flag: str) -> float:
    return sum(flag in visit.flags for visit in visits) / len(visits) if visits else 0.0


def measure_units(
    backend: Backend,
    units: Sequence[Unit],
    artefacts: Mapping[str, Artefact],
    reference: str,
    *,
    usual_ms: float = math.inf,
    sampling: Sampling | None = None,
    watcher: Progress | None = None,
    memory_limit_bytes: int = 4 << 30,
) -> Mapping[str, Measurement]:
    """Measure units in interleaved rounds, all that the sampling asks for; their measurements by name.

    `artefacts` has the files of the units and of `reference` by name. Raises what a session raises.
    """
    sampling = sampling or Sampling()
    if watcher is not None:
        watcher.extend(len(units) * sampling.stop.min_rounds)
    session = Session(
        backend,
        units,
        artefacts.__getitem__,
        reference,
        sampling=sampling,
        usual_ms=usual_ms,
        watcher=watcher,
        memory_limit_bytes=memory_limit_bytes,
    )
    return session.run().measurements
