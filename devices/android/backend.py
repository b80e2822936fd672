"""The back-end itself: one phone with one build of the tool, models pushed by content, one run per visit."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from devices.android import benchmark_model, identity
from devices.android import state as android_state
from devices.android.adb.detached import DetachedRunner, RunTimeoutError, RunVanishedError
from devices.android.adb.files import PhoneFiles
from devices.android.adb.session import AdbSession
from devices.android.elf import check_abi
from devices.backend import Artefact, ArtefactFormat, DeviceInfo, DeviceState, Samples, Slice
from devices.errors import (
    ConnectionLostError,
    DeviceOptionError,
    MeasurementError,
    RuntimeUnavailableError,
    StorageFullError,
)
from devices.numbers import whole

ROOT = "/data/local/tmp/pnag"
_KEPT_BYTES = 8_000_000  # blocks stay on the phone for the next session, whole networks do not
_ATTEMPTS = 4
_LONGEST_VISIT_S = 300.0
_CANNOT_RUN = (126, 127)  # the shell's statuses for "not executable" and "not found"


class AndroidBackend:
    """One phone with one build of the tool."""

    def __init__(
        self,
        session: AdbSession,
        tool: Path,
        *,
        delegate: str = "xnnpack",
        precision: str = "float32",
        threads: int = 1,
        affinity: str | None = None,
        cool_down: Callable[[AndroidBackend, float], object] = lambda *_: None,
    ) -> None:
        self._session, self._cool_down, self._held = session, cool_down, ExitStack()
        self._runner = DetachedRunner(session, ROOT)
        self._files = PhoneFiles(session)
        self._delegate, self._precision, self._threads = delegate, precision, threads
        self._phone = identity.parse_identity(session.check(identity.COMMAND))
        self._cores = identity.choose_cores(self._phone, threads, affinity)
        self._pinned = affinity != "none"
        self._tool_kind = benchmark_model.TENSORFLOW
        check_abi(tool, self._phone.abis)
        self._tool_sha256 = hashlib.sha256(tool.read_bytes()).hexdigest()
        self._tool_bytes = tool.stat().st_size
        self._tool = f"{ROOT}/bin/{self._tool_sha256[:16]}/benchmark_model"
        self._missing_flags: frozenset[str] = frozenset()
        self._open_files: dict[str, int] = {}
        self._last_clock_mhz: float | None = None
        self._runner.clean()  # a session that was killed may have left a measurement running
        session.run("input keyevent KEYCODE_WAKEUP 2>/dev/null; true")
        self._files.push(tool, self._tool, executable=True)
        self._try_tool(tool)
        self._limits_mhz = dict(self._phone.max_mhz)

    def _try_tool(self, tool: Path) -> None:
        """Whether the phone can execute the tool at all: asking for help costs no measurement."""
        pin = f"taskset {identity.core_mask(self._cores):x} " if self._pinned else ""
        result = self._session.run(f"{pin}{self._tool} --help")
        refusal = next(
            (line for line in result.output.splitlines() if "taskset" in line and self._tool not in line), ""
        )
        if refusal and result.status != 0 and self._pinned:
            raise RuntimeUnavailableError(
                f"the phone lets no core be chosen: '{benchmark_model.printable(refusal)}'; "
                "give other cores by --affinity, or --affinity none"
            )
        if benchmark_model.is_litert(result.output):
            self._tool_kind = benchmark_model.LITERT
            if self._delegate == "none":
                raise DeviceOptionError(f"{tool} is LiteRT's, which has no plain kernels; leave --delegate none out")
        if result.status in _CANNOT_RUN or "CANNOT LINK" in result.output:
            said = (result.output.strip().splitlines() or ["nothing"])[-1]
            raise RuntimeUnavailableError(f"the phone cannot run {tool}: {said[:160]}; give a build for its Android")

    @property
    def artefact_format(self) -> ArtefactFormat:
        """TFLite files."""
        return "tflite"

    # -- what it is ----------------------------------------------------------------------------------------

    def device(self) -> DeviceInfo:
        """The phone, the SoC by its most telling source, and the cores in use."""
        info = self._phone.info()
        used = {
            "cores_used": list(self._cores),
            "core_mask": f"{identity.core_mask(self._cores):x}",
            "usual_cap_mhz": [self._limits_mhz.get(core) for core in self._cores],
        }
        return DeviceInfo(info.kind, info.model, {**info.fields, **used}, info.unit)

    def runtime(self) -> Mapping[str, Any]:
        """The tool by its hash: builds differ in speed, and none prints a version."""
        return {
            "name": f"{self._tool_kind} benchmark_model",
            "version": f"sha256 {self._tool_sha256[:12]}",
            "binary_sha256": self._tool_sha256,
            "binary_bytes": self._tool_bytes,
            "threads": self._threads,
            "delegate": self._delegate,
            "precision": self._precision,
            "core_mask": f"{identity.core_mask(self._cores):x}",
        }

    def state(self) -> DeviceState:
        """Battery, heat, caps and clocks. `clock_mhz` is that at the end of the last run, where it is known."""
        state = self._read().state(self._cores, self._limits_mhz, self._phone.core_count)
        if self._last_clock_mhz is None:
            return state
        details = {**state.details, "idle_clock_mhz": state.clock_mhz}
        return DeviceState(state.temperature_c, self._last_clock_mhz, state.load, state.throttled, details)

    def get_ready(self, max_s: float = math.inf) -> None:
        """Let the phone cool down, for `max_s` seconds at most: it has warmed up since it was opened, or before."""
        self._cool_down(self, max_s)

    def learn_usual_caps(self) -> None:
        """Take the caps on the clocks at this moment for the phone's own setting (power saving), not for heat."""
        self._limits_mhz |= self._read().caps_mhz

    def _read(self) -> android_state.Reading:
        return android_state.parse_reading(self._session.run(android_state.COMMAND).output)

    # -- measuring -----------------------------------------------------------------------------------------

    def load(self, artefact: Artefact) -> AndroidProgram:
        """Push the model under its hash. Raises `MeasurementError` if it is no file, `StorageFullError`."""
        if artefact.format != "tflite" or artefact.path is None:
            raise MeasurementError(f"{artefact.name} is {artefact.format}, and a phone runs .tflite files; convert it")
        try:
            data = artefact.path.read_bytes()
        except OSError as error:
            raise MeasurementError(
                f"cannot read {artefact.path}: {error.strerror or error}; convert it again"
            ) from error
        remote = f"{ROOT}/models/{hashlib.sha256(data).hexdigest()[:32]}.tflite"
        try:
            self._files.push(artefact.path, remote)
        except StorageFullError:
            self._evict()
            self._files.push(artefact.path, remote)
        self._open_files[remote] = self._open_files.get(remote, 0) + 1
        return AndroidProgram(self, artefact.name, remote, len(data))

    def _evict(self) -> None:
        """Make room: of our models, only those in use stay."""
        keep = " ".join(path.rpartition("/")[2] for path in self._open_files)
        self._session.run(
            f'cd {ROOT}/models || exit 0; for f in *; do case \' {keep} \' in *" $f "*) ;; *) rm -f "$f" ;; esac; done'
        )

    def invoke(self, remote: str, how: Slice, expected_s: float) -> tuple[benchmark_model.Report, float]:
        """One invocation of the tool on a pushed model; what it said, and how long it took in seconds.

        Runs that vanish (a reboot, a killed process) or print nonsense are repeated a few times.
        """
        for attempt in range(_ATTEMPTS):
            last = attempt + 1 == _ATTEMPTS
            started = self._session.clock()
            try:
                finished = self._runner.run(
                    self._command(remote, how), expected_s=expected_s, limit_s=_LONGEST_VISIT_S, note=self._clock_note()
                )
                report = benchmark_model.parse(
                    finished.output, finished.status, delegate=self._delegate, tool=self._tool_kind
                )
            except benchmark_model.OtherToolError:  # its help did not show it; `tool` keeps this from coming twice
                self._tool_kind = benchmark_model.LITERT
            except benchmark_model.UnknownFlagError as error:
                if not set(error.flags) <= benchmark_model.OPTIONAL_FLAGS - self._missing_flags:
                    raise
                self._missing_flags |= set(error.flags)
            except (benchmark_model.OutputError, RunVanishedError, RunTimeoutError) as error:
                self._runner.kill_leftovers()
                if last:
                    raise MeasurementError(f"{error} (tried {_ATTEMPTS} times)") from error
            else:
                clocks = [khz / 1000 for word in finished.note.split() if (khz := whole(word)) is not None]
                self._last_clock_mhz = max(clocks, default=None)
                return report, self._session.clock() - started
        raise MeasurementError("benchmark_model lacks flag after flag; take a newer build of it")

    def _command(self, remote: str, how: Slice) -> str:
        invocation = benchmark_model.Invocation(
            min_runs=max(1, how.min_runs),
            min_time_s=how.min_time_s,
            max_time_s=min(_LONGEST_VISIT_S / 2, max(30.0, 20 * how.min_time_s)),
            warmup_runs=max(1, how.warmup_runs),
            warmup_s=how.warmup_s,
            threads=self._threads,
            delegate=self._delegate,
            reduced_precision=self._precision == "float16",
            tool=self._tool_kind,
        )
        mask = identity.core_mask(self._cores) if self._pinned else None
        return benchmark_model.command_line(self._tool, remote, invocation, mask=mask, without=self._missing_flags)

    def _clock_note(self) -> str:
        """Reads the used cores' clocks the moment a run ends, before the governor lowers them."""
        return "cat " + " ".join(f"{identity.CPU}/cpu{core}/cpufreq/scaling_cur_freq" for core in self._cores)

    def release(self, remote: str, size_bytes: int) -> None:
        """Count a program of that model as closed, and remove the file if it is large and nobody else uses it."""
        left = self._open_files.get(remote, 0) - 1
        if left > 0:
            self._open_files[remote] = left
            return
        self._open_files.pop(remote, None)
        if size_bytes > _KEPT_BYTES:
            with suppress(ConnectionLostError):
                self._session.run(f"rm -f {remote}")

    def close(self) -> None:
        """End what still runs on the phone and close the connection. Closing twice is harmless."""
        if self._session.is_open:
            with suppress(ConnectionLostError):
                self._runner.clean()
        self._session.close()
        self._held.close()

    def keep_until_closed(self, held: ExitStack) -> None:
        """Close `held` with this back-end."""
        self._held.push(held)


class AndroidProgram:
    """One model on the phone."""

    def __init__(self, backend: AndroidBackend, name: str, remote: str, size_bytes: int) -> None:
        self._backend, self._name, self._remote, self._size_bytes = backend, name, remote, size_bytes
        self._overhead_s = 0.0  # what an invocation took beyond its timed part, the last time
        self._closed = False

    def measure(self, how: Slice) -> Samples:
        """One invocation: its median (or mean) is the one time. Raises `MeasurementError`, `ConnectionLostError`."""
        if self._closed:
            raise MeasurementError(f"{self._name} was closed; load it again")
        timed_s = how.min_time_s + how.warmup_s
        try:
            report, took_s = self._backend.invoke(self._remote, how, timed_s + 0.8 * self._overhead_s)
        except MeasurementError as error:
            raise MeasurementError(f"{self._name}: {error}") from error
        self._overhead_s = max(0.0, took_s - timed_s)
        warmup = report.warmup.typical_ms if report.warmup else None
        return Samples(
            times_ms=(report.latency_ms,),
            warmup_ms=() if warmup is None else (warmup,),
            runs=report.measured.count,
            flags=("partly_delegated",) if report.partly_delegated else (),
        )

    def close(self) -> None:
        """Let the phone forget large models. Closing twice is harmless."""
        if not self._closed:
            self._closed = True
            self._backend.release(self._remote, self._size_bytes)
