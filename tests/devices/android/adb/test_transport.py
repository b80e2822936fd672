"""How a phone is named: by serial, by address, and by what adb prints for either."""

import socket
from types import SimpleNamespace

import pytest

from devices.android.adb import transport
from devices.android.adb.errors import not_found, require_phone
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


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), "no host is called phone.invalid; check the name"),
        (
            TimeoutError("timed out"),
            "phone.invalid:5555 does not answer; check the address, and that phone and computer",
        ),
        (ConnectionRefusedError(111, "refused"), "nothing listens at phone.invalid:5555; run 'adb tcpip 5555'"),
    ],
)
def test_why_a_phone_is_not_reached_decides_what_to_do(monkeypatch, error: OSError, words: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(socket, "create_connection", refuse)
    with pytest.raises(RuntimeUnavailableError, match=words):
        require_phone(Address.parse("phone.invalid"))
    if isinstance(error, socket.gaierror):
        assert words in str(not_found(error, Address.parse("phone.invalid")))


@pytest.mark.parametrize("text", ["x" * 300, "a..b:5555", ".:1", "ü" * 70])
def test_what_no_look_up_takes_is_no_address(text: str) -> None:
    with pytest.raises(RuntimeUnavailableError, match="is not an address"):
        Address.parse(text)
