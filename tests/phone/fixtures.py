"""What tests with a fake phone share: the phone, a computer's home with a key, a clock, and what was announced."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from devices.android.adb import transport as adb_transport
from devices.android.adb.keys import load_signer, own_key_path
from tests.phone.phone import FakePhone
from tests.phone.shells import SHELLS
from tests.phone.time import FakeTime
from tests.phone.tool import fake_tool
from tests.phone.usb import UsbBus


def phone_spec(**sampling: float) -> str:
    """A device file for the fake phone, with those settings of sampling."""
    lines = ['name = "phone"', 'title = "phone"', 'backend = "android"', "[match]", 'soc = "msm8996pro"', "[sampling]"]
    return "\n".join([*lines, *(f"{name} = {value}" for name, value in sampling.items())]) + "\n"


@pytest.fixture
def phone(tmp_path: Path) -> Iterator[FakePhone]:
    """A cool Snapdragon 821 that lets everybody in."""
    with FakePhone(tmp_path / "phone") as phone:
        yield phone


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every phone of the test has this shell and these tools: for tests that are to run with each."""
    chosen = SHELLS[request.param]
    if not chosen.is_here:
        pytest.skip("needs mksh and toybox; apt-get install mksh toybox")
    monkeypatch.setattr(FakePhone, "usual_shell", chosen)
    return str(request.param)


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One key for all: making one takes most of a second."""
    return load_signer(tmp_path_factory.mktemp("key")).path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: Path) -> Path:
    """A user's home with a key of ours and nothing else of theirs."""
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    place = own_key_path(home)
    place.parent.mkdir(parents=True)
    shutil.copy(key, place)
    return home


@pytest.fixture
def tool(tmp_path: Path) -> Path:
    """A file that passes for benchmark_model."""
    return fake_tool(tmp_path / "benchmark_model")


@pytest.fixture
def time() -> FakeTime:
    """A clock that moves only when somebody sleeps."""
    return FakeTime()


@pytest.fixture
def said() -> list[str]:
    """What the user was told."""
    return []


@pytest.fixture
def usb(monkeypatch: pytest.MonkeyPatch) -> UsbBus:
    """A bus to attach phones to."""
    bus = UsbBus()
    monkeypatch.setattr(adb_transport, "_usb_module", lambda: bus)
    return bus
