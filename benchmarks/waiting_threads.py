"""How torch's threads should wait for one another: `python -m benchmarks.waiting_threads --lut TABLE`.

The table's space is learnt from digits, two epochs and 20 networks, by the command itself: with threads that spin
while they wait (as GNU's OpenMP does of its own: 300,000 turns), with threads that sleep (`OMP_WAIT_POLICY=PASSIVE`,
which the commands set), and with one thread. Each on a quiet machine and beside one process that hammers a core. Some
eight minutes on two cores.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS, machine, report

WAYS = {
    "two threads, spinning": {"OMP_NUM_THREADS": "2", "GOMP_SPINCOUNT": "300000"},
    "two threads, sleeping": {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
_TRAIN = "--data digits --epochs 2 --architectures 20 --method random --fresh"


@contextmanager
def hammered() -> Iterator[None]:
    """Within, another process never lets go of its core."""
    spinner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        spinner.kill()
        spinner.wait()


def seconds(lut: Path, environment: dict[str, str]) -> float:
    """Seconds of one training, start of Python included."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["--lut", str(lut), *_TRAIN.split(), "--out", str(Path(folder) / "run")]
        command = [sys.executable, "-c", "from pnag.cli_train import main; main()", *words]
        started_s = time.perf_counter()
        subprocess.run(command, check=True, env={**os.environ, **environment}, capture_output=True)
        return time.perf_counter() - started_s


def main() -> None:
    """Train in each way; write `results/waiting_threads.md`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lut", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=RESULTS)
    options = parser.parse_args()
    before = machine()
    rows: list[dict[str, Any]] = [{"way": way} for way in WAYS]
    for load, name in ((nullcontext, "quiet (s)"), (hammered, "one core hammered (s)")):
        with load():
            found = [
                [seconds(options.lut, environment) for environment in WAYS.values()] for _ in range(options.rounds)
            ]
        for row, times in zip(rows, zip(*found, strict=True), strict=True):
            row[name] = statistics.median(times)
    notes = [f"The median of {options.rounds} trainings in turns, each a process of its own, start of Python included."]
    title = "Threads that spin and threads that sleep"
    report("waiting_threads", title, rows, notes, folder=options.folder, measured_on=before)


if __name__ == "__main__":
    main()
