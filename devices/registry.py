"""From a spec to its back-end. A back-end's module is imported only when it is asked for."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, cast

from devices.backend import Backend
from devices.backends import BACKENDS, declared_options, find_backend, known_backends, open_function, resolve
from devices.errors import DeviceOptionError
from devices.spec import DeviceSpec

__all__ = ["BACKENDS", "attached", "known_backends", "open_backend"]


def open_backend(spec: DeviceSpec, **options: Any) -> Backend:
    """The back-end that `spec` names. `options` (for instance serial, adb address) override the spec's.

    Raises `UnknownDeviceError` for a back-end that does not exist, `DeviceOptionError` for an option that
    it does not take, `RuntimeUnavailableError` if its runtime cannot be had here.
    """
    opener = open_function(spec.backend, spec.where)
    declared = declared_options(spec.backend, spec.where)
    parameters = inspect.signature(opener).parameters.values()
    taken = {parameter.name for parameter in parameters} | {option.name for option in declared or ()}
    takes_any = declared is None and any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    for option in options:
        if option not in taken and not takes_any:
            raise DeviceOptionError(
                f"device {spec.name} takes no --{option.replace('_', '-')}: its runtime is {spec.backend}; leave it out"
            )
    return cast(Backend, opener(spec, **options))


def attached(spec: DeviceSpec, adb: Sequence[str] = ()) -> list[str]:
    """What is at hand that this spec may mean, one line each; empty where its back-end cannot look.

    `adb` are addresses at which phones may be; other kinds of devices have none.
    """
    target = find_backend(spec.backend, spec.where).looks
    if not target:
        return []
    look = resolve(target)
    return cast(list[str], look(adb) if "adb" in inspect.signature(look).parameters else look())
