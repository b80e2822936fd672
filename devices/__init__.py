"""Devices: run one artefact on one device and return raw samples."""

from devices.backend import Artefact, Backend, DeviceInfo, DeviceState, Program, Samples, Slice
from devices.errors import DeviceError
from devices.registry import open_backend
from devices.spec import DeviceSpec, list_specs, load_spec

__all__ = [
    "Artefact",
    "Backend",
    "DeviceError",
    "DeviceInfo",
    "DeviceSpec",
    "DeviceState",
    "Program",
    "Samples",
    "Slice",
    "list_specs",
    "load_spec",
    "open_backend",
]
