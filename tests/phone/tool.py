"""Files to give a fake phone: an executable's header for another processor, and models that say their time."""

import json
import struct
from pathlib import Path

MACHINES = {"arm64-v8a": 183, "armeabi-v7a": 40, "x86_64": 62}


def fake_tool(path: Path, abi: str = "arm64-v8a", linker: str = "/system/bin/linker64") -> Path:
    """An ELF header with one PT_INTERP segment, enough to be recognised and nothing that could run here."""
    name = linker.encode() + b"\0"
    wide = abi != "armeabi-v7a"
    if wide:
        head = struct.pack("<HHIQQQIHHHHHH", 3, MACHINES[abi], 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
        segment = struct.pack("<IIQQQQQQ", 3, 4, 120, 0, 0, len(name), len(name), 1)
    else:
        head = struct.pack("<HHIIIIIHHHHHH", 3, MACHINES[abi], 1, 0, 52, 0, 0, 52, 32, 1, 0, 0, 0)
        segment = struct.pack("<IIIIIIII", 3, 84, 0, 0, len(name), len(name), 4, 1)
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1, 1]) + bytes(9)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(ident + head + segment + name)
    return path


def fake_model(path: Path, latency_us: float, size_bytes: int = 0) -> Path:
    """A file that the stand-in takes for a model of that latency."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((json.dumps({"latency_us": latency_us}) + "\n").encode() + bytes(size_bytes))
    return path
