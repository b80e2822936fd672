"""From a spec to its back-end. A back-end's module is imported only when it is asked for.

A back-end may live in another package. It registers a name in the entry point group `pnag.backends`, or a spec names
its function itself, as `backend = "package.module:function"`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, cast

from devices.backend import Backend
from devices.errors import DeviceOptionError, RuntimeUnavailableError, UnknownDeviceError, one_line
from devices.spec import DeviceSpec

GROUP = "pnag.backends"

# back-end name -> "module:function"; the function takes a DeviceSpec and keyword options, returns a Backend.
BACKENDS: Mapping[str, str] = {
    "onnxruntime": "devices.host.ort:open_ort",
    "litert": "devices.host.litert:open_litert",
    "cuda": "devices.cuda.backend:open_cuda",
    "onnxruntime-gpu": "devices.cuda.ort:open_ort_gpu",
    "android": "devices.android.opening:open_android",
    "fake": "devices.fake:open_fake",
}

# back-end name -> "module:function"; the function lists what is attached, without opening it.
ATTACHED: Mapping[str, str] = {
    "onnxruntime": "devices.host.computer:attached",
    "litert": "devices.host.computer:attached",
    "cuda": "devices.cuda.backend:attached",
    "android": "devices.android.listing:attached",
}


def open_backend(spec: DeviceSpec, **options: Any) -> Backend:
    """The back-end that `spec` names. `options` (for instance serial, adb address) override the spec's.

    Raises `UnknownDeviceError` for a back-end that does not exist, `DeviceOptionError` for an option that
    it does not take, `RuntimeUnavailableError` if its runtime cannot be had here.
    """
    opener = _opener(spec)
    taken = inspect.signature(opener).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values())
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
    target = ATTACHED.get(spec.backend)
    if target is None:
        return []
    look = _resolve(target)
    return cast(list[str], look(adb) if "adb" in inspect.signature(look).parameters else look())


def known_backends() -> Mapping[str, str]:
    """Names of back-ends and where they are, ours first: a package of another owner takes no name of ours."""
    return {entry.name: entry.value for entry in entry_points(group=GROUP)} | dict(BACKENDS)


def _opener(spec: DeviceSpec) -> Callable[..., Any]:
    """The function that opens the back-end of a spec. Raises `UnknownDeviceError`, `RuntimeUnavailableError`."""
    if spec.backend in BACKENDS:
        return cast(Callable[..., Any], _resolve(BACKENDS[spec.backend]))
    known = known_backends()
    target = spec.backend if ":" in spec.backend else known.get(spec.backend)
    if target is None:
        raise UnknownDeviceError(
            f"device {spec.name} asks for back-end '{spec.backend}'; known are {', '.join(sorted(known))}, "
            "or name a function as package.module:function"
        )
    try:
        opener = _resolve(target)
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"device {spec.name}: back-end {target} cannot be imported ({one_line(error)}); install its package"
        ) from error
    except AttributeError as error:
        raise UnknownDeviceError(
            f"device {spec.name}: back-end {target} is not there ({one_line(error)}); write package.module:function"
        ) from error
    if not callable(opener):
        raise UnknownDeviceError(
            f"device {spec.name}: back-end {target} is no function; it takes a spec, gives a back-end"
        )
    return cast(Callable[..., Any], opener)


def _resolve(target: str) -> Any:
    module, _, function = target.partition(":")
    return getattr(import_module(module), function)
