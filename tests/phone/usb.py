"""Phones on a cable: stands in for adb-shell's module of USB transports, which needs libusb; bytes go over loopback."""

from types import SimpleNamespace
from typing import Any

from adb_shell.exceptions import UsbDeviceNotFoundError

from devices.android.adb.transport import Address, TcpTransport
from tests.phone.phone import FakePhone


class USBErrorAccess(Exception):  # noqa: N818
    """As libusb's: the system lets this user not open the port."""


class UsbBus:
    """What is attached, by serial. `UsbTransport` finds it as adb-shell's class of that name does."""

    def __init__(self) -> None:
        self._phones: dict[str, FakePhone] = {}
        self.locked: set[str] = set()
        self.UsbTransport = SimpleNamespace(find_adb=self._find, find_all_adb_devices=self._find_all)

    def attach(self, serial: str, phone: FakePhone, *, locked: bool = False) -> None:
        """Plug it in; a `locked` one may be seen but not opened."""
        self._phones[serial] = phone
        if locked:
            self.locked.add(serial)

    def detach(self, serial: str) -> None:
        del self._phones[serial]

    def _find_all(self) -> list[Any]:
        return [_Attached(serial, serial in self.locked) for serial in self._phones]

    def _find(self, serial: str | None, port_path: None, timeout_s: float | None) -> TcpTransport:
        for attached in self._find_all():
            if serial is None or attached.serial_number == serial:
                name = serial or attached.serial_number
                address = Address.parse(self._phones[name].address)
                assert address.host is not None
                return TcpTransport(address.host, address.port)
        raise UsbDeviceNotFoundError("No device available, or it is in the wrong configuration.")


class _Attached:
    def __init__(self, serial: str, locked: bool) -> None:
        self._serial, self._locked = serial, locked

    @property
    def serial_number(self) -> str:
        if self._locked:
            raise USBErrorAccess("LIBUSB_ERROR_ACCESS [-3]")
        return self._serial
