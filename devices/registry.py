"""From a spec to its back-end. A back-end's module is imported only when it is asked for."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, cast

from devices.backend import Backend
from devices.backends import BACKENDS, declared_options, find_backend, known_backends, open_function, resolve
from devices.errors import DeviceOptionError
from devices.spec import DeviceSpec

__all__ = ["BACKENDS", "attached", "known_backends", "open_backend", "option_rows", "read_options"]


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


def read_options(spec: DeviceSpec, texts: Sequence[str]) -> dict[str, Any]:
    """The options that texts such as `KEY=VALUE` give the spec's back-end, each in its type.

    A back-end of another package that declares none is given texts. Raises `DeviceOptionError`.
    """
    pairs = [text.partition("=") for text in texts]
    for text, (key, equals, _) in zip(texts, pairs, strict=True):
        if not key or not equals:
            raise DeviceOptionError(f"--option {text:.60} is no KEY=VALUE; write for instance --option affinity=0")
    given = {key: value for key, _, value in pairs}
    if len(given) < len(pairs):
        double = next(key for key, _, _ in pairs if [k for k, _, _ in pairs].count(key) > 1)
        raise DeviceOptionError(f"--option {double:.60} is given twice; give it once")
    declared = declared_options(spec.backend, spec.where)
    if declared is None:
        return dict(given)
    by_name = {option.name: option for option in declared}
    if unknown := [key for key in given if key not in by_name]:
        known = ", ".join(sorted(by_name)) or "none"
        raise DeviceOptionError(
            f"device {spec.name} ({spec.backend}) has no option {unknown[0]:.60}; known are {known}, see --list-options"
        )
    return {key: by_name[key].parse(value, f"--option {key}={value:.60}") for key, value in given.items()}


def option_rows(spec: DeviceSpec) -> list[dict[str, Any]]:
    """What the back-end declares: of each option `name`, `allowed`, `help`, and `default` (as the spec sets it)."""
    declared = declared_options(spec.backend, spec.where) or ()
    return [
        {
            "name": option.name,
            "allowed": option.allowed,
            "default": spec.options.get(option.name, option.default),
            "help": option.help,
        }
        for option in declared
    ]


def attached(spec: DeviceSpec, adb: Sequence[str] = ()) -> list[str]:
    """What is at hand that this spec may mean, one line each; empty where its back-end cannot look.

    `adb` are addresses at which phones may be; other kinds of devices have none.
    """
    target = find_backend(spec.backend, spec.where).looks
    if not target:
        return []
    look = resolve(target)
    return cast(list[str], look(adb) if "adb" in inspect.signature(look).parameters else look())
