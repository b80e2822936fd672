"""Devices: run one artefact on one device and return raw samples.

In come a device's spec and artefacts. Out go samples in milliseconds, the identity of the hardware and its state.
Rooms: `host`, `android`, `cuda`; `specs` holds the TOML files.
"""

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
