"""The machine this runs on: what it is, how it is doing, and which cores to measure on."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from devices.backend import DeviceInfo, DeviceState
from devices.errors import DeviceOptionError
from devices.numbers import digits, spans, turned_fault, whole
from devices.options import Option, shown

AFFINITY = Option("affinity", str, "cores such as 1 or 0,2-3, or none; the quietest unless given")

# `soc` by itself is a battery's state of charge, in percent.
_BATTERY = re.compile(r"batt|^socd?$|soc[-_]?(?:pct|percent|level)|capacity|charge", re.IGNORECASE)
_CPU = Path("/sys/devices/system/cpu")
_THERMAL = Path("/sys/class/thermal")
_LOOK_S = 0.05


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _blocks() -> list[dict[str, str]]:
    """/proc/cpuinfo as it is divided by empty lines: one block for each processor, and others for the board."""
    text = _read(Path("/proc/cpuinfo")) or ""
    blocks = []
    for part in re.split(r"\n\s*\n", text):
        pairs = (line.split(":", 1) for line in part.splitlines() if ":" in line)
        blocks.append({key.strip(): value.strip() for key, value in reversed(list(pairs))})
    return blocks


def _cpuinfo(core: int = 0) -> dict[str, str]:
    """A processor's fields of /proc/cpuinfo, and the board's; empty where there is none."""
    board: dict[str, str] = {}
    first: dict[str, str] = {}
    own: dict[str, str] = {}
    for block in _blocks():
        number = whole(block.get("processor"))
        # Old kernels name the model there, and what all processors share stands by itself.
        if number is None:
            board |= block
            continue
        board |= {key: block[key] for key in _OF_BOARD if key in block}
        first = first or block
        if number == core:
            own = block
    return {**first, **own, **board} if own or not first else {**first, **board}


_OF_BOARD = ("Hardware", "Revision", "Model")
_NO_BOARD = re.compile(r"generic|dt based|unknown", re.IGNORECASE)


def cpu_model(core: int = 0) -> str:
    """The processor's name as the system gives it: its own, else the board's, else its implementer and part."""
    info = _cpuinfo(core)
    board = info.get("Model") or (_read(Path("/proc/device-tree/model")) or "").strip("\0 \n")
    part = f"{info['CPU implementer']}/{info['CPU part']}" if "CPU part" in info and "CPU implementer" in info else ""
    hardware = info.get("Hardware", "")
    elsewhere = (info.get(key) for key in ("Model Name", "cpu model", "cpu"))  # LoongArch, MIPS, POWER
    named = (info.get("model name"), board, "" if _NO_BOARD.search(hardware) else hardware, *elsewhere)
    by_part = f"{platform.machine()} processor {part}" if part else ""
    return next((name for name in named if name), by_part) or platform.processor() or platform.machine() or "unknown"


def _family_model_stepping(core: int) -> str:
    """What tells a processor's design: x86's three numbers, or ARM's implementer, part, variant and revision."""
    info = _cpuinfo(core)
    if "CPU part" in info:
        arm = ("CPU implementer", "CPU part", "CPU variant", "CPU revision")
        return "/".join(info.get(key, "?") for key in arm)
    if "uarch" in info or "isa" in info:  # RISC-V
        return "/".join(info.get(key, "?") for key in ("mvendorid", "uarch", "isa"))
    return "/".join(info.get(key, "?") for key in ("cpu family", "model", "stepping"))


def allowed_cores() -> tuple[int, ...]:
    """Cores that this process may use, in order."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def _cpufreq(core: int, name: str) -> str | None:
    return _read(_CPU / f"cpu{core}" / "cpufreq" / name)


def _mhz(core: int, name: str) -> float | None:
    khz = whole(_cpufreq(core, name))
    return None if khz is None else khz / 1000


# Instruction sets that kernels of runtimes choose by; the other flags say nothing about speed.
_COMPUTING = re.compile(
    r"sse\w*|ssse3|avx\w*|fma\w*|f16c|vnni|amx\w*|asimd\w*|neon|fphp|i8mm|bf16|sve\w*|sme\w*|vfpv\d|rv64\w*"
)


def _instruction_sets() -> list[str]:
    """What the processor computes with, by the system's names."""
    info = _cpuinfo()
    flags = info.get("flags") or info.get("Features") or ""
    return sorted(flag for flag in set(flags.split()) if _COMPUTING.fullmatch(flag))


def _caches_kib(core: int) -> dict[str, int]:
    """A core's caches by level and kind, such as `L1d`, `L2`, `L3`; empty where the system does not say."""
    sizes: dict[str, int] = {}
    for folder in sorted((_CPU / f"cpu{core}" / "cache").glob("index*")):
        level, kind, size = (_read(folder / name) or "" for name in ("level", "type", "size"))
        if match := re.fullmatch(rf"({digits()})([KM]?)", size):
            kib = int(match[1]) * {"": 1, "K": 1024, "M": 1 << 20}[match[2]] // 1024
            sizes[f"L{level}{kind[:1].lower() if kind in ('Data', 'Instruction') else ''}"] = kib
    return sizes


def describe_host(cores: Sequence[int] = ()) -> DeviceInfo:
    """What this machine is; `cores` are those that measure. Holds nothing that names its owner."""
    first = cores[0] if cores else 0
    memory = re.search(rf"MemTotal:\s+({digits(15)}) kB", _read(Path("/proc/meminfo")) or "")
    info = _cpuinfo(first)
    virtual = "hypervisor" in info.get("flags", "").split()
    vendor = _read(Path("/sys/class/dmi/id/sys_vendor")) if virtual else None
    fields: dict[str, Any] = {
        "cpu_model": cpu_model(first),
        "cpu_family_model_stepping": _family_model_stepping(first),
        "architecture": platform.machine(),
        "instruction_sets": _instruction_sets(),
        "caches_kib": _caches_kib(first),
        "cores_online": os.cpu_count() or 1,
        "cores_allowed": list(allowed_cores()),
        "cores_used": list(cores),
        "governor": _cpufreq(first, "scaling_governor"),
        "max_clock_mhz": _mhz(first, "cpuinfo_max_freq"),
        "memory_mib": int(memory.group(1)) // 1024 if memory else None,
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "virtual_machine": virtual,
        "hypervisor_vendor": vendor,
        "load_1min_at_start": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }
    return DeviceInfo(kind="cpu", model=cpu_model(first), fields=fields)


def host_state(cores: Sequence[int] = ()) -> DeviceState:
    """Temperature, clock and load now; None where they cannot be read."""
    first = cores[0] if cores else 0
    clock_mhz = _mhz(first, "scaling_cur_freq")
    if clock_mhz is None:
        said = _cpuinfo(first).get("cpu MHz", "")
        clock_mhz = float(said) if re.fullmatch(rf"{digits()}(?:\.\d{{0,9}})?", said, re.ASCII) else None
    running = re.search(rf"^procs_running ({digits()})$", _read(Path("/proc/stat")) or "", re.MULTILINE)
    load = (int(running.group(1)) - 1) / (os.cpu_count() or 1) if running else None
    return DeviceState(temperature_c=_temperature_c(), clock_mhz=clock_mhz, load=load)


def _temperature_c() -> float | None:
    """The hottest zone that belongs to the processor."""
    hottest: float | None = None
    for zone in _THERMAL.glob("thermal_zone*"):
        kind, thousandths = _read(zone / "type") or "", whole(_read(zone / "temp"), signed=True)
        heat = re.search(r"cpu|pkg|soc|acpitz|k10", kind, re.IGNORECASE) and not _BATTERY.search(kind)
        if heat and thousandths is not None:
            celsius = thousandths / 1000
            if not 1.0 <= celsius <= 130.0:  # a percentage, or a sensor that is switched off
                continue
            hottest = celsius if hottest is None else max(hottest, celsius)
    return hottest


def parse_cores(text: str) -> tuple[int, ...]:
    """Cores of a list such as `0,2-3`. Raises `DeviceOptionError` for anything else, or cores that are not here."""
    parts = spans(text)
    if parts is None:
        raise DeviceOptionError(f"{shown(text)} is not a list of cores; write for instance 1 or 0,2-3, or none")
    if fault := turned_fault(parts):
        raise DeviceOptionError(f"{shown(text)} {fault}")
    cores = [core for low, high in parts for core in range(low, high + 1)]
    here = allowed_cores()
    if missing := sorted(set(cores) - set(here)):
        raise DeviceOptionError(f"core {missing[0]} is not one that may be used here; choose from {_ranges(here)}")
    return tuple(dict.fromkeys(cores))


def _ranges(cores: Sequence[int]) -> str:
    return ", ".join(map(str, cores))


def _busy_ticks() -> dict[int, int]:
    """Clock ticks that each core has spent working since the start of the system."""
    busy: dict[int, int] = {}
    for line in (_read(Path("/proc/stat")) or "").splitlines():
        words = line.split()
        if re.fullmatch(rf"cpu{digits(4)}( {digits(20)}){{5,}}", " ".join(words)):
            ticks = [int(word) for word in words[1:9]]
            busy[int(words[0][3:])] = sum(ticks) - ticks[3] - ticks[4]  # without idle and waiting for a disk
    return busy


def choose_cores(threads: int, sleep: Callable[[float], None] = time.sleep) -> tuple[int, ...]:
    """The `threads` cores to measure on: the fastest, of those the least busy now, of those the last.

    The first core serves most interrupts, so the last one is the better guess.
    """
    cores = allowed_cores()
    if len(cores) <= threads:
        return cores
    before = _busy_ticks()
    sleep(_LOOK_S)
    after = _busy_ticks()

    def rank(core: int) -> tuple[float, int, int]:
        return (_mhz(core, "cpuinfo_max_freq") or 0.0, before.get(core, 0) - after.get(core, 0), core)

    return tuple(sorted(sorted(cores, key=rank)[-threads:]))


def resolve_cores(affinity: str | None, threads: int) -> tuple[int, ...]:
    """Cores for an `affinity` option: a list, `none` for no pinning (), or None for our own choice."""
    if not hasattr(os, "sched_setaffinity"):
        return ()
    if affinity is None or affinity == "auto":
        return choose_cores(threads)
    return () if affinity == "none" else parse_cores(affinity)


@contextmanager
def pinned(cores: Sequence[int]) -> Iterator[None]:
    """Keep this thread, and threads it starts, on `cores` within the block; () changes nothing."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def attached() -> list[str]:
    """What of this kind is at hand, for a list of devices."""
    return [f"{cpu_model()}, {os.cpu_count()} cores"]
