"""What a phone is: model, SoC, build, ABI and cores, read once in one shell command."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from devices.backend import DeviceInfo
from devices.errors import DeviceOptionError, RuntimeUnavailableError
from devices.numbers import digits, spans, turned_fault, whole

CPU = "/sys/devices/system/cpu"
COMMAND = f"""getprop
echo __section cpuinfo; cat /proc/cpuinfo 2>/dev/null
echo __section soc_id; cat /sys/devices/soc0/soc_id 2>/dev/null
echo __section clocks; grep -H . {CPU}/cpu[0-9]*/cpufreq/cpuinfo_max_freq 2>/dev/null
echo __section present; cat {CPU}/present 2>/dev/null
echo __section online; cat {CPU}/online 2>/dev/null
echo __section governors; grep -H . {CPU}/cpu[0-9]*/cpufreq/scaling_governor 2>/dev/null
echo __section kernel; uname -r"""

# Qualcomm's numbers in /sys/devices/soc0/soc_id. The platform name msm8996 covers 820 and 821 alike.
_SOC_IDS = {"246": "MSM8996", "291": "APQ8096", "305": "MSM8996pro", "310": "MSM8996au", "312": "APQ8096pro"}
_PROPERTY = re.compile(r"^\[(?P<name>[^\]]+)\]: \[(?P<value>.*)\]$")
_CPU_FILE = re.compile(rf"^{CPU}/cpu(?P<cpu>{digits(4)})/cpufreq/\w+:(?P<value>.+)$")


@dataclass(frozen=True)
class Phone:
    """The raw facts. `max_mhz` and `governors` are by core, and lack what the phone does not let us read."""

    properties: Mapping[str, str]
    cpuinfo: str
    soc_id: str
    max_mhz: Mapping[int, float]
    governors: Mapping[int, str]
    core_count: int
    kernel: str
    offline: frozenset[int] = frozenset()

    @property
    def soc(self) -> tuple[str, str]:
        """The SoC's name and where it was found; the sources that tell an 821 from an 820 come first."""
        hardware = re.search(r"^Hardware\s*:\s*(.+)$", self.cpuinfo, re.MULTILINE)
        return next(
            (name, source)
            for name, source in (
                (_SOC_IDS.get(self.soc_id, ""), "soc_id"),
                (_soc_of(hardware[1]) if hardware else "", "cpuinfo"),
                (self.properties.get("ro.soc.model", ""), "ro.soc.model"),
                (self.properties.get("ro.board.platform", ""), "ro.board.platform"),
                (self.properties.get("ro.hardware", ""), "ro.hardware"),
                ("unknown", "nowhere"),
            )
            if name
        )

    @property
    def abis(self) -> tuple[str, ...]:
        """What the phone executes, best first."""
        listed = self.properties.get("ro.product.cpu.abilist") or self.properties.get("ro.product.cpu.abi", "")
        return tuple(abi for abi in listed.split(",") if abi)

    @property
    def api_level(self) -> int:
        """Android's API level, 0 if unknown."""
        return whole(self.properties.get("ro.build.version.sdk")) or 0

    def info(self) -> DeviceInfo:
        """The facts as the table records them."""
        get = self.properties.get
        soc, source = self.soc
        model = " ".join(part for part in (get("ro.product.manufacturer"), get("ro.product.model")) if part)
        fields: dict[str, Any] = {
            "soc": soc,
            "soc_source": source,
            "soc_id": self.soc_id,
            "soc_manufacturer": get("ro.soc.manufacturer", ""),
            "board_platform": get("ro.board.platform", ""),
            "phone_model": get("ro.product.model", ""),
            "build_fingerprint": get("ro.build.fingerprint", ""),
            "android_version": get("ro.build.version.release", ""),
            "api_level": self.api_level,
            "abi": get("ro.product.cpu.abi", ""),
            "kernel": self.kernel,
            "cores": self.core_count,
            "cores_offline": sorted(self.offline),
            "core_max_mhz": [self.max_mhz.get(core) for core in range(self.core_count)],
            "governors": sorted(set(self.governors.values())),
        }
        serial = get("ro.serialno") or get("ro.boot.serialno") or ""
        unit = hashlib.sha256(f"phone {serial}".encode()).hexdigest()[:16] if serial else ""
        return DeviceInfo("phone", f"{model or 'a phone'} ({soc})", fields, unit)


def parse_identity(text: str) -> Phone:
    """Read the output of `COMMAND`. Raises `RuntimeUnavailableError` if it is not a phone's."""
    parts = sections(text)
    properties = {m["name"]: m["value"] for line in parts[""].splitlines() if (m := _PROPERTY.match(line))}
    if "ro.product.cpu.abi" not in properties:
        raise RuntimeUnavailableError("the device does not answer getprop as Android does; is it an Android phone?")
    max_mhz = mhz_by_core(parts.get("clocks", ""))
    cpuinfo = parts.get("cpuinfo", "")
    listed = len(re.findall(r"^processor\s*:", cpuinfo, re.MULTILINE))
    present = spans(parts.get("present", ""))
    count = present[-1][1] + 1 if present else max([listed, *(core + 1 for core in max_mhz), 1])
    governors = by_core(parts.get("governors", ""))
    online = _core_list(parts.get("online", ""), count)
    offline = frozenset(range(count)) - online if online else frozenset()
    kernel = parts.get("kernel", "").strip()
    return Phone(properties, cpuinfo, parts.get("soc_id", "").strip(), max_mhz, governors, count, kernel, offline)


def _core_list(text: str, count: int) -> frozenset[int]:
    """Cores of the kernel's list, such as 0-3,6; empty for a text of another form."""
    return frozenset(core for low, high in spans(text) or () for core in range(low, min(high, count - 1) + 1))


# Part numbers of makers of SoCs, as they stand somewhere in the line.
_PART = re.compile(
    r"\b(?:MSM|APQ|SDM|SDA|SM|SXR|QCM|QCS|MT|SC|UMS|RK|S5E|GS|universal|exynos|kirin|hi)[ -]?\d{3,5}[A-Za-z]*\b",
    re.IGNORECASE,
)
_NO_SOC = re.compile(r"generic|device tree|unknown|^\W*$|dt based|virtual|placeholder", re.IGNORECASE)
# A line that names the maker alone: the properties know more.
_MAKER = re.compile(
    r"(?:qualcomm(?: technologies)?|qti|mediatek|samsung|hisilicon|unisoc|spreadtrum|google|rockchip|amlogic|allwinner"
    r"|nvidia|intel|amd|huawei)?(?:[ ,.]+(?:inc|ltd|corp|corporation|co))*[ ,.]*",
    re.IGNORECASE,
)


def _soc_of(hardware: str) -> str:
    """The SoC's name in a `Hardware` line, of whatever form; empty where it names none."""
    if part := _PART.search(hardware):
        return re.sub(r"[ -]", "", part[0])
    text = re.sub(r"\([^)]*\)", " ", hardware)
    return "" if _NO_SOC.search(hardware) or _MAKER.fullmatch(text.strip()) else " ".join(text.split())[:40]


def sections(text: str) -> Mapping[str, str]:
    """Split output at its `__section NAME` lines; what comes before the first is under the empty name."""
    result: dict[str, str] = {}
    for part in ("__section \n" + text).split("__section ")[1:]:
        name, _, body = part.partition("\n")
        result[name.strip()] = body
    return result


def by_core(text: str) -> Mapping[int, str]:
    """Values of `grep -H . …/cpuN/cpufreq/NAME` by core; lines of another form are left out."""
    return {int(m["cpu"]): m["value"].strip() for line in text.splitlines() if (m := _CPU_FILE.match(line.strip()))}


def mhz_by_core(text: str) -> Mapping[int, float]:
    """Clocks in MHz by core, of files in kHz; what is no clock is left out."""
    return {core: khz / 1000 for core, value in by_core(text).items() if (khz := whole(value)) is not None}


def choose_cores(phone: Phone, threads: int, affinity: str | None) -> tuple[int, ...]:
    """The cores that `affinity` names (`2-3`; `none`: all), the fastest without it. Raises `DeviceOptionError`."""
    if affinity is None or affinity == "auto":
        return fastest_cores(phone, threads)
    parts = () if affinity == "none" else spans(affinity)
    if parts is None or any(last >= phone.core_count for _, last in parts):
        raise DeviceOptionError(
            f"--affinity {affinity} does not name cores of this phone; they are 0 to {phone.core_count - 1}"
        )
    if fault := turned_fault(parts):
        raise DeviceOptionError(f"--affinity {affinity} {fault}")
    cores = {core for first, last in parts for core in range(first, last + 1)}
    if off := sorted(cores & phone.offline):
        raise DeviceOptionError(
            f"--affinity {affinity} names core {off[0]}, which is off line; give others, or wake its cluster"
        )
    return tuple(sorted(cores)) or _online(phone)


def fastest_cores(phone: Phone, threads: int) -> tuple[int, ...]:
    """The cores of the highest maximum clock, whole clusters, until there is one for each thread.

    All cores if the clocks cannot be read. Raises `DeviceOptionError` if the phone has too few cores.
    """
    if threads > phone.core_count - len(phone.offline) and phone.offline:
        raise DeviceOptionError(
            f"{threads} threads are more than the phone's {len(_online(phone))} cores that are on line; give fewer"
        )
    if threads > phone.core_count:
        raise DeviceOptionError(
            f"{threads} threads are more than the phone's {phone.core_count} cores; give --threads {phone.core_count}"
        )
    chosen: list[int] = []
    online = {core: mhz for core, mhz in phone.max_mhz.items() if core not in phone.offline}
    for clock in sorted(set(online.values()), reverse=True):
        if len(chosen) >= threads:
            break
        chosen += [core for core, mhz in online.items() if mhz == clock]
    return tuple(sorted(chosen)) if len(chosen) >= threads else _online(phone)


def _online(phone: Phone) -> tuple[int, ...]:
    return tuple(core for core in range(phone.core_count) if core not in phone.offline)


def core_mask(cores: Sequence[int]) -> int:
    """The affinity mask that `taskset` takes, as a number: cores 2 and 3 are 0xc."""
    return sum(1 << core for core in cores)
