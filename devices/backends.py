"""The back-ends by name: where each is opened, what options it declares, and how it looks for what is attached.

A back-end's modules are imported only when it is asked for; its options are declared in a module that needs no
runtime. Another package offers one by an entry point of the group `pnag.backends`, or a spec names its function itself,
as `backend = "package.module:function"`; options that its module declares as `OPTIONS` are checked as ours are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast

from devices.errors import RuntimeUnavailableError, UnknownDeviceError, one_line
from devices.options import Option

GROUP = "pnag.backends"


@dataclass(frozen=True)
class BackendEntry:
    """Targets are "module:name". `opens`: a function of a `DeviceSpec` and keyword options that returns a `Backend`.

    `options`: a sequence of `Option`. `looks`: a function that lists what is attached without opening it. `foreign`: of
    another package.
    """

    opens: str
    options: str
    looks: str = ""
    foreign: bool = False


BACKENDS: Mapping[str, BackendEntry] = {
    "onnxruntime": BackendEntry(
        "devices.host.ort:open_ort", "devices.host.ort:OPTIONS", "devices.host.computer:attached"
    ),
    "litert": BackendEntry(
        "devices.host.litert:open_litert", "devices.host.litert:OPTIONS", "devices.host.computer:attached"
    ),
    "cuda": BackendEntry(
        "devices.cuda.backend:open_cuda", "devices.cuda.mode:OPTIONS", "devices.cuda.backend:attached"
    ),
    "onnxruntime-gpu": BackendEntry("devices.cuda.ort:open_ort_gpu", "devices.cuda.ort:OPTIONS"),
    "android": BackendEntry(
        "devices.android.opening:open_android", "devices.android.options:OPTIONS", "devices.android.listing:attached"
    ),
    "fake": BackendEntry("devices.fake:open_fake", "devices.fake:OPTIONS"),
}


def known_backends() -> Mapping[str, str]:
    """Names of back-ends and where they are, ours first: another package cannot take a name of ours."""
    from importlib.metadata import entry_points

    foreign = {entry.name: entry.value for entry in entry_points(group=GROUP)}
    return foreign | {name: entry.opens for name, entry in BACKENDS.items()}


def find_backend(name: str, where: str) -> BackendEntry:
    """The back-end of that name: ours, another package's, or a function as "package.module:function".

    Raises `UnknownDeviceError` that lists the known ones; `where` asks for it.
    """
    if name in BACKENDS:
        return BACKENDS[name]
    known = known_backends()
    target = name if ":" in name else known.get(name)
    if target is None:
        raise UnknownDeviceError(
            f"{where} asks for back-end '{name}'; known are {', '.join(sorted(known))}, "
            "or name a function as package.module:function"
        )
    return BackendEntry(target, f"{target.partition(':')[0]}:OPTIONS", foreign=True)


def declared_options(name: str, where: str) -> Sequence[Option] | None:
    """The options that the back-end of that name declares; None where another package's declares none.

    Raises `UnknownDeviceError`.
    """
    entry = find_backend(name, where)
    try:
        return cast(Sequence[Option], resolve(entry.options))
    except (ImportError, AttributeError):
        if entry.foreign:  # whether it can be imported at all shows when it is opened
            return None
        raise


def open_function(name: str, where: str) -> Callable[..., Any]:
    """The function that opens a back-end. Raises `UnknownDeviceError`, `RuntimeUnavailableError`."""
    entry = find_backend(name, where)
    if not entry.foreign:
        return cast(Callable[..., Any], resolve(entry.opens))
    try:
        opener = resolve(entry.opens)
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"{where}: back-end {entry.opens} cannot be imported ({one_line(error)}); install its package"
        ) from error
    except AttributeError as error:
        raise UnknownDeviceError(
            f"{where}: back-end {entry.opens} is not there ({one_line(error)}); write package.module:function"
        ) from error
    if not callable(opener):
        raise UnknownDeviceError(f"{where}: back-end {entry.opens} is no function; it takes a spec, gives a back-end")
    return cast(Callable[..., Any], opener)


def resolve(target: str) -> Any:
    """What "module:name" stands for."""
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)
