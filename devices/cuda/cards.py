"""The NVIDIA cards of this machine as CUDA counts them, asked of the driver: no runtime is needed.

CUDA's order is not NVML's: CUDA puts the fastest card first and hides what CUDA_VISIBLE_DEVICES leaves out. So a card
is known by its UUID or its address on the bus, never by its number alone.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from devices.errors import RuntimeUnavailableError
from devices.spec import DeviceSpec, matches

_LIBRARIES = ("libcuda.so.1", "libcuda.so", "nvcuda.dll")
_TEXT_BYTES = 128
_NO_DEVICE = 100  # cuInit's answer


@dataclass(frozen=True)
class DriverCard:
    """One card; fields that the driver does not give are empty."""

    name: str = ""
    uuid: str = ""
    pci_bus_id: str = ""


def list_cards(library: Any = None) -> list[DriverCard]:
    """The cards in CUDA's order; empty where there is no driver or no card."""
    driver = library if library is not None else _open_driver()
    count = ctypes.c_int()
    if driver is None or driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return []
    return [_card(driver, index) for index in range(count.value)]


NO_CARD = "no NVIDIA GPU is visible; check nvidia-smi and CUDA_VISIBLE_DEVICES, or use --device cpu"


def require_card(library: Any = None) -> str:
    """The cards' names, by the driver alone. Raises `RuntimeUnavailableError` where there is surely none.

    Empty where the driver does not start: why, torch says.
    """
    driver = library if library is not None else _open_driver()
    if driver is None:
        raise RuntimeUnavailableError(
            "NVIDIA's driver (libcuda) is not here; install it, start the container with its GPUs, or use --device cpu"
        )
    count, started = ctypes.c_int(), driver.cuInit(0)
    if started == _NO_DEVICE or (
        started == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and not count.value
    ):
        raise RuntimeUnavailableError(NO_CARD)
    return ", ".join(card.name for card in list_cards(driver))


def require_cuda_torch(folder: Path | None = None) -> str:
    """The version of torch, read from its files: importing it takes seconds.

    Raises `RuntimeUnavailableError` if it is not installed, or built without CUDA. `folder` is the package's.
    """
    if folder is None:
        found = find_spec("torch")
        if found is None or found.origin is None:
            raise RuntimeUnavailableError("torch is not installed; install a CUDA build of torch")
        folder = Path(found.origin).parent
    said = ""
    with suppress(OSError, ValueError):
        said = (folder / "version.py").read_text(encoding="utf-8")
    version = re.search(r"""^__version__\b[^=\n]*=\s*['"]([^'"]+)""", said, re.MULTILINE)
    name = f"torch {version[1] if version else ''}".strip()
    if re.search(r"^cuda\b[^=\n]*=\s*None", said, re.MULTILINE):
        raise RuntimeUnavailableError(f"{name} is built without CUDA; install a CUDA build of torch")
    return name


def _open_driver() -> Any:
    for name in _LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def _card(driver: Any, index: int) -> DriverCard:
    handle = ctypes.c_int()
    if driver.cuDeviceGet(ctypes.byref(handle), index) != 0:
        return DriverCard()
    name, bus = ctypes.create_string_buffer(_TEXT_BYTES), ctypes.create_string_buffer(_TEXT_BYTES)
    raw = ctypes.create_string_buffer(16)
    named = driver.cuDeviceGetName(name, _TEXT_BYTES, handle) == 0
    placed = driver.cuDeviceGetPCIBusId(bus, _TEXT_BYTES, handle) == 0
    known = driver.cuDeviceGetUuid(raw, handle) == 0
    digits = raw.raw.hex()
    uuid = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    return DriverCard(
        name.value.decode("utf-8", "replace") if named else "",
        uuid if known else "",
        bus.value.decode("ascii", "replace") if placed else "",
    )


def choose_card(spec: DeviceSpec, names: Sequence[str]) -> int:
    """The number of the first card that the spec means, 0 where it means none or any."""
    pattern = spec.match.get("gpu_name")
    if pattern is None:
        return 0
    return next((index for index, name in enumerate(names) if matches(pattern, name)), 0)
