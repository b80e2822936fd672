"""The phone as a test holds it: start it, give orders, look at what it did, stop it."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from tests.phone.adbd import Connection, Listener
from tests.phone.faults import Fault, Faults
from tests.phone.files import CPUINFO, MAX_KHZ, PROPERTIES, Files
from tests.phone.services import Services
from tests.phone.shells import HOST, Shell

_COOL_C, _HOT_C = 28.0, 44.0
_CPU = "/sys/devices/system/cpu"


class FakePhone:
    """A phone whose file system is `root`. A context manager; `address` is where it listens.

    `real` measures with TensorFlow Lite on this computer, otherwise models made by `fake_model` say how long
    they take. `output` is the year whose spelling the tool prints. `shell` is whose shell and tools it has,
    `usual_shell` unless given.
    """

    usual_shell: ClassVar[Shell] = HOST

    def __init__(
        self,
        root: Path,
        *,
        properties: Mapping[str, str] | None = None,
        cpuinfo: str = CPUINFO,
        soc_id: str | None = "305",
        max_khz: tuple[int, ...] = MAX_KHZ,
        output: int = 2025,
        real: bool = False,
        shell: Shell | None = None,
    ) -> None:
        self.properties = {**PROPERTIES, **(properties or {})}
        self.faults = Faults()
        self.trusted_keys: list[tuple[int, int]] = []
        self.offered_keys: list[bytes] = []
        self.connections: list[Connection] = []
        self.commands: list[str] = []
        self.boots = 1
        self.files = Files(root.resolve(), self.properties, len(max_khz), shell or self.usual_shell)
        self.services = Services(self)
        self._max_khz = max_khz
        self._thermal_service = int(self.properties["ro.build.version.sdk"]) >= 29  # Android 10
        self._turn_away = 0
        self._readings_left = 0
        self._zygote: subprocess.Popen[bytes] | None = None
        self.slower_now: Callable[[], float] | None = None  # how many times as long a run takes that begins now
        self.files.write("/proc/cpuinfo", cpuinfo)
        if soc_id is not None:
            self.files.write("/sys/devices/soc0/soc_id", soc_id + "\n")
        self.files.write(f"{_CPU}/present", f"0-{len(max_khz) - 1}\n")
        self.files.write("/proc/loadavg", "1.00 0.90 0.80 1/600 4242\n")
        for core, khz in enumerate(max_khz):
            self.files.write(f"{_CPU}/cpu{core}/cpufreq/cpuinfo_max_freq", f"{khz}\n")
            self.files.write(f"{_CPU}/cpu{core}/cpufreq/scaling_governor", "interactive\n")
        self.set_tool(output=output)
        self.set_heat(1.0)
        self._new_boot()
        if real:
            self._zygote = self._start_zygote()
        self._listener = Listener(self)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        self._listener.close()
        self.drop()
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._zygote is not None:
            self._zygote.kill()
            self._zygote.wait()
            self._socket_folder.cleanup()

    # -- what it is ----------------------------------------------------------------------------------------

    def set_tool(self, *, output: int = 2025, garbage: bool = False, lacks: str = "") -> None:
        """How the tool behaves: whose spelling, whether it prints nonsense next, which flags it lacks."""
        self.files.write("/tool", f"{output}\n{int(garbage)}\n{lacks}\n")

    def set_heat(self, factor: float, *, told: bool = True) -> None:
        """How much slower it is now; a hot phone caps its clocks, and says so where Android is new enough.

        Unless it is `told`, all that the phone says of itself stays as it is.
        """
        hot = factor > 1.0
        self.files.write("/heat", f"{factor}\n")
        if not told:
            return
        for core, khz in enumerate(self._max_khz):
            now = round(khz / factor)
            self.files.write(f"{_CPU}/cpu{core}/cpufreq/scaling_max_freq", f"{now}\n")
            self.files.write(f"{_CPU}/cpu{core}/cpufreq/scaling_cur_freq", f"{now}\n")
        battery = _HOT_C if hot else _COOL_C
        self.files.write("/dumpsys/battery", _BATTERY.format(tenths=round(10 * battery)))
        for zone, (kind, raw) in enumerate((("battery", battery * 1000), ("tsens_tz_sensor4", battery * 10 + 80))):
            self.files.write(f"/sys/class/thermal/thermal_zone{zone}/type", kind + "\n")
            if not self.files.path(f"/sys/class/thermal/thermal_zone{zone}/temp").is_dir():
                self.files.write(f"/sys/class/thermal/thermal_zone{zone}/temp", f"{raw:.0f}\n")
        if self._thermal_service:
            self.files.write(
                "/dumpsys/thermalservice", _THERMAL.format(status=3 if hot else 0, cpu=battery + 8, skin=battery + 2)
            )

    def _new_boot(self) -> None:
        self.files.write("/proc/sys/kernel/random/boot_id", f"{uuid.uuid4()}\n")

    def _start_zygote(self) -> "subprocess.Popen[bytes]":
        """A process that has TensorFlow Lite loaded and forks for each run; it leaves when we do."""
        self._socket_folder = tempfile.TemporaryDirectory(prefix="phone")  # a socket's path must be short
        path = f"{self._socket_folder.name}/zygote"
        zygote = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("zygote.py")), path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert zygote.stdout is not None
        zygote.stdout.readline()
        self.files.write("/zygote", path)
        return zygote

    # -- what happens to it --------------------------------------------------------------------------------

    def strike(self, faults: Iterable[Fault], connection: Connection) -> None:
        for fault in faults:
            getattr(self, f"_strike_{fault.kind}")(fault, connection)

    def _strike_drop(self, _: Fault, __: Connection) -> None:
        self.drop()

    def _strike_vanish(self, fault: Fault, _: Connection) -> None:
        self._turn_away = fault.attempts
        self.drop()

    def _strike_silence(self, _: Fault, connection: Connection) -> None:
        connection.silent = True

    def _strike_reboot(self, fault: Fault, _: Connection) -> None:
        self.boots += 1
        self._turn_away = fault.attempts
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._new_boot()
        self.drop()

    def _strike_full(self, _: Fault, __: Connection) -> None:
        self.files.set_free_bytes(0)

    def _strike_throttle(self, fault: Fault, _: Connection) -> None:
        self._readings_left = fault.readings
        self.set_heat(fault.factor, told=fault.told)

    def _strike_garbage(self, _: Fault, __: Connection) -> None:
        output = int((self.files.root / "tool").read_text().split("\n")[0])
        self.set_tool(output=output, garbage=True)

    def _strike_kill_tool(self, _: Fault, __: Connection) -> None:
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def drop(self) -> None:
        for connection in list(self.connections):
            connection.cut()

    def come_back(self) -> None:
        """Let clients in again."""
        self._turn_away = 0

    def forget(self, connection: Connection) -> None:
        with contextlib.suppress(ValueError):
            self.connections.remove(connection)

    def turns_away(self) -> bool:
        if self._turn_away > 0:
            self._turn_away -= 1
            return True
        return self._turn_away < 0

    def note_command(self, command: str) -> None:
        """Keep what was run; a hot phone cools while its state is read, a wandering one has another speed each run."""
        self.commands.append(command)
        if self.slower_now is not None and "--graph" in command:
            self.files.write("/heat", f"{self.slower_now()}\n")
        if self._readings_left and "dumpsys battery" in command:
            self._readings_left -= 1
            if not self._readings_left:
                self.set_heat(1.0)

    # -- what it did ---------------------------------------------------------------------------------------

    def processes(self) -> list[int]:
        """Processes that still run out of the phone's temporary folder."""
        mark = f"{self.files.root}/data/local/tmp/".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    if mark in (entry / "cmdline").read_bytes():
                        found.append(int(entry.name))
        return found

    def pushed(self) -> list[Path]:
        """The models that lie on the phone."""
        return sorted((self.files.root / "data/local/tmp/pnag/models").glob("*.tflite"))


_BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  status: 2
  health: 2
  present: true
  level: 84
  scale: 100
  voltage: 4200
  temperature: {tenths}
  technology: Li-ion
"""
_THERMAL = """IsStatusOverride: false
Thermal Status: {status}
Cached temperatures:
 Temperature{{mValue=99.0, mType=3, mName=skin, mStatus=0}}
HAL Ready: true
HAL connection:
\tThermalHAL 2.0 connected: yes
Current temperatures from HAL:
\tTemperature{{mValue={cpu}, mType=0, mName=CPU0, mStatus=0}}
\tTemperature{{mValue=-99.9, mType=6, mName=pa, mStatus=0}}
\tTemperature{{mValue={skin}, mType=3, mName=skin, mStatus=0}}
Current cooling devices from HAL:
\tCoolingDevice{{mValue=0, mType=2, mName=thermal-cpufreq-0}}
"""
