"""Device specs: which runtime, how many threads, which cores, and how to recognise the hardware."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from devices.backend import DeviceInfo
from devices.errors import DeviceMismatchError, UnknownDeviceError


@dataclass(frozen=True)
class DeviceSpec:
    """A device by name, as read from `devices/specs/NAME.toml` or from a file of the user's.

    `match` maps fields of `DeviceInfo.fields` to regular expressions, searched without regard to case;
    an empty table takes any hardware. `options` go to the back-end as they are, `sampling` to whoever
    measures: how long to measure what, where the usual does not suit the device.

    >>> spec = DeviceSpec("kiosk", "the kiosk", "litert", match={"cpu_model": "i5-7400"})
    >>> spec.mismatch(DeviceInfo("cpu", "Ryzen 5", {"cpu_model": "Ryzen 5"}))
    "cpu_model is 'Ryzen 5', but kiosk is for the kiosk"
    """

    name: str
    title: str
    backend: str
    threads: int = 1
    batch: int = 1
    precision: str = "float32"
    match: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    sampling: Mapping[str, Any] = field(default_factory=dict)

    def mismatch(self, found: DeviceInfo) -> str | None:
        """Why `found` is not this device, or None if it is."""
        for name, pattern in self.match.items():
            value = str(found.fields.get(name, ""))
            if re.search(pattern, value, re.IGNORECASE) is None:
                return f"{name} is '{value or 'unknown'}', but {self.name} is for {self.title}"
        return None

    def check(self, found: DeviceInfo, *, allow_mismatch: bool = False) -> str | None:
        """The mismatch as a notice if it is allowed, None if there is none; else `DeviceMismatchError`."""
        reason = self.mismatch(found)
        if reason and not allow_mismatch:
            raise DeviceMismatchError(
                f"found {found.model}, not {self.name}: {reason}; use the device's own name, or --allow-mismatch"
            )
        return reason


def list_specs() -> tuple[str, ...]:
    """Names of the specs that come with the package."""
    names = (entry.name for entry in resources.files("devices.specs").iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def load_spec(name: str) -> DeviceSpec:
    """The spec of that name, or of a `.toml` file given by its path. Raises `UnknownDeviceError`."""
    source: Traversable | Path
    if name.endswith(".toml"):
        source = Path(name)
    elif name in list_specs():
        source = resources.files("devices.specs") / f"{name}.toml"
    else:
        known = ", ".join(list_specs())
        raise UnknownDeviceError(f"unknown device '{name}'; known are {known}, or give a .toml file of your own")
    try:
        values = tomllib.loads(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnknownDeviceError(f"cannot read {source}: {error.strerror or error}; check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UnknownDeviceError(f"{source} is not valid TOML ({error}); compare it with devices/specs") from error
    return _spec_from(values, str(source))


def _spec_from(values: Mapping[str, Any], source: str) -> DeviceSpec:
    known = {f.name for f in fields(DeviceSpec)}
    if unknown := sorted(set(values) - known):
        raise UnknownDeviceError(
            f"{source} has unknown keys {', '.join(unknown)}; known are {', '.join(sorted(known))}"
        )
    if missing := sorted({"name", "title", "backend"} - set(values)):
        raise UnknownDeviceError(f"{source} lacks {', '.join(missing)}; every spec has a name, a title and a backend")
    return DeviceSpec(**values)
