"""Back-end for Android phones: TensorFlow Lite's benchmark_model, run over ADB, one invocation per visit."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from devices.android.adb.keys import load_signer
from devices.android.adb.session import AdbSession, Patience
from devices.android.adb.transport import Address, open_transport, usb_address
from devices.android.backend import AndroidBackend
from devices.android.state import THROTTLED_STATUS
from devices.android.tool import find_tool
from devices.backend import DeviceState
from devices.errors import DeviceOptionError
from devices.spec import DeviceSpec

DELEGATES = ("xnnpack", "gpu", "none")
START_C, COOL_DOWN_S = 35.0, 600.0  # throttling has been seen from about 37 °C on
_COOLING_POLL_S = 10.0


def open_android(
    spec: DeviceSpec,
    *,
    serial: str | None = None,
    adb: str | None = None,
    benchmark_model: str | Path | None = None,
    delegate: str | None = None,
    affinity: str | None = None,
    announce: Callable[[str], None] | None = None,
    patience: Patience | None = None,
    home: Path | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    transport: Callable[[Address], Any] = open_transport,
) -> AndroidBackend:
    """Connect to a phone and put the tool on it.

    `serial` names a phone on USB, `adb` one at HOST:PORT; with neither, the only one attached is taken.
    `benchmark_model` is the tool's file for Android (else `benchmark_model` of the spec's options or of
    `~/.config/pnag/config.toml`). `delegate` is `xnnpack` (the CPU), `gpu` or `none`. `affinity` names cores
    (`2-3`, `none` for all); without it they are the fastest. Before it returns, the phone has cooled down to the
    spec's `start_c` or `cool_down_s` has passed. Raises `DeviceOptionError`, `RuntimeUnavailableError` or
    `AuthorizationError`, each with what to do.
    """
    options = dict(spec.options)
    delegate = delegate or str(options.get("delegate", "xnnpack"))
    if delegate not in DELEGATES:
        raise DeviceOptionError(f"unknown delegate '{delegate}'; known are {', '.join(DELEGATES)}")
    announce = announce or _announce
    tool = find_tool(benchmark_model or options.get("benchmark_model"), home)
    address = Address.parse(adb) if adb else usb_address(serial)
    session = AdbSession(
        address,
        load_signer(home),
        announce=announce,
        patience=patience,
        clock=clock,
        sleep=sleep,
        transport=transport,
    )
    try:
        session.connect()
        backend = AndroidBackend(
            session, tool, delegate=delegate, precision=spec.precision, threads=spec.threads, affinity=affinity
        )
        wait_until_cool(
            backend,
            float(options.get("start_c", START_C)),
            float(options.get("cool_down_s", COOL_DOWN_S)),
            announce=announce,
            clock=clock,
            sleep=sleep,
        )
    except BaseException:
        session.close()
        raise
    return backend


def _announce(message: str) -> None:
    print(message, file=sys.stderr, flush=True)  # noqa: T201


def wait_until_cool(
    backend: AndroidBackend,
    start_c: float,
    limit_s: float,
    *,
    announce: Callable[[str], None],
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> bool:
    """Wait for the battery to be at most `start_c` warm; False after `limit_s` seconds.

    A cool phone whose clocks are capped all the same is taken to be set so. Where neither temperature nor
    thermal status can be read there is nothing to wait for.
    """
    started, told = clock(), False
    while True:
        state = backend.state()
        warm = state.temperature_c is not None and state.temperature_c > start_c
        if not warm and state.details.get("thermal_status", 0) < THROTTLED_STATUS:
            backend.learn_usual_caps()
            return True
        if clock() - started >= limit_s:
            announce(f"the phone is still {_how_warm(state)} after {limit_s:g} s; measuring as it is")
            return False
        if not told:
            announce(f"the phone is {_how_warm(state)}; waiting for {start_c:g} °C, at most {limit_s:g} s")
            told = True
        sleep(_COOLING_POLL_S)


def _how_warm(state: DeviceState) -> str:
    warm = "of unknown temperature" if state.temperature_c is None else f"{state.temperature_c:.1f} °C warm"
    return warm + (" and throttled" if state.throttled else "")
