"""What may disturb a measurement on a phone: heat, caps on the clocks, battery, load; one shell command."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from devices.android.identity import CPU, by_core, mhz_by_core, sections
from devices.backend import DeviceState
from devices.numbers import digits, whole

THERMAL = "/sys/class/thermal"
COMMAND = f"""echo __section now; grep -H . {CPU}/cpu[0-9]*/cpufreq/scaling_cur_freq 2>/dev/null
echo __section cap; grep -H . {CPU}/cpu[0-9]*/cpufreq/scaling_max_freq 2>/dev/null
echo __section governor; grep -H . {CPU}/cpu[0-9]*/cpufreq/scaling_governor 2>/dev/null
echo __section zones; grep -H . {THERMAL}/thermal_zone*/type {THERMAL}/thermal_zone*/temp 2>/dev/null
echo __section load; cat /proc/loadavg 2>/dev/null
echo __section battery; dumpsys battery 2>/dev/null
echo __section thermal; dumpsys thermalservice 2>/dev/null; true"""

_ZONE = re.compile(rf"^{THERMAL}/thermal_zone(?P<zone>\d+)/(?P<what>type|temp):(?P<value>.*)$")
_BATTERY = re.compile(r"^\s*(?P<name>[\w ]+?)\s*:\s*(?P<value>\S+)\s*$")
_STATUS = re.compile(rf"^\s*Thermal Status:\s*(?P<status>{digits()})\b", re.MULTILINE)
_TEMPERATURE = re.compile(
    rf"Temperature\{{mValue=(?P<value>-?{digits()}(?:\.\d*)?), mType=(?P<type>-?\d+), mName=(?P<name>[^,]+)"
)
_HAL = "Current temperatures from HAL:"
_CPU_TYPE, _SKIN_TYPE = "0", "3"  # Android's Temperature.TYPE_CPU and TYPE_SKIN
_CPU_ZONE = re.compile(r"cpu|tsens|soc|cluster|apollo|atlas|big|little", re.IGNORECASE)
_NOT_HEAT = re.compile(
    r"batt|^socd?$|soc[-_]?(?:pct|percent|level|rep|raw)|bcl|vbat|ibat|capacity|level|charge", re.IGNORECASE
)
_PLAUSIBLE_C = (1.0, 130.0)
_PLAUSIBLE_BATTERY_C = (-40.0, 130.0)
THROTTLED_STATUS = 2  # 'moderate': from here on Android limits performance
LOW_CAP = 0.98  # a cap below this share of the maximum is one


@dataclass(frozen=True)
class Reading:
    """One moment on the phone. Clocks in MHz by core; None or empty where the phone does not tell."""

    clocks_mhz: Mapping[int, float]
    caps_mhz: Mapping[int, float]
    governors: Mapping[int, str]
    battery_c: float | None
    battery_percent: int | None
    charging: bool | None
    cpu_c: float | None
    skin_c: float | None
    thermal_status: int | None
    runnable: int | None

    def state(self, cores: Sequence[int], limits_mhz: Mapping[int, float], core_count: int) -> DeviceState:
        """The reading seen from the cores in use, whose usual caps are `limits_mhz`."""
        capped = [
            core for core in cores
            if core in self.caps_mhz and self.caps_mhz[core] < LOW_CAP * limits_mhz.get(core, 0.0)
        ]  # fmt: skip
        hot = self.thermal_status is not None and self.thermal_status >= THROTTLED_STATUS
        clocks = [self.clocks_mhz[core] for core in cores if core in self.clocks_mhz]
        temperature = next((t for t in (self.battery_c, self.skin_c, self.cpu_c) if t is not None), None)
        details: dict[str, Any] = {
            "battery_c": self.battery_c,
            "skin_c": self.skin_c,
            "cpu_c": self.cpu_c,
            "thermal_status": self.thermal_status,
            "battery_percent": self.battery_percent,
            "charging": self.charging,
            "governors": sorted({self.governors[core] for core in cores if core in self.governors}),
            "caps_mhz": [self.caps_mhz[core] for core in cores if core in self.caps_mhz],
        }
        load = None if self.runnable is None else max(0, self.runnable - 1) / core_count  # less the reader itself
        return DeviceState(
            temperature_c=temperature,
            clock_mhz=max(clocks, default=None),
            load=load,
            throttled=bool(capped) or hot,
            details={name: value for name, value in details.items() if value not in (None, [])},
        )


def parse_reading(text: str) -> Reading:
    """Read the output of `COMMAND`; what is missing or denied is None."""
    parts = sections(text)
    battery = {m["name"]: m["value"] for line in parts.get("battery", "").splitlines() if (m := _BATTERY.match(line))}
    if battery.get("present") == "false":  # a television or a board: its numbers mean nothing
        battery = {}
    thermal = parts.get("thermal", "")
    hal = _hal_temperatures(thermal)
    status = _STATUS.search(thermal)
    cpu = [value for kind, _, value in hal if kind == _CPU_TYPE] or _cpu_zones(parts.get("zones", ""))
    skin = [value for kind, _, value in hal if kind == _SKIN_TYPE]
    tenths = whole(battery.get("temperature"), signed=True)
    return Reading(
        clocks_mhz=mhz_by_core(parts.get("now", "")),
        caps_mhz=mhz_by_core(parts.get("cap", "")),
        governors=by_core(parts.get("governor", "")),
        battery_c=None if tenths is None else _battery_c(tenths / 10),
        battery_percent=whole(battery.get("level"), signed=True),
        charging=any(battery.get(f"{source} powered") == "true" for source in ("AC", "USB", "Wireless", "Dock"))
        if battery else None,
        cpu_c=max(cpu, default=None),
        skin_c=max(skin, default=None),
        thermal_status=int(status["status"]) if status else None,
        runnable=_runnable(parts.get("load", "")),
    )  # fmt: skip


def celsius(raw: float) -> float | None:
    """A thermal zone's value in °C, whatever its unit (°C, tenths, thousandths), or None if implausible."""
    for divisor in (1.0, 10.0, 1000.0):
        value = raw / divisor
        if _PLAUSIBLE_C[0] <= value <= _PLAUSIBLE_C[1]:
            return value
    return None


def _battery_c(value_c: float) -> float | None:
    return value_c if _PLAUSIBLE_BATTERY_C[0] <= value_c <= _PLAUSIBLE_BATTERY_C[1] else None


def _hal_temperatures(text: str) -> list[tuple[str, str, float]]:
    """(type, name, °C) of the section that is current; the cached values above it may be hours old."""
    current = text.partition(_HAL)[2].partition("Current cooling devices")[0]
    found = [(m["type"], m["name"], float(m["value"])) for m in _TEMPERATURE.finditer(current)]
    return [(kind, name, value) for kind, name, value in found if _PLAUSIBLE_C[0] <= value <= _PLAUSIBLE_C[1]]


def _cpu_zones(text: str) -> list[float]:
    kinds: dict[str, str] = {}
    raw: dict[str, float] = {}
    for line in text.splitlines():
        match = _ZONE.match(line.strip())
        if match and match["what"] == "type":
            kinds[match["zone"]] = match["value"]
        elif match and (value := whole(match["value"], signed=True)) is not None:
            raw[match["zone"]] = float(value)
    values = (celsius(heat) for zone, heat in raw.items() if _is_cpu(kinds.get(zone, "")))
    return [heat for heat in values if heat is not None]


def _is_cpu(kind: str) -> bool:
    """Whether a zone is the processor's heat: `soc` by itself is a battery's state of charge, in percent."""
    return _CPU_ZONE.search(kind) is not None and _NOT_HEAT.search(kind.strip()) is None


def _runnable(text: str) -> int | None:
    words = text.split()
    return whole(words[3].partition("/")[0]) if len(words) >= 4 else None
