"""What adb-shell may raise, sorted: a lost connection, to be resumed, or something only the user can change."""

from __future__ import annotations

import errno
import re
import socket
import struct

from adb_shell import exceptions

from devices.android.adb.transport import Address, greeting, unreachable, why_unreachable
from devices.errors import AuthorizationError, DeviceError, RuntimeUnavailableError

_STLS = "1397511251"  # 'STLS' as a number: the phone wants to talk TLS, which adb-shell does not know
_ADB_SERVER_PORT = 5037
_CONSOLE = b"Andr"  # 'Android Console: ...'
# How other servers greet, or answer what they do not understand; adb-shell quotes the first four bytes.
_GREETINGS = {b"SSH-": "an SSH server", b"HTTP": "a web server", b"RFB ": "a VNC server", b"220 ": "a mail server"}

# adb-shell's exceptions share no base. Wrong bytes after a broken connection show up as the last few.
LOST: tuple[type[Exception], ...] = (
    OSError,
    exceptions.AdbConnectionError,
    exceptions.AdbTimeoutError,
    exceptions.InvalidChecksumError,
    exceptions.InvalidCommandError,
    exceptions.InvalidResponseError,
    exceptions.TcpTimeoutException,
    exceptions.UsbDeviceNotFoundError,
    exceptions.UsbReadFailedError,
    exceptions.UsbWriteFailedError,
    KeyError,
    struct.error,
)


def is_lost(error: Exception) -> bool:
    """Whether `error` means that the connection is gone and may be opened again."""
    return isinstance(error, LOST) or (type(error).__module__ == "usb1" and not _is_busy(error))


def explain(error: Exception, address: Address) -> DeviceError | None:
    """What the user must do about `error`, or None if trying again may help."""
    text = str(error)
    if isinstance(error, exceptions.InvalidCommandError) and _STLS in text:
        return RuntimeUnavailableError(
            f"the phone at {address} wants wireless debugging over TLS, which is not supported; "
            "connect it by USB once, run 'adb tcpip 5555', and use port 5555"
        )
    if isinstance(error, exceptions.DeviceAuthError):
        return AuthorizationError(f"the phone at {address} asks for a key and none was given; check ~/.android/adbkey")
    if address.host is not None and isinstance(error, exceptions.InvalidCommandError):
        quoted = re.search(r"b'(.{4})'", text)
        if quoted and (other := _by_greeting(quoted[1].encode(), address)):
            return other
    if _is_busy(error):
        return RuntimeUnavailableError(
            "the phone's USB interface is in use, most likely by a running adb server; run 'adb kill-server'"
        )
    if type(error).__name__ == "USBErrorAccess":
        return RuntimeUnavailableError(
            f"no permission to open the phone at USB ({text}); add a udev rule for it, or your user to plugdev"
        )
    return None


def _by_greeting(said: bytes, address: Address) -> DeviceError | None:
    """What to do about a service that greets first. It is no phone: a phone waits until it is spoken to."""
    if said.startswith(_CONSOLE):
        return RuntimeUnavailableError(
            f"{address} is an emulator's console; give the port after it, {address.port + 1}"
        )
    name = next((name for start, name in _GREETINGS.items() if said.startswith(start)), None)
    if name is None:
        return None
    return RuntimeUnavailableError(f"{address} is {name}, not a phone; give the phone's own address, port 5555")


def require_phone(address: Address) -> None:
    """Raise `RuntimeUnavailableError` where nothing listens at a TCP address, or something that is surely no phone."""
    if why_not := unreachable(address):
        raise RuntimeUnavailableError(why_not)
    if address.port == _ADB_SERVER_PORT:
        raise _adb_server(address)
    if other := _by_greeting(greeting(address), address):
        raise other


def _adb_server(address: Address) -> DeviceError:
    return RuntimeUnavailableError(
        f"{address} is where an adb server listens, not a phone; give the phone's own address, port 5555"
    )


def _is_busy(error: Exception) -> bool:
    cause = getattr(error, "usb_error", None) or error
    return type(cause).__name__ == "USBErrorBusy"


def not_found(error: Exception, address: Address) -> DeviceError:
    """The first connection cannot be made: what was tried, why it failed, what to do."""
    if address.host is None:
        which = f"with the serial {address.serial}" if address.serial else "with USB debugging"
        return RuntimeUnavailableError(
            f"no phone {which} is attached ({error}); plug it in and turn on USB debugging, or use --adb HOST:PORT"
        )
    if address.port == _ADB_SERVER_PORT:
        return _adb_server(address)
    if isinstance(error, socket.gaierror):
        return RuntimeUnavailableError(why_unreachable(error, address))
    if isinstance(error, OSError) and error.errno == errno.ECONNREFUSED:
        reason = "nothing listens there"
    elif other := _by_greeting(greeting(address), address):
        return other
    else:
        reason = str(error) or type(error).__name__
    return RuntimeUnavailableError(
        f"no phone answers at {address}: {reason}; run 'adb tcpip {address.port}' over USB once, check the address"
    )
