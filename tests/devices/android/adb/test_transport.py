"""How a phone is named: by serial, by address, and by what adb prints for either."""

from types import SimpleNamespace

import pytest

from devices.android.adb import transport
from devices.android.adb.transport import Address, require_attached, usb_address
from devices.errors import RuntimeUnavailableError


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("emulator-5554", "is an emulator; give --adb 127.0.0.1:5555"),
        ("adb-R5CT123-aBcDeF._adb-tls-connect._tcp", "over TLS, which is not supported; .*give --adb HOST:5555"),
    ],
)
def test_names_that_adb_prints_are_answered_with_an_address(text: str, words: str) -> None:
    for read in (Address.parse, usb_address, require_attached):
        with pytest.raises(RuntimeUnavailableError, match=words):
            read(text)


@pytest.mark.parametrize("text", ["192.168.1.20:5555", "[fe80::1%wlan0]:5555", "pixel.local:5555"])
def test_an_address_is_no_serial(text: str) -> None:
    with pytest.raises(RuntimeUnavailableError, match="is an address, no phone on USB; give --adb "):
        usb_address(text)


def test_a_bus_that_may_not_be_looked_at_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    error = type("USBErrorAccess", (Exception,), {"__module__": "usb1"})

    def refuse() -> None:
        raise error("LIBUSB_ERROR_ACCESS [-3]")

    module = SimpleNamespace(UsbTransport=SimpleNamespace(find_all_adb_devices=refuse))
    monkeypatch.setattr(transport, "_usb_module", lambda: module)
    with pytest.raises(RuntimeUnavailableError, match=r"USB cannot be looked at \(LIBUSB_ERROR_ACCESS"):
        require_attached(None)
