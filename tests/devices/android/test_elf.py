"""Executables are recognised by their header."""

import contextlib
from pathlib import Path

import pytest

from devices.android.elf import check_abi, read_elf
from devices.errors import RuntimeUnavailableError
from tests.phone import fake_tool

LINUX_LINKER = "/lib/ld-linux-aarch64.so.1"


@pytest.mark.parametrize("abi", ["arm64-v8a", "armeabi-v7a", "x86_64"])
def test_abi_and_linker_are_read_from_the_header(tmp_path: Path, abi: str) -> None:
    info = read_elf(fake_tool(tmp_path / "tool", abi))
    assert (info.abi, info.interpreter) == (abi, "/system/bin/linker64")


def test_a_phone_takes_every_abi_it_lists(tmp_path: Path) -> None:
    tool = fake_tool(tmp_path / "tool", "armeabi-v7a")
    assert check_abi(tool, ("arm64-v8a", "armeabi-v7a")).abi == "armeabi-v7a"


def test_a_build_for_another_processor_is_refused_and_the_right_one_named(tmp_path: Path) -> None:
    tool = fake_tool(tmp_path / "tool", "x86_64")
    with pytest.raises(RuntimeUnavailableError, match=r"built for x86_64.*runs arm64-v8a.*for arm64-v8a"):
        check_abi(tool, ("arm64-v8a",))


def test_a_build_for_linux_is_refused(tmp_path: Path) -> None:
    tool = fake_tool(tmp_path / "tool", linker=LINUX_LINKER)
    with pytest.raises(RuntimeUnavailableError, match=r"built for Linux.*not for Android"):
        check_abi(tool, ("arm64-v8a",))


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"\x7fELF", b"MZ" + bytes(100)])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tool"
    path.write_bytes(content)
    with pytest.raises(RuntimeUnavailableError, match="not an ELF"):
        read_elf(path)


@pytest.mark.parametrize("size", range(52, 136, 4))
def test_a_truncated_file_is_refused_or_its_linker_unknown(tmp_path: Path, size: int) -> None:
    whole = fake_tool(tmp_path / "tool")
    cut = tmp_path / "cut"
    cut.write_bytes(whole.read_bytes()[:size])
    with contextlib.suppress(RuntimeUnavailableError):
        assert read_elf(cut).interpreter != "/system/bin/linker64"


def test_an_object_file_is_not_an_executable(tmp_path: Path) -> None:
    data = bytearray(fake_tool(tmp_path / "tool").read_bytes())
    data[16] = 1
    (tmp_path / "tool").write_bytes(data)
    with pytest.raises(RuntimeUnavailableError, match="not an executable"):
        read_elf(tmp_path / "tool")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnavailableError, match=r"cannot read .*absent"):
        read_elf(tmp_path / "absent")
