"""What an NVIDIA card says of itself through NVML: clocks, power, temperature, what holds it back, who uses it.

Read only: nothing here sets anything. Everything may be missing, for instance in a virtual machine, and is
then None. Needs the package nvidia-ml-py (extra `gpu`); without it a session goes on and knows less.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from devices.backend import DeviceState

# Bits of the clocks' event reasons, as the NVML reference names them (older drivers say throttle reasons).
REASONS = {
    0x001: "gpu_idle",
    0x002: "applications_clocks_setting",
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal_slowdown",
    0x040: "hw_thermal_slowdown",
    0x080: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
    0x200: "board_limit",
    0x400: "reliability",
}
_ALWAYS_THROTTLED = frozenset({"hw_slowdown", "sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown"})
# A power cap is how many cards run under load; it counts once the clock is below this share of its maximum.
_CAPPED_SHARE = 0.75

_T = TypeVar("_T")


def reason_names(bits: int) -> tuple[str, ...]:
    """The names of the bits that are set, unknown ones in hexadecimal."""
    known = tuple(name for bit, name in REASONS.items() if bits & bit)
    unknown = bits & ~sum(REASONS)
    return (*known, hex(unknown)) if unknown else known


def is_throttled(reasons: Iterable[str], clock_mhz: float | None, max_clock_mhz: float | None) -> bool:
    """Whether heat, the board's brakes or a limit of power, far below its highest clock, slow the card down."""
    active = set(reasons)
    if active & _ALWAYS_THROTTLED:
        return True
    if "sw_power_cap" not in active or "gpu_idle" in active or not clock_mhz or not max_clock_mhz:
        return False
    return clock_mhz < _CAPPED_SHARE * max_clock_mhz


def foreign_processes(now: Iterable[int] | None, before: Iterable[int], own: int) -> frozenset[int] | None:
    """Processes computing on the card beside this one; None: cannot be known.

    `before` are those seen before this process used the card. In a container, NVML gives the host's
    numbers, and ours is not among them: then one that came since is taken for ours.
    """
    if now is None:
        return None
    present = frozenset(now)
    if own in present:
        return present - {own}
    arrived = present - frozenset(before)
    return present - arrived if len(arrived) == 1 else present


class Nvml:
    """One card. `open` finds it; `state` is cheap enough to be called between rounds."""

    def __init__(self, library: Any, handle: Any, *, own_process: int) -> None:
        self._library, self._handle, self._own = library, handle, own_process
        self._before = self._processes() or frozenset()
        self._max_clock_mhz = self._ask(lambda: float(library.nvmlDeviceGetMaxClockInfo(handle, library.NVML_CLOCK_SM)))

    @classmethod
    def open(
        cls, uuid: str = "", pci_bus_id: str = "", *, library: Any = None, own_process: int | None = None
    ) -> tuple[Nvml | None, str]:
        """NVML's view of a card, or None, and why there is none.

        `uuid` with or without its prefix; the PCI address is for where it is unknown. A card that is the
        only one needs neither.
        """
        if library is None:
            try:
                import pynvml as library  # type: ignore[no-redef]
            except ImportError:
                return None, "nvidia-ml-py is not installed; pip install nvidia-ml-py"
        try:
            library.nvmlInit()
            handle = _find(library, uuid, pci_bus_id)
        except library.NVMLError as error:
            return None, f"NVML cannot be used ({error})"
        if handle is None:
            library.nvmlShutdown()
            return None, "NVML does not know the card by the address that CUDA gives"
        return cls(library, handle, own_process=own_process or os.getpid()), ""

    def _ask(self, question: Callable[[], _T]) -> _T | None:
        """An answer, or None where the card, the driver or the binding has none."""
        try:
            return question()
        except (self._library.NVMLError, AttributeError):
            return None

    def _processes(self) -> frozenset[int] | None:
        found = self._ask(lambda: self._library.nvmlDeviceGetComputeRunningProcesses(self._handle))
        return None if found is None else frozenset(int(process.pid) for process in found)

    def _reasons(self) -> tuple[str, ...] | None:
        library, handle = self._library, self._handle
        bits = self._ask(lambda: int(library.nvmlDeviceGetCurrentClocksEventReasons(handle)))
        if bits is None:
            bits = self._ask(lambda: int(library.nvmlDeviceGetCurrentClocksThrottleReasons(handle)))
        return None if bits is None else reason_names(bits)

    def state(self) -> DeviceState:
        """Temperature, clock and throttling; power, memory clock, reasons and other processes as details."""
        library, handle = self._library, self._handle
        temperature = self._ask(lambda: float(library.nvmlDeviceGetTemperature(handle, library.NVML_TEMPERATURE_GPU)))
        clock = self._ask(lambda: float(library.nvmlDeviceGetClockInfo(handle, library.NVML_CLOCK_SM)))
        reasons = self._reasons()
        others = foreign_processes(self._processes(), self._before, self._own)
        details = {
            "memory_clock_mhz": self._ask(
                lambda: float(library.nvmlDeviceGetClockInfo(handle, library.NVML_CLOCK_MEM))
            ),
            "power_w": self._ask(lambda: library.nvmlDeviceGetPowerUsage(handle) / 1000),
            "clock_reasons": None if reasons is None else list(reasons),
            "other_processes": None if others is None else len(others),
        }
        return DeviceState(
            temperature_c=temperature,
            clock_mhz=clock,
            throttled=is_throttled(reasons or (), clock, self._max_clock_mhz),
            details={name: value for name, value in details.items() if value is not None},
        )

    def name(self) -> str | None:
        """The card's name, such as `NVIDIA H100 80GB HBM3`."""
        return self._ask(lambda: _text(self._library.nvmlDeviceGetName(self._handle)))

    def describe(self) -> dict[str, Any]:
        """What does not change in a session, as JSON values; no serial number, no UUID."""
        library, handle = self._library, self._handle
        power_mw = self._ask(lambda: int(library.nvmlDeviceGetEnforcedPowerLimit(handle)))
        persistence = self._ask(lambda: bool(library.nvmlDeviceGetPersistenceMode(handle)))
        ecc = self._ask(lambda: bool(library.nvmlDeviceGetEccMode(handle)[0]))
        facts = {
            "driver": self._ask(lambda: _text(library.nvmlSystemGetDriverVersion())),
            "max_sm_clock_mhz": self._max_clock_mhz,
            "max_memory_clock_mhz": self._ask(
                lambda: float(library.nvmlDeviceGetMaxClockInfo(handle, library.NVML_CLOCK_MEM))
            ),
            "power_limit_w": None if power_mw is None else power_mw / 1000,
            "persistence_mode": persistence,
            "ecc": ecc,
        }
        return {name: value for name, value in facts.items() if value is not None}

    def close(self) -> None:
        """Let NVML go. Closing twice is harmless."""
        if self._handle is not None:
            self._handle = None
            self._ask(self._library.nvmlShutdown)


def _find(library: Any, uuid: str, pci_bus_id: str) -> Any:
    """The card's handle by UUID, by PCI address, or as the only card; None if it is none of these."""
    plain = uuid.removeprefix("GPU-").removeprefix("MIG-")
    attempts: list[Callable[[], Any]] = []
    if plain:
        attempts += [lambda: library.nvmlDeviceGetHandleByUUID(f"GPU-{plain}")]
        attempts += [lambda: library.nvmlDeviceGetHandleByUUID(f"MIG-{plain}")]
    if pci_bus_id:
        attempts.append(lambda: library.nvmlDeviceGetHandleByPciBusId(pci_bus_id))
    for attempt in attempts:
        try:
            return attempt()
        except library.NVMLError:
            continue
    return library.nvmlDeviceGetHandleByIndex(0) if library.nvmlDeviceGetCount() == 1 else None


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
