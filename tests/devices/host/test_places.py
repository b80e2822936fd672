"""Where a user's files lie, also for users without a home and variables as people set them."""

from pathlib import Path

import pytest

from devices.android.adb.keys import load_signer
from devices.android.tool import find_tool
from devices.errors import RuntimeUnavailableError
from devices.host import places
from profiler.build.artefacts import default_cache_dir
from profiler.errors import CacheError

VARIABLES = ("HOME", "PNAG_CACHE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")


@pytest.fixture
def no_home(monkeypatch):
    """A container's user whom the system does not know."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)

    def unknown():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(places.Path, "home", unknown)


def test_without_a_home_each_says_what_to_set(no_home, tmp_path):
    with pytest.raises(CacheError, match=r"no home folder .*; set --cache or \$PNAG_CACHE"):
        default_cache_dir()
    with pytest.raises(RuntimeUnavailableError, match="give the file by --benchmark-model"):
        find_tool(None)
    with pytest.raises(RuntimeUnavailableError, match=r"no home folder to keep a key .*; set HOME"):
        load_signer()


def test_without_a_home_variables_are_enough(no_home, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert load_signer().path == tmp_path / "pnag" / "adbkey"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "pnag"


def test_a_tilde_is_the_home_folder_though_no_shell_replaced_it(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PNAG_CACHE", "~/pnag cache")
    assert default_cache_dir() == tmp_path / "pnag cache"
    monkeypatch.setenv("PNAG_CACHE", "~nobody-of-that-name/x")
    assert default_cache_dir() == Path("~nobody-of-that-name/x")
    for value in ("", " "):
        monkeypatch.setenv("PNAG_CACHE", value)
        monkeypatch.setenv("XDG_CACHE_HOME", "relative")
        assert default_cache_dir() == tmp_path / ".cache" / "pnag"
