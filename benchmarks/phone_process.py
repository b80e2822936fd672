"""A fake phone as a process of its own, for benchmarks in which what it uses must not count as ours."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devices.android.adb.keys import load_signer, own_key_path


@contextmanager
def phone(folder: Path, *, real: bool) -> Iterator[tuple[str, Path]]:
    """A phone whose files lie below `folder`: its address, and the file that passes for benchmark_model.

    With `real`, TensorFlow Lite runs the models on this computer's last core; without, they say how long they
    take and nothing is waited for.
    """
    command = [sys.executable, "-m", "tests.phone", str(folder), *(["--real"] if real else [])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address, tool = process.stdout.readline().split()
        try:
            yield address, Path(tool)
        finally:
            process.communicate()


def make_home(folder: Path) -> Path:
    """A user's home with a key in it: making one takes most of a second."""
    load_signer(folder)
    assert own_key_path(folder).is_file()
    return folder
