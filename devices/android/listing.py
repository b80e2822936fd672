"""Which phones are at hand: on USB, and at addresses given."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from devices.android import identity
from devices.android.adb.keys import load_signer
from devices.android.adb.session import AdbSession, Patience
from devices.android.adb.transport import Address, list_usb, open_transport
from devices.errors import DeviceError

_PATIENCE = Patience(allow_s=3.0, silence_s=3.0, resume_s=0.0, attempts=1)


def attached(
    adb: Iterable[str] = (),
    *,
    usb: Callable[[], Iterable[str]] = list_usb,
    transport: Callable[[Address], Any] = open_transport,
) -> list[str]:
    """A line for each phone on USB and at each address `adb`: how to name it, what it is or why it cannot be asked."""
    try:
        serials, lines = list(usb()), []
    except DeviceError as error:
        serials, lines = [], [f"phones on USB cannot be seen: {error}"]
    for name, address in [
        *((f"--serial {serial}" if serial else "on USB", Address(serial=serial or None)) for serial in serials),
        *((f"--adb {text}", Address.parse(text)) for text in adb),
    ]:
        lines.append(f"{name}: {_describe(address, transport)}")
    return lines


def _describe(address: Address, transport: Callable[[Address], Any]) -> str:
    try:
        session = AdbSession(address, load_signer(), announce=lambda _: None, patience=_PATIENCE, transport=transport)
        try:
            session.connect()
            info = identity.parse_identity(session.check(identity.COMMAND)).info()
        finally:
            session.close()
    except DeviceError as error:
        return str(error)
    return f"{info.model}, Android {info.fields['android_version'] or '?'}, {info.fields['abi']}"
