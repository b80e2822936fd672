"""From a spec to its back-end. A back-end's module is imported only when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, cast

from devices.backend import Backend
from devices.errors import UnknownDeviceError
from devices.spec import DeviceSpec

# back-end name -> "module:function"; the function takes a DeviceSpec and keyword options, returns a Backend.
BACKENDS: Mapping[str, str] = {
    "onnxruntime": "devices.ort:open_ort",
    "fake": "devices.fake:open_fake",
}


def open_backend(spec: DeviceSpec, **options: Any) -> Backend:
    """The back-end that `spec` names. `options` (for instance serial, adb address) override the spec's.

    Raises `UnknownDeviceError` for a back-end that does not exist, `RuntimeUnavailableError` if its
    runtime cannot be had here.
    """
    target = BACKENDS.get(spec.backend)
    if target is None:
        known = ", ".join(sorted(BACKENDS))
        raise UnknownDeviceError(f"device {spec.name} asks for back-end '{spec.backend}'; known are {known}")
    module, _, function = target.partition(":")
    return cast(Backend, getattr(import_module(module), function)(spec, **options))
