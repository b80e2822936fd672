"""Device specs: which runtime, how many threads, which cores, and how to recognise the hardware."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from devices.backend import DeviceInfo
from devices.backends import declared_options
from devices.errors import DeviceMismatchError, UnknownDeviceError
from devices.options import Option, option_faults, settle, told_together
from devices.specs.form import as_text, is_backend, key_faults


@dataclass(frozen=True)
class DeviceSpec:
    """A device by name, as read from `devices/specs/NAME.toml` or from a file of the user's.

    `match` maps fields of `DeviceInfo.fields` to regular expressions, searched without regard to case, which must
    match whole words: 'i5-7400' is no 'i5-7400T'. An empty table takes any hardware. `options` are the back-end's
    own (see `devices.options`), `sampling` goes to whoever measures: how long to measure what, where the usual does
    not suit the device. `source` is the file, for messages.

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
    source: str = field(default="", compare=False, repr=False)

    @property
    def where(self) -> str:
        """What messages call it: its file, or its name."""
        return self.source or f"device {self.name}"

    def settle(self, declared: Sequence[Option], **given: Any) -> dict[str, Any]:
        """Every declared option's value: as given (None: not given), else as the spec has it, else its default.

        Raises `DeviceOptionError` for an option that is not declared, or a value that it may not have.
        """
        return settle(declared, self.options, given, self.where)

    def mismatch(self, found: DeviceInfo) -> str | None:
        """Why `found` is not this device, or None if it is."""
        for name, pattern in self.match.items():
            value = str(found.fields.get(name, ""))
            if not matches(pattern, value):
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


def matches(pattern: str, value: str) -> bool:
    """Whether a pattern is found in `value` with no letter or digit right before or behind it."""
    try:
        whole = re.compile(rf"(?<![^\W_])(?:{pattern})(?![^\W_])", re.IGNORECASE)
    except re.error:  # a pattern with flags of its own, which must stand first
        whole = re.compile(pattern, re.IGNORECASE)
    return whole.search(value) is not None


def list_specs() -> tuple[str, ...]:
    """Names of the specs that come with the package."""
    names = (entry.name for entry in resources.files("devices.specs").iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def no_faults(_: Mapping[str, Any]) -> Sequence[str]:
    """A table of which nothing is known here, so that nothing is wrong with it."""
    return ()


def load_spec(name: str, sampling_faults: Callable[[Mapping[str, Any]], Sequence[str]] = no_faults) -> DeviceSpec:
    """The spec of that name, or of a `.toml` file given by its path.

    All that is wrong with it is said together: one `UnknownDeviceError`. `sampling_faults` says what is wrong with
    [sampling], for whoever is to measure knows what may stand there.
    """
    source: Traversable | Path
    own = name.lower().endswith(".toml")
    if own:
        source = Path(name)
    elif name in list_specs():
        source = resources.files("devices.specs") / f"{name}.toml"
    else:
        known = ", ".join(list_specs())
        raise UnknownDeviceError(f"unknown device '{name}'; known are {known}, or give a .toml file of your own")
    try:
        values = tomllib.loads(as_text(source.read_bytes()))
    except OSError as error:
        raise UnknownDeviceError(f"cannot read {name}: {error.strerror or error}; check the path") from error
    except (ValueError, RecursionError) as error:
        raise UnknownDeviceError(f"{name} is not valid TOML ({error}); compare it with devices/specs") from error
    where = name if own else f"{name}.toml"
    faults = [
        *key_faults(values, list_specs() if own else ()),
        *_options_at_fault(values, where),
        *(f"[sampling]: {fault}" for fault in sampling_faults(_table(values, "sampling"))),
    ]
    if faults:
        raise UnknownDeviceError(f"{where}: {told_together(faults)}")
    return DeviceSpec(**values, source=where)


def _table(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = values.get(name)
    return found if isinstance(found, Mapping) else {}


def _options_at_fault(values: Mapping[str, Any], where: str) -> list[str]:
    """What is wrong with [options], or with the back-end that would know."""
    backend = values.get("backend")
    if not isinstance(backend, str) or not is_backend(backend):
        return []  # said already
    try:
        declared = declared_options(backend, where)
    except UnknownDeviceError as error:
        return [str(error).removeprefix(f"{where} ")]
    options = _table(values, "options")
    return [] if declared is None else [f"[options]: {fault}" for fault in option_faults(declared, options)]
