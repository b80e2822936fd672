"""How to measure a device: the usual, with what its spec says instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from devices import DeviceSpec, load_spec
from devices.errors import UnknownDeviceError
from devices.options import shown, told_together
from lut.words import quoted
from profiler.errors import ProfilerError
from profiler.measure.session import Sampling
from profiler.measure.stopping import StopSettings, read_stop

# key of a spec's [sampling] -> field of Sampling, and of the Slice or StopSettings in it
_FIELDS: Mapping[str, tuple[str, str | None]] = {
    "block_s": ("block", "min_time_s"),
    "block_warmup_s": ("block", "warmup_s"),
    "block_cold_mib": ("block", "cold_mib"),
    "network_s": ("network", "min_time_s"),
    "network_warmup_s": ("network", "warmup_s"),
    "reference_s": ("reference", "min_time_s"),
    "reference_warmup_s": ("reference", "warmup_s"),
    "warm_up_s": ("warm_up_s", None),
    "segment_s": ("segment_s", None),
    "max_wait_s": ("max_wait_s", None),
    "longest_pause_s": ("longest_pause_s", None),
    "drift_limit": ("drift_limit", None),
    "wandering_visit": ("wandering_visit", None),
    "wandering_rounds": ("wandering_rounds", None),
    "wandering_s": ("wandering_s", None),
    "relative_ci": ("stop", "relative_ci"),
    "min_rounds": ("stop", "min_rounds"),
    "max_rounds": ("stop", "max_rounds"),
}
_ROUNDS = ("min_rounds", "max_rounds")
_WHOLE = (*_ROUNDS, "block_cold_mib")
_TOO_MUCH = 1e6
_STOP = "stop"  # a rule by its name with its parameters, as --stop takes it


def load_device(name: str) -> DeviceSpec:
    """A device's spec to measure by: all that is wrong with its file, [sampling] too, is said together.

    Raises `UnknownDeviceError`.
    """
    return load_spec(name, sampling_faults)


def sampling_for(spec: DeviceSpec, seed: int = 0, statistic: str = "quiet") -> Sampling:
    """The settings for a device. Raises one `UnknownDeviceError` for all keys and values that make no sense."""
    if faults := sampling_faults(spec.sampling):
        raise UnknownDeviceError(f"{spec.where}: [sampling]: {told_together(faults)}")
    sampling = Sampling(seed=seed, statistic=statistic)
    for key, value in spec.sampling.items():
        if key in _FIELDS:
            sampling = _with(sampling, *_FIELDS[key], int(value) if key in _WHOLE else float(value))
    most = max(sampling.stop.min_rounds, sampling.stop.max_rounds)
    sampling = replace(sampling, stop=replace(sampling.stop, max_rounds=most))
    if _STOP in spec.sampling:
        sampling = replace(sampling, stop=read_stop(spec.sampling[_STOP], sampling.stop))
    return sampling


def sampling_faults(values: Mapping[str, Any]) -> list[str]:
    """All that is wrong with the table [sampling] of a spec; `load_device` says it with what else is wrong there."""
    faults = []
    if unknown := [quoted(key, 60) for key in values if key not in (*_FIELDS, _STOP)]:
        known = ", ".join((*_FIELDS, _STOP))
        faults.append(f"there is no key {' or '.join(unknown[:5])}; known are {known}")
    wrong = {key: value for key, value in values.items() if key in _FIELDS and not _may_be(key, value)}
    for key, value in wrong.items():
        lowest, numbers = (1, "whole number") if key in _WHOLE else (0, "number")
        faults.append(f"{key} is {shown(value)}; give a {numbers} from {lowest} on, below {_TOO_MUCH:,.0f}")
    least, most = (values.get(key, 1) if key not in wrong else 1 for key in _ROUNDS)
    if "max_rounds" in values and most < least:
        faults.append(f"max_rounds is {most}, below min_rounds {least}; give as many or more")
    if _STOP in values and (fault := _stop_fault(values[_STOP], StopSettings())):
        faults.append(fault)
    return faults


def _may_be(key: str, value: object) -> bool:
    whole = key in _WHOLE
    kinds = int if whole else int | float
    return not isinstance(value, bool) and isinstance(value, kinds) and int(whole) <= value < _TOO_MUCH


def _stop_fault(value: object, settings: StopSettings) -> str:
    """What is wrong with a rule of the table, empty if nothing is."""
    if not isinstance(value, str):
        return f"{_STOP} is {shown(value)}; give a rule such as 'settled,patience=3'"
    try:
        read_stop(value, settings)
    except ProfilerError as error:
        return f"{_STOP} is {shown(value)}: {error}"
    return ""


def _with(sampling: Sampling, field: str, inner: str | None, value: float) -> Sampling:
    changed: Any = value if inner is None else replace(getattr(sampling, field), **{inner: value})
    return replace(sampling, **{field: changed})
