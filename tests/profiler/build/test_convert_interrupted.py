"""Converting by several processes ends when it is interrupted, all of it and soon."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest


@pytest.mark.parametrize("interrupts", [1, 2])
def test_an_interrupt_ends_all_processes(tmp_path: Path, interrupts: int) -> None:
    """From a terminal it reaches every process of the command; an impatient user sends two."""
    command = [sys.executable, "-m", "tests.profiler.build.slow_converter", str(tmp_path)]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL) as process:
        try:
            _until(lambda: len(list(tmp_path.iterdir())) == 2 or process.poll() is not None)
            assert process.poll() is None
            workers = [Path("/proc", path.name) for path in tmp_path.iterdir()]
            for _ in range(interrupts):
                os.killpg(process.pid, signal.SIGINT)
            assert process.wait(30) != 0
            _until(lambda: not any(worker.exists() for worker in workers))
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert len(list(tmp_path.iterdir())) == 2  # nobody began another one


def _until(fulfilled: Callable[[], bool], limit_s: float = 60.0) -> None:
    end_s = time.monotonic() + limit_s
    while not fulfilled():
        assert time.monotonic() < end_s
        time.sleep(0.05)
