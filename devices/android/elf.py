"""Whether a file is an Android executable for a phone's processor, read from its ELF header."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from devices.errors import RuntimeUnavailableError

# e_machine -> Android's name of the ABI. Source: the ELF specification and Android's list of ABIs.
_ABIS = {3: "x86", 40: "armeabi-v7a", 62: "x86_64", 183: "arm64-v8a", 243: "riscv64"}
_EXECUTABLE, _SHARED = 2, 3  # e_type; Android's executables are position independent, that is shared
_PT_INTERP = 3
_ANDROID_LINKERS = ("/system/bin/linker", "/apex/", "/system_ext/bin/linker")


@dataclass(frozen=True)
class ElfInfo:
    """What the header says. `interpreter` is the dynamic linker, empty for a static executable."""

    abi: str
    interpreter: str


def read_elf(path: str | Path) -> ElfInfo:
    """Read an executable's ABI and dynamic linker. Raises `RuntimeUnavailableError` for any other file."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(1 << 16)  # the program headers follow the ELF header
    except OSError as error:
        raise RuntimeUnavailableError(f"cannot read {path}: {error.strerror or error}; check the path") from error
    if head[:4] != b"\x7fELF" or len(head) < 52:
        raise RuntimeUnavailableError(f"{path} is not an ELF executable; give the benchmark_model file for Android")
    wide, order = head[4] == 2, "<" if head[5] == 1 else ">"
    try:
        kind, machine = struct.unpack_from(f"{order}HH", head, 16)
        interpreter = _interpreter(head, wide, order)
    except struct.error as error:
        raise RuntimeUnavailableError(f"{path} is a truncated ELF file; fetch it again") from error
    if kind not in (_EXECUTABLE, _SHARED):
        raise RuntimeUnavailableError(f"{path} is an ELF file of type {kind}, not an executable; give benchmark_model")
    return ElfInfo(_ABIS.get(machine, f"machine {machine}"), interpreter)


def _interpreter(head: bytes, wide: bool, order: str) -> str:
    """The dynamic linker's path from the PT_INTERP segment, empty if there is none."""
    if wide:
        (table,) = struct.unpack_from(f"{order}Q", head, 32)
        size, count = struct.unpack_from(f"{order}HH", head, 54)
    else:
        (table,) = struct.unpack_from(f"{order}I", head, 28)
        size, count = struct.unpack_from(f"{order}HH", head, 42)
    for index in range(count):
        at = table + index * size
        if struct.unpack_from(f"{order}I", head, at)[0] != _PT_INTERP:
            continue
        if wide:
            offset, _, _, length = struct.unpack_from(f"{order}QQQQ", head, at + 8)
        else:
            offset, _, _, length = struct.unpack_from(f"{order}IIII", head, at + 4)
        return head[offset : offset + length].split(b"\0")[0].decode("ascii", "replace")
    return ""


def check_abi(path: str | Path, abis: Sequence[str]) -> ElfInfo:
    """Raise `RuntimeUnavailableError` unless `path` is an Android executable for one of the phone's ABIs."""
    found = read_elf(path)
    if found.abi not in abis:
        raise RuntimeUnavailableError(
            f"{path} is built for {found.abi}, and the phone runs {', '.join(abis)}; "
            f"give the benchmark_model for {abis[0] if abis else 'its ABI'}"
        )
    if found.interpreter and not found.interpreter.startswith(_ANDROID_LINKERS):
        raise RuntimeUnavailableError(
            f"{path} is built for Linux (it wants {found.interpreter}), not for Android; give the Android build"
        )
    return found
