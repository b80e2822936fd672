from pathlib import Path

import pytest

from devices.host import allowance
from devices.host.allowance import usable_cores, usable_memory_bytes


@pytest.fixture(autouse=True)
def _a_large_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allowance, "allowed_cores", lambda: tuple(range(64)))
    monkeypatch.setattr(allowance.psutil, "virtual_memory", lambda: type("Memory", (), {"available": 1 << 40}))


def tree(root: Path, files: dict[str, str]) -> tuple[Path, Path]:
    """The membership file and the mount of control groups with these files."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root / "membership", root / "mount"


def test_without_control_groups_it_is_what_the_machine_has(tmp_path: Path) -> None:
    assert usable_cores(tmp_path / "none", tmp_path) == 64
    assert usable_memory_bytes(tmp_path / "none", tmp_path) == 1 << 40


def test_limits_of_version_2_hold_for_the_groups_above_too(tmp_path: Path) -> None:
    files = {
        "membership": "0::/user/job\n",
        "mount/user/job/cpu.max": "max 100000\n",
        "mount/user/cpu.max": "350000 100000\n",
        "mount/user/job/memory.max": "4000000000\n",
        "mount/user/job/memory.current": "1500000000\n",
        "mount/user/job/memory.stat": "anon 1000000000\ninactive_file 500000000\n",
        "mount/user/memory.max": "max\n",
        "mount/user/memory.current": "2000000000\n",
    }
    found = tree(tmp_path, files)
    assert usable_cores(*found) == 3
    assert usable_memory_bytes(*found) == 3_000_000_000


def test_limits_of_version_1_are_those_of_each_controller(tmp_path: Path) -> None:
    files = {
        "membership": "4:memory:/job\n2:cpu,cpuacct:/job\n1:name=systemd:/job\n0::/job\n",
        "mount/cpu,cpuacct/job/cpu.cfs_quota_us": "200000\n",
        "mount/cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
        "mount/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
        "mount/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        "mount/memory/job/memory.limit_in_bytes": "3000000000\n",
        "mount/memory/job/memory.usage_in_bytes": "1000000000\n",
        "mount/memory/memory.limit_in_bytes": "9223372036854771712\n",
        "mount/memory/memory.usage_in_bytes": "1000000000\n",
    }
    found = tree(tmp_path, files)
    assert usable_cores(*found) == 2
    assert usable_memory_bytes(*found) == 2_000_000_000


def test_in_a_container_the_groups_are_those_of_the_mount(tmp_path: Path) -> None:
    files = {"membership": "0::/host/only/path\n", "mount/cpu.max": "50000 100000\n", "mount/memory.max": "1000\n"}
    found = tree(tmp_path, files | {"mount/memory.current": "1500\n"})
    assert usable_cores(*found) == 1
    assert usable_memory_bytes(*found) == 0
    assert usable_cores(*tree(tmp_path, {"membership": "0::/../sibling\n"})) == 1


def test_files_that_say_nothing_limit_nothing(tmp_path: Path) -> None:
    files = {
        "membership": "nonsense\n0::/\n",
        "mount/cpu.max": "\n",
        "mount/memory.max": "much\n",
        "mount/memory.stat": "\n",
    }
    found = tree(tmp_path, files | {"mount/memory.current": "1\n"})
    assert usable_cores(*found) == 64
    assert usable_memory_bytes(*found) == 1 << 40
