"""How much of this machine the process may use: cores and memory, within its affinity and control groups.

A container sees the host's processors and memory; what it may use of them is said by its control groups alone.
Source: the Linux kernel's documentation of cgroup v1 (cpu, memory) and v2 (`cpu.max`, `memory.max`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil

from devices.host.computer import allowed_cores
from devices.numbers import whole

_MEMBERSHIP, _MOUNT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def usable_cores(membership: Path = _MEMBERSHIP, mount: Path = _MOUNT) -> int:
    """How many cores the process can keep busy: those it may run on, within its groups' quotas. At least 1."""
    limits = [float(len(allowed_cores())), *_core_quotas(membership, mount)]
    return max(1, int(min(limits)))


def usable_memory_bytes(membership: Path = _MEMBERSHIP, mount: Path = _MOUNT) -> int:
    """How much memory the process can still take: what the machine has left, within its groups' limits."""
    return max(0, min([int(psutil.virtual_memory().available), *_memory_left(membership, mount)]))


def _core_quotas(membership: Path, mount: Path) -> Iterator[float]:
    for folder in _folders(membership, mount, "cpu"):
        found = _numbers(folder / "cpu.max", 2)  # v2: "150000 100000", or "max 100000" for no limit
        found = found or (*_numbers(folder / "cpu.cfs_quota_us", 1), *_numbers(folder / "cpu.cfs_period_us", 1))
        if len(found) == 2 and min(found) > 0:  # v1 says -1 for no limit
            yield found[0] / found[1]


def _memory_left(membership: Path, mount: Path) -> Iterator[int]:
    for folder in _folders(membership, mount, "memory"):
        limits = _numbers(folder / "memory.max", 1) or _numbers(folder / "memory.limit_in_bytes", 1)
        used = _numbers(folder / "memory.current", 1) or _numbers(folder / "memory.usage_in_bytes", 1)
        if limits and used:
            yield limits[0] - used[0] + _reclaimable_bytes(folder)


def _reclaimable_bytes(folder: Path) -> int:
    """Cached pages of files, which count as used and are given up when memory is asked for."""
    names = {"inactive_file", "total_inactive_file"}  # v2, and v1 with its subgroups
    pairs = [line.split() for line in _lines(folder / "memory.stat")]
    return max((int(pair[1]) for pair in pairs if len(pair) == 2 and pair[0] in names), default=0)


def _folders(membership: Path, mount: Path, controller: str) -> Iterator[Path]:
    """The process's groups for a controller and all groups above them; a limit of any one holds."""
    for line in _lines(membership):
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if number == "0" and not controllers:
            base = mount
        elif controller in controllers.split(","):
            base = mount / controllers if (mount / controllers).is_dir() else mount / controller
        else:
            continue
        path = PurePosixPath(group.lstrip("/"))
        yield from dict.fromkeys(base / part for part in (path, *path.parents) if ".." not in part.parts)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _numbers(path: Path, count: int) -> tuple[int, ...]:
    """The first `count` whole numbers of a file's first line; () where one is missing or says `max`."""
    words = (_lines(path) or [""])[0].split()[:count]
    found = [number for word in words if (number := whole(word, 20, signed=True)) is not None]
    return tuple(found) if len(found) == count else ()
