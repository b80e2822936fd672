"""A deterministic device that computes latencies rather than running anything, with faults to order.

A block takes a time in proportion to its MACs, times a factor drawn from its name; a network takes the sum of
its blocks times `network_scale` plus `network_offset_ms`, give or take what no sum can know. Every call is
off by seeded noise. It takes artefacts of any format and opens no file.
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from devices.backend import Artefact, ArtefactFormat, DeviceInfo, DeviceState, Samples, Slice
from devices.errors import ConnectionLostError, MeasurementError
from devices.options import Option
from devices.spec import DeviceSpec

_MACS_PER_MS = 20e6
_CALL_MS = 0.01
_MOST_SAMPLES = 50  # of a visit; more would only slow the tests down


@dataclass(frozen=True)
class FakeSettings:
    """How the fake device behaves. Calls are counted over all programs, from 0.

    `noise` is the relative standard deviation of a call. `fail_load` and `fail_run` are regular expressions
    of artefact names. From call `drift_at` on, `drift_calls` calls take `drift_factor` times as long, and
    the device says that it is throttled if `drift_is_told`. At call `lose_at` the connection is lost,
    once; at call `kill_at` the process dies by SIGKILL. Every call really takes `pause_s`, and is appended
    to the file `call_log`.
    """

    seed: int = 0
    noise: float = 0.002
    network_scale: float = 0.95
    network_offset_ms: float = 0.2
    network_spread: float = 0.003
    fail_load: str = ""
    fail_run: str = ""
    drift_at: int = -1
    drift_calls: int = 0
    drift_factor: float = 1.2
    drift_is_told: bool = False
    lose_at: int = -1
    kill_at: int = -1
    pause_s: float = 0.0
    call_log: str = ""


OPTIONS = tuple(
    Option(f.name, type(f.default), "see FakeSettings", f.default)  # type: ignore[arg-type]  # numbers and texts
    for f in fields(FakeSettings)
)


def open_fake(spec: DeviceSpec, **options: Any) -> FakeBackend:
    """The fake device of `spec`, whose options (and `options`) are the fields of `FakeSettings`."""
    return FakeBackend(FakeSettings(**spec.settle(OPTIONS, **options)), threads=spec.threads, name=spec.title)


def _fraction(text: str) -> float:
    """A number in 0 … 1 that depends on nothing but the text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32


class FakeBackend:
    """See the module. `pass_time` is told how many seconds each visit takes, for tests that own the clock."""

    def __init__(
        self,
        settings: FakeSettings | None = None,
        *,
        threads: int = 1,
        name: str = "fake device",
        pass_time: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self.settings = settings or FakeSettings()
        self.calls = 0
        self._threads, self._name, self._pass_time = threads, name, pass_time
        self._rng = np.random.default_rng(self.settings.seed)

    @property
    def artefact_format(self) -> ArtefactFormat:
        """No files are needed; files of any format are accepted."""
        return "specs"

    def device(self) -> DeviceInfo:
        """A device that does not exist, and says so."""
        return DeviceInfo("fake", self._name, {"cpu_model": "fake", "seed": self.settings.seed})

    def runtime(self) -> Mapping[str, Any]:
        """Name, version, threads and precision."""
        return {"name": "fake", "version": "1", "threads": self._threads, "precision": "float32"}

    def get_ready(self, max_s: float) -> None:
        """Returns at once: it is always ready."""

    def state(self) -> DeviceState:
        """Warm while it drifts."""
        drifting = self._drifts(self.calls)
        return DeviceState(
            temperature_c=60.0 if drifting else 40.0,
            clock_mhz=1000.0 / (self.settings.drift_factor if drifting else 1.0),
            load=0.0,
            throttled=drifting and self.settings.drift_is_told,
        )

    def _drifts(self, call: int) -> bool:
        return 0 <= self.settings.drift_at <= call < self.settings.drift_at + self.settings.drift_calls

    def true_ms(self, artefact: Artefact) -> float:
        """What a call takes without noise and drift."""
        specs = artefact.module if isinstance(artefact.module, tuple) else ()
        batch = artefact.input_shape[0] if artefact.input_shape else 1
        if not specs:
            return batch * (0.1 + 2 * _fraction(artefact.name))
        blocks = sum(batch * spec.macs / _MACS_PER_MS * (0.7 + 0.6 * _fraction(spec.key)) + _CALL_MS for spec in specs)
        if len(specs) == 1:
            return float(blocks)
        own = 1 + self.settings.network_spread * (2 * _fraction(artefact.name) - 1)
        return float(blocks * self.settings.network_scale + self.settings.network_offset_ms) * own

    def load(self, artefact: Artefact) -> FakeProgram:
        """Any artefact. Raises `MeasurementError` for names that `fail_load` matches."""
        if self.settings.fail_load and re.search(self.settings.fail_load, artefact.name):
            raise MeasurementError(f"the fake device refuses {artefact.name}")
        return FakeProgram(self, artefact)

    def close(self) -> None:
        """Nothing is held."""

    def visit(self, artefact: Artefact, how: Slice) -> Samples:
        """One visit of a program, with whatever fault is due."""
        settings = self.settings
        call, self.calls = self.calls, self.calls + 1
        if call == settings.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if call == settings.lose_at:
            raise ConnectionLostError("the fake device is gone; plug it in again")
        if settings.fail_run and re.search(settings.fail_run, artefact.name):
            raise MeasurementError(f"the fake device failed to run {artefact.name}")
        factor = settings.drift_factor if self._drifts(call) else 1.0
        mean_ms = self.true_ms(artefact) * factor
        runs = max(how.min_runs, min(_MOST_SAMPLES, round(how.min_time_s * 1e3 / mean_ms)))
        times_ms = mean_ms * (1 + settings.noise * self._rng.standard_normal(how.warmup_runs + runs))
        self._pass_time(max(how.min_time_s, float(times_ms.sum()) / 1e3))
        if settings.pause_s:
            time.sleep(settings.pause_s)
        if settings.call_log:
            with Path(settings.call_log).open("a", encoding="utf-8") as log:
                log.write(f"{artefact.name}\n")
        times = tuple(round(t, 9) for t in times_ms.tolist())
        return Samples(times[how.warmup_runs :], times[: how.warmup_runs])


class FakeProgram:
    """An artefact on the fake device."""

    def __init__(self, backend: FakeBackend, artefact: Artefact) -> None:
        self._backend, self._artefact = backend, artefact
        self._closed = False

    def measure(self, how: Slice) -> Samples:
        """Computed times; raises what the settings order."""
        if self._closed:
            raise MeasurementError(f"{self._artefact.name} was closed; load it again")
        return self._backend.visit(self._artefact, how)

    def close(self) -> None:
        """Nothing is held."""
        self._closed = True
