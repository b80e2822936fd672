"""How bytes reach a phone: the four methods that adb-shell asks for, over TCP or USB.

The seam is narrow on purpose: whatever listens on a loopback port and speaks the protocol can be the phone.
"""

from __future__ import annotations

import re
import select
import socket
from dataclasses import dataclass
from typing import Any, cast

from adb_shell.exceptions import TcpTimeoutException
from adb_shell.transport.base_transport import BaseTransport

from devices.errors import RuntimeUnavailableError, one_line
from devices.numbers import whole
from devices.options import shown

DEFAULT_PORT = 5555


@dataclass(frozen=True)
class Address:
    """Where a phone is: a TCP address, or a USB serial (None takes the only one attached)."""

    host: str | None = None
    port: int = DEFAULT_PORT
    serial: str | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `HOST`, `HOST:PORT` or `[IPV6]:PORT`. Raises `RuntimeUnavailableError` for anything else."""
        if advice := _as_adb_names_it(text):
            raise RuntimeUnavailableError(advice)
        host, colon, port = text.rpartition(":")
        if not colon or (":" in host and not host.startswith("[")):
            host, port = text, str(DEFAULT_PORT)
        host, number = host.strip("[]"), whole(port)
        if not _may_be_host(host) or number is None or not 0 < number < 65536:
            raise RuntimeUnavailableError(
                f"{shown(text)} is not an address; give HOST:PORT, for instance 192.168.1.20:5555"
            )
        return cls(host=host, port=number)

    def __str__(self) -> str:
        if self.host is not None:
            return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        return self.serial or "USB"


def _may_be_host(host: str) -> bool:
    try:
        return bool(host.strip()) and bool(host.encode("idna"))
    except UnicodeError:  # too long, two dots in a row: the system's look-up raises the same
        return False


def _as_adb_names_it(text: str) -> str:
    """What to give in the place of a name that `adb devices` prints for what is not on USB; empty for others."""
    if emulator := re.fullmatch(r"emulator-(\d{4,5})", text.strip(), re.ASCII):
        return f"{text.strip()} is an emulator; give --adb 127.0.0.1:{int(emulator[1]) + 1}"
    if "._adb-tls" in text or "._adb._tcp" in text:
        return (
            f"{shown(text)} is a phone on wireless debugging over TLS, which is not supported; connect it by USB once, "
            "run 'adb tcpip 5555', and give --adb HOST:5555"
        )
    return ""


class TcpTransport(BaseTransport):  # type: ignore[misc]  # adb-shell is untyped
    """A socket that sends all it is given, and says at once that the other side has gone.

    adb-shell's own transport drops what a full socket buffer did not take, and reads a closed socket as
    silence until a timeout.
    """

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._socket: socket.socket | None = None

    def close(self) -> None:
        """Close the socket; closing twice is harmless."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def connect(self, transport_timeout_s: float | None) -> None:
        """Open the socket. Raises `OSError` if nobody listens there."""
        self._socket = socket.create_connection(self._address, timeout=transport_timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)

    def bulk_read(self, numbytes: int, transport_timeout_s: float | None) -> bytes:
        """At least one byte, at most `numbytes`. Raises `TcpTimeoutException` in silence, `OSError` at the end."""
        connection = self._open_socket()
        if not select.select([connection], [], [], transport_timeout_s)[0]:
            raise TcpTimeoutException(f"{self._name} was silent for {transport_timeout_s} seconds")
        data = connection.recv(numbytes)
        if not data:
            raise ConnectionResetError(f"{self._name} closed the connection")
        return data

    def bulk_write(self, data: bytes, transport_timeout_s: float | None) -> int:
        """Send all of `data`. Raises `TcpTimeoutException` if the other side takes none of it for so long."""
        connection, rest = self._open_socket(), memoryview(data)
        while rest:
            if not select.select([], [connection], [], transport_timeout_s)[1]:
                raise TcpTimeoutException(f"{self._name} took no data for {transport_timeout_s} seconds")
            rest = rest[connection.send(rest) :]
        return len(data)

    def _open_socket(self) -> socket.socket:
        if self._socket is None:
            raise ConnectionResetError(f"{self._name} is not connected")
        return self._socket

    @property
    def _name(self) -> str:
        return "{}:{}".format(*self._address)


def open_transport(address: Address) -> Any:
    """A transport for adb-shell's `AdbDevice`. Raises `RuntimeUnavailableError` if USB cannot be used here."""
    if address.host is not None:
        return TcpTransport(address.host, address.port)
    return _usb_module().UsbTransport.find_adb(address.serial, None, None)


def _usb_module() -> Any:
    try:
        from adb_shell.transport import usb_transport
    except (ImportError, OSError) as error:  # OSError: libusb itself is missing
        raise RuntimeUnavailableError(
            f"USB needs the extra 'usb' of adb-shell and the system's libusb-1.0 ({error}); "
            "pip install 'adb-shell[usb]', or reach the phone by --adb HOST:PORT"
        ) from error
    return usb_transport


def list_usb() -> tuple[str, ...]:
    """Serials of the phones with USB debugging on; empty for one that may not be asked.

    Raises `RuntimeUnavailableError` if USB cannot be used here.
    """
    try:
        return tuple(map(_serial_of, _usb_module().UsbTransport.find_all_adb_devices()))
    except Exception as error:  # usb1's errors share no base that is worth importing here
        if type(error).__module__ != "usb1":
            raise
        raise RuntimeUnavailableError(
            f"USB cannot be looked at ({one_line(error)}); give this user or container the USB devices, or reach "
            "the phone by --adb HOST:PORT"
        ) from error


def _serial_of(device: Any) -> str:
    try:
        return str(device.serial_number)
    except Exception:  # of one that may not be asked
        return ""


def _as_address(serial: str) -> str:
    found = re.fullmatch(r"\[?[\w.:%-]+\]?:\d{1,5}", serial.strip(), re.ASCII)
    return f"--serial {serial.strip()} is an address, no phone on USB; give --adb {serial.strip()}" if found else ""


def usb_address(serial: str | None) -> Address:
    """The phone of that serial, else the only one attached.

    Raises `RuntimeUnavailableError` if several are attached and none is named, or USB cannot be used here.
    """
    if serial is not None and (advice := _as_adb_names_it(serial) or _as_address(serial)):
        raise RuntimeUnavailableError(advice)
    if serial is None:
        attached = list_usb()
        if len(attached) > 1:
            serials = ", ".join(serial or "one that does not tell its serial" for serial in attached)
            raise RuntimeUnavailableError(f"{len(attached)} phones are attached ({serials}); choose by --serial")
        serial = next((serial for serial in attached if serial), None)
    return Address(serial=serial)


def require_attached(serial: str | None) -> None:
    """Raise `RuntimeUnavailableError` unless a phone is on USB, the one of that serial if it is given."""
    usb_address(serial)
    attached = list_usb()
    if not attached:
        raise RuntimeUnavailableError(
            "no phone with USB debugging is on USB; plug it in and turn on USB debugging, or use --adb HOST:PORT"
        )
    if serial is not None and serial not in attached and "" not in attached:
        raise RuntimeUnavailableError(f"no phone with the serial {serial} is on USB; there are {', '.join(attached)}")


def greeting(address: Address, timeout_s: float = 1.0) -> bytes:
    """What a service says before it is spoken to. Empty for a phone, which waits, and where nothing is heard."""
    try:
        with socket.create_connection((cast(str, address.host), address.port), timeout=timeout_s) as connection:
            return connection.recv(64)
    except OSError:
        return b""


def unreachable(address: Address, timeout_s: float = 1.0) -> str:
    """Why nothing accepts TCP connections at `address`, and what to do; empty where something does."""
    try:
        with socket.create_connection((cast(str, address.host), address.port), timeout=timeout_s):
            return ""
    except OSError as error:
        return why_unreachable(error, address)


def why_unreachable(error: OSError, address: Address) -> str:
    """What an error of connecting means, and what to do."""
    if isinstance(error, socket.gaierror):
        return f"no host is called {address.host}; check the name, or give the phone's IP address"
    if isinstance(error, TimeoutError):
        return f"{address} does not answer; check the address, and that phone and computer are in one network"
    return f"nothing listens at {address}; run 'adb tcpip {address.port}' over USB once, check the address"
