"""A small Android below a folder: properties, sysfs, dumpsys, and the commands that Linux lacks."""

import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.phone.shells import Shell

_MAPPED = ("/data/local/tmp", "/sys/", "/proc/cpuinfo", "/proc/loadavg", "/proc/sys/", "/vendor/")
_PATHS = re.compile(r"(?<![\w./-])(" + "|".join(re.escape(path) for path in _MAPPED) + ")")

# The tool without `taskset`: then nothing else puts the stand-in in its place.
_UNPINNED = re.compile(r"(taskset [0-9a-f]+ )?(/data/local/tmp/pnag/bin/[0-9a-f]+/benchmark_model)(?= --)")

PROPERTIES = {
    "ro.product.manufacturer": "Fake",
    "ro.product.model": "Loopback 821",
    "ro.build.fingerprint": "fake/loopback/loopback:8.0.0/OPR1/1:user/release-keys",
    "ro.build.version.release": "8.0.0",
    "ro.build.version.sdk": "26",
    "ro.board.platform": "msm8996",
    "ro.hardware": "qcom",
    "ro.product.cpu.abi": "arm64-v8a",
    "ro.product.cpu.abilist": "arm64-v8a,armeabi-v7a,armeabi",
    "sys.boot_completed": "1",
}
CPUINFO = "".join(f"processor\t: {core}\n" for core in range(4)) + "Hardware\t: Qualcomm Technologies, Inc MSM8996pro\n"
MAX_KHZ = (2188800, 2188800, 2342400, 2342400)

_SCRIPTS = {
    "getprop": """if [ $# = 0 ]; then cat "$FAKEROOT/properties"; else
sed -n "s/^\\[$1\\]: \\[\\(.*\\)\\]$/\\1/p" "$FAKEROOT/properties" | grep . || echo; fi""",
    "dumpsys": """cat "$FAKEROOT/dumpsys/$1" 2>/dev/null || { echo "Can't find service: $1"; exit 1; }""",
    "input": """echo "input $*" >>"$FAKEROOT/actions" """,
    "cmd": """echo "cmd $*" >>"$FAKEROOT/actions" """,
    "df": """free=$(cat "$FAKEROOT/free_kb")
echo "Filesystem      1K-blocks    Used Available Use% Mounted on"
echo "/dev/block/dm-0  25000000 1000000 $free   5% /data" """,
    # An executable for another processor: pinning it is the moment to run the stand-in in its place.
    "taskset": """mask=$1; tool=$2; shift 2
[ $((0x$mask >> CORES)) = 0 ] || { echo "taskset: failed to set mask $mask: Invalid argument"; exit 1; }
[ -x "$tool" ] || { echo "taskset: $tool: No such file or directory"; exit 127; }
exec "$PYTHON" -I -S "$STANDIN" "$tool" "$@" """,
}


class Files:
    """The phone's file system, as a folder of this computer."""

    def __init__(self, root: Path, properties: Mapping[str, str], cores: int, shell: Shell) -> None:
        self.root = root
        self.shell = shutil.which(shell.path) or shell.path
        self._cores = cores
        self._full = False
        folder = self.path("/system/bin/sh").parent
        self._path = shell.furnish(folder, root / "system/tools")
        for name, script in _SCRIPTS.items():
            path = folder / name
            path.write_text(f"#!{self.shell}\n{script}\n")
            path.chmod(0o755)
        self.path("/data/local/tmp/x").parent.mkdir(exist_ok=True)
        self.write("/properties", "".join(f"[{name}]: [{value}]\n" for name, value in properties.items()))
        self.set_free_bytes(1 << 30)

    def path(self, name: str) -> Path:
        """Where a path of the phone's lies here; its folder is made."""
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write(self, name: str, text: str) -> None:
        path = self.path(name)
        temporary = path.with_name(path.name + ".new")
        temporary.write_text(text)
        temporary.replace(path)  # a reader sees the old or the new

    def deny(self, name: str) -> None:
        """Make a file unreadable, for root too: a folder stands in its place."""
        path = self.path(name)
        path.unlink(missing_ok=True)
        path.mkdir(exist_ok=True)

    def to_host(self, text: str) -> str:
        text = _UNPINNED.sub(lambda match: match[0] if match[1] else f'"$PYTHON" -I -S "$STANDIN" {match[2]}', text)
        return _PATHS.sub(lambda match: str(self.root) + match[1], text)

    def to_device(self, data: bytes) -> bytes:
        return data.replace(str(self.root).encode(), b"")

    def environment(self) -> dict[str, str]:
        standin = Path(__file__).with_name("standin.py")
        return {
            "PATH": self._path,
            "FAKEROOT": str(self.root),
            "CORES": str(self._cores),
            "PYTHON": sys.executable,
            "STANDIN": str(standin),
        }

    def set_free_bytes(self, free: int) -> None:
        """What is left; transfers do not reduce it."""
        self.write("/free_kb", str(free // 1024))
        self._free_bytes = free

    def free_bytes(self) -> int:
        return self._free_bytes
