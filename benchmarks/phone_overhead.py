"""What this side adds while a phone measures: seconds a block on loopback, and this process's share of a core.

    python -m benchmarks.phone_overhead [--models 40]

The phone is a process of its own whose models take no time: what is left is the push, the start of the tool, the
wait for its end, and the reading of what it printed.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.phone_process import make_home, phone
from benchmarks.report import report
from devices import Artefact, Slice, load_spec, open_backend
from profiler.measure.sampling import sampling_for
from tests.phone import fake_model

DEVICE = "snapdragon821"
MODEL_BYTES = 500_000
MOST_S, MOST_SHARE = 0.5, 0.05
_INSTANT = Slice(min_time_s=0.0, min_runs=3)


@dataclass(frozen=True)
class Overhead:
    """Seconds by model: of the push, and of a run without its timed part. `share` is of one core, in a session."""

    push_s: tuple[float, ...]
    run_s: tuple[float, ...]
    share: float

    @property
    def total_s(self) -> tuple[float, ...]:
        """Push, start and reading of the result, by model."""
        return tuple(push + run for push, run in zip(self.push_s, self.run_s, strict=True))


def measure(folder: Path, models: int) -> Overhead:
    """Put `models` on a phone and run each once; then all again as long as a session's visits to blocks are."""
    spec = load_spec(DEVICE)
    usual = sampling_for(spec).block
    push_s, run_s = [], []
    with phone(folder / "phone", real=False) as (address, tool):
        backend = open_backend(spec, adb=address, benchmark_model=tool, home=make_home(folder))
        try:
            programs = []
            for index in range(models):
                path = fake_model(folder / f"{index}.tflite", 1.0 + index, MODEL_BYTES)
                started_s = time.monotonic()
                programs.append(backend.load(Artefact(str(index), "tflite", (1, 8, 8, 3), path)))
                pushed_s = time.monotonic()
                programs[-1].measure(_INSTANT)
                push_s.append(pushed_s - started_s)
                run_s.append(time.monotonic() - pushed_s)
            started_s, used_s = time.monotonic(), time.process_time()
            for program in programs:
                program.measure(usual)
            share = (time.process_time() - used_s) / (time.monotonic() - started_s)
        finally:
            backend.close()
    return Overhead(tuple(push_s), tuple(run_s), share)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.phone_overhead")
    parser.add_argument("--models", type=int, default=40)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        overhead = measure(Path(folder), given.models)
    report("phone_overhead", "What this side adds while a phone measures", _rows(overhead), _notes(given.models))


def _rows(overhead: Overhead) -> list[dict[str, Any]]:
    times = {"push": overhead.push_s, "start, wait and parse": overhead.run_s, "together": overhead.total_s}
    rows: list[dict[str, Any]] = [
        {"what": f"{name}, s a block", "median": statistics.median(values), "most": max(values)}
        for name, values in times.items()
    ]
    rows[-1] |= {"at most allowed": MOST_S, "kept": max(overhead.total_s) < MOST_S}
    share = 100 * overhead.share
    rows.append({"what": "this side's processor time, % of one core", "median": share, "most": share})
    rows[-1] |= {"at most allowed": 100 * MOST_SHARE, "kept": overhead.share < MOST_SHARE}
    return rows


def _notes(models: int) -> list[str]:
    return [
        f"{models} models of {MODEL_BYTES / 1e6:g} MB that the phone has not seen, over loopback. The models take no "
        "time; the start of the stand-in for the tool, a Python process, is in it.",
        "The processor time is that of this process alone while every model is visited once, for as long as a "
        "session visits a block (0.1 s of warm-up and 0.3 s of timed runs).",
    ]


if __name__ == "__main__":
    main()
