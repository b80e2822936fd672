"""Back-end for Android phones: TensorFlow Lite's benchmark_model, run over ADB, one invocation per visit."""

from __future__ import annotations

import hashlib
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from devices.android.adb.errors import require_phone
from devices.android.adb.keys import load_signer
from devices.android.adb.session import AdbSession, Patience
from devices.android.adb.transport import Address, open_transport, usb_address
from devices.android.backend import AndroidBackend
from devices.android.options import OPTIONS
from devices.android.state import THROTTLED_STATUS
from devices.android.tool import find_tool
from devices.backend import DeviceState
from devices.errors import DeviceOptionError, RuntimeUnavailableError
from devices.locks import holding
from devices.spec import DeviceSpec

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
    (`2-3`, `none` for all); without it they are the fastest. Before the first measurement the phone cools down to the
    spec's `start_c`, for `cool_down_s` at most. One session at a time has a phone: another gets `HeldError`. Raises
    `DeviceOptionError`, `RuntimeUnavailableError` or `AuthorizationError`, each with what to do.
    """
    options = spec.settle(
        OPTIONS, serial=serial, adb=adb, benchmark_model=benchmark_model, delegate=delegate, affinity=affinity
    )
    if spec.precision == "float16" and options["delegate"] != "gpu":
        raise DeviceOptionError(
            f"the delegate {options['delegate']} computes float32, not float16; "
            "give --delegate gpu, or leave --precision out"
        )
    announce = announce or _announce
    tool = _found_tool(options["benchmark_model"], home, options["adb"])
    address = Address.parse(options["adb"]) if options["adb"] else usb_address(options["serial"])
    session = AdbSession(
        address,
        load_signer(home),
        announce=announce,
        patience=patience,
        clock=clock,
        sleep=sleep,
        transport=transport,
    )
    cool_down = partial(
        wait_until_cool,
        start_c=options["start_c"],
        cool_down_s=options["cool_down_s"],
        announce=announce,
        clock=clock,
        sleep=sleep,
    )
    with ExitStack() as opened:
        opened.callback(session.close)
        session.connect()
        opened.enter_context(
            holding(_lock_path(session), f"the phone at {address}", "wait until that is done, or end it")
        )
        backend = AndroidBackend(
            session,
            tool,
            delegate=options["delegate"],
            precision=spec.precision,
            threads=spec.threads,
            affinity=options["affinity"],
            cool_down=cool_down,
        )
        backend.keep_until_closed(opened.pop_all())
    return backend


def _found_tool(given: str | Path | None, home: Path | None, adb: str | None) -> Path:
    """The tool; where there is none, what is wrong with the address is said with it."""
    try:
        return find_tool(given, home)
    except RuntimeUnavailableError as missing:
        if adb:
            try:
                require_phone(Address.parse(adb))
            except RuntimeUnavailableError as error:
                raise RuntimeUnavailableError(f"{error}. Also, {missing}") from missing
        raise


def _lock_path(session: AdbSession) -> Path:
    """The file that a session of this user locks to have the phone, the same over USB and over the network."""
    which = hashlib.sha256((session.boot or str(session.address)).encode()).hexdigest()[:16]
    user = os.getuid() if hasattr(os, "getuid") else 0
    return Path(tempfile.gettempdir()) / f"pnag-{user}-phone-{which}.lock"


def _announce(message: str) -> None:
    print(message, file=sys.stderr, flush=True)  # noqa: T201


def wait_until_cool(
    backend: AndroidBackend,
    max_s: float = math.inf,
    *,
    start_c: float,
    cool_down_s: float,
    announce: Callable[[str], None],
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> bool:
    """Wait for the battery to be at most `start_c` warm; False after `cool_down_s` seconds, or `max_s` if that is less.

    A cool phone whose clocks are capped all the same is taken to be set so. Where neither temperature nor
    thermal status can be read there is nothing to wait for.
    """
    started, told, limit_s = clock(), False, min(cool_down_s, max_s)
    while True:
        state = backend.state()
        warm = state.temperature_c is not None and state.temperature_c > start_c
        if not warm and state.details.get("thermal_status", 0) < THROTTLED_STATUS:
            backend.learn_usual_caps()
            return True
        if clock() - started >= limit_s:
            announce(f"the phone is still {_how_warm(state)} after {limit_s:.0f} s; measuring as it is")
            return False
        if not told:
            announce(f"the phone is {_how_warm(state)}; waiting for {start_c:g} °C, at most {limit_s:.0f} s")
            told = True
        sleep(min(_COOLING_POLL_S, max(0.0, started + limit_s - clock())))


def _how_warm(state: DeviceState) -> str:
    warm = "of unknown temperature" if state.temperature_c is None else f"{state.temperature_c:.1f} °C warm"
    return warm + (" and throttled" if state.throttled else "")
