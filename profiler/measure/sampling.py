"""How to measure a device: the usual, with what its spec says instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from devices import DeviceSpec
from devices.errors import UnknownDeviceError
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
    "relative_ci": ("stop", "relative_ci"),
    "min_rounds": ("stop", "min_rounds"),
    "max_rounds": ("stop", "max_rounds"),
}
_WHOLE = ("min_rounds", "max_rounds", "block_cold_mib")
_STOP = "stop"  # a rule by its name with its parameters, as --stop takes it


def sampling_for(spec: DeviceSpec, seed: int = 0, statistic: str = "quiet") -> Sampling:
    """The settings for a device. Raises `UnknownDeviceError` for a key or value that makes no sense."""
    sampling = Sampling(seed=seed, statistic=statistic)
    for key, value in spec.sampling.items():
        if key == _STOP:
            sampling = replace(sampling, stop=_stop(spec, value, sampling.stop))
            continue
        if key not in _FIELDS:
            known = ", ".join((*_FIELDS, _STOP))
            raise UnknownDeviceError(
                f"{spec.where} has an unknown key {quoted(key, 60)} in [sampling]; known are {known}"
            )
        lowest, numbers = (1, "whole number") if key in _WHOLE else (0, "number")
        kinds = int if key in _WHOLE else int | float
        if isinstance(value, bool) or not isinstance(value, kinds) or not lowest <= value < 1e6:
            raise UnknownDeviceError(
                f"{spec.where} has {key} = {value!r:.60} in [sampling]; give a {numbers} from {lowest} on"
            )
        sampling = _with(sampling, *_FIELDS[key], int(value) if key in _WHOLE else float(value))
    return sampling


def _stop(spec: DeviceSpec, value: object, settings: StopSettings) -> StopSettings:
    where = f"{spec.where} has stop = {value!r:.60} in [sampling]"
    if not isinstance(value, str):
        raise UnknownDeviceError(f"{where}; give a rule such as 'settled,patience=3'")
    try:
        return read_stop(value, settings)
    except ProfilerError as error:
        raise UnknownDeviceError(f"{where}: {error}") from error


def _with(sampling: Sampling, field: str, inner: str | None, value: float) -> Sampling:
    changed: Any = value if inner is None else replace(getattr(sampling, field), **{inner: value})
    return replace(sampling, **{field: changed})
