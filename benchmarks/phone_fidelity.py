"""A table through ADB and the stand-in for benchmark_model, with real inference: prediction, overhead, host time.

    python -m benchmarks.phone_fidelity [--resolution 224] [--calibrate 15] [--holdout 15] [--fake]

The phone is a process of its own on loopback that runs TensorFlow Lite on this computer, pinned to its last
core. Numbers are this computer's and no phone's. `--fake` takes a phone that only says how long things take,
to try the benchmark itself.
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
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.report import report
from devices import Artefact, Slice, load_spec, open_backend
from devices.adb_keys import load_signer
from devices.backend import Backend
from lut.table import LatencyTable
from pnag.space import load_space
from profiler.artefacts import ArtefactCache, ArtefactFactory, ahead_of, open_factory
from profiler.cli_networks import sample_units
from profiler.console import Progress
from profiler.plan import block_units
from profiler.profile import Job, measure, prepare
from profiler.sampling import sampling_for
from tests.phone import fake_model
from tests.phone.models import PhoneModels

DEVICE = "snapdragon821"
_OVERHEAD_MODELS = 20


@contextmanager
def phone(folder: Path, *, real: bool) -> Iterator[tuple[str, str]]:
    """A phone in a process of its own: its address, and the tool's file."""
    command = [sys.executable, "-m", "tests.phone", str(folder), *(["--real"] if real else [])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address, tool = process.stdout.readline().split()
        try:
            yield address, tool
        finally:
            process.communicate()


def profile(folder: Path, given: argparse.Namespace) -> tuple[LatencyTable, dict[str, float]]:
    """The table, and what measuring it cost this side: seconds in all, and seconds of processor time."""
    spec = load_spec(DEVICE)
    space = load_space("ofa-mbv3-w1.2", resolution=given.resolution)
    units = (*block_units(space.blocks()), *sample_units(space, given.calibrate, given.holdout, 0))
    factory: ArtefactFactory
    factory = PhoneModels(folder / "models") if given.fake else open_factory("tflite", ArtefactCache(given.cache), 1)
    with Progress("converting", len(units)) as progress:
        prepared = prepare(units, factory, progress, ahead=ahead_of("tflite", factory))
    with phone(folder, real=not given.fake) as (address, tool):
        backend = open_backend(spec, adb=address, benchmark_model=tool, home=folder)
        try:
            sampling = sampling_for(spec)
            if given.rounds:
                stop = replace(sampling.stop, min_rounds=given.rounds, max_rounds=given.rounds)
                sampling = replace(sampling, stop=stop)
            job = Job(space.to_dict(), space.resolution, space.classes, 1, units, sampling, {"spec": DEVICE})
            started_s, used_s = time.monotonic(), time.process_time()
            with Progress("measuring", len(units) * sampling.stop.min_rounds) as progress:
                table, _ = measure(backend, job, prepared, folder / "journal", watcher=progress)
            cost = {"seconds": time.monotonic() - started_s, "processor_s": time.process_time() - used_s}
        finally:
            backend.close()
    return table, cost


def overhead_s(folder: Path) -> list[float]:
    """Seconds from a new model to its parsed result, for models that take no time: push, start, poll, parse."""
    with phone(folder, real=False) as (address, tool):
        backend: Backend = open_backend(load_spec(DEVICE), adb=address, benchmark_model=tool, home=folder)
        times = []
        try:
            for index in range(_OVERHEAD_MODELS):
                path = fake_model(folder / f"{index}.tflite", 1.0 + index, 500_000)
                started_s = time.monotonic()
                program = backend.load(Artefact(str(index), "tflite", (1, 8, 8, 3), path))
                program.measure(Slice(min_time_s=0.0, min_runs=3))
                times.append(time.monotonic() - started_s)
        finally:
            backend.close()
    return times


def main() -> None:
    """Profile, judge, report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.phone_fidelity")
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--calibrate", type=int, default=15)
    parser.add_argument("--holdout", type=int, default=15)
    parser.add_argument("--rounds", type=int, help="Of every unit, instead of as many as are needed.")
    parser.add_argument("--cache", type=Path, help="Where converted files are kept.")
    parser.add_argument("--fake", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        load_signer(folder)
        for part in ("overhead", "table"):
            (folder / part).mkdir()
            _share_key(folder, folder / part)
        overhead = overhead_s(folder / "overhead")
        table, cost = profile(folder / "table", given)
    name = "phone_fidelity_fake" if given.fake else "phone_fidelity"
    report(name, "A table through ADB and the stand-in", [_row(table, cost, overhead)], _notes(table, given.fake))


def _share_key(home: Path, other: Path) -> None:
    (other / ".config").symlink_to(home / ".config")


def _row(table: LatencyTable, cost: dict[str, float], overhead: list[float]) -> dict[str, Any]:
    fidelity = table.metadata.fidelity
    return {
        "blocks": len(table.blocks),
        "failed": sum(entry.failed for entry in table.blocks.values()),
        "networks unseen": fidelity.n if fidelity else 0,
        "MAPE, %": 100 * fidelity.mape if fidelity else float("nan"),
        "worst, %": 100 * fidelity.worst if fidelity else float("nan"),
        "rank correlation": fidelity.rank_correlation if fidelity else float("nan"),
        "measuring, s": cost["seconds"],
        "host's processor, % of a core": 100 * cost["processor_s"] / cost["seconds"],
        "overhead a block, s": statistics.median(overhead),
        "overhead at most, s": max(overhead),
    }


def _notes(table: LatencyTable, fake: bool) -> list[str]:
    quality = table.metadata.sampling["quality"]
    spread = quality["reference_spread"] or 0.0
    what = "set by the fake phone" if fake else "measured by TensorFlow Lite on this computer"
    return [
        f"Times are {what}, not a phone's. Resolution {table.metadata.resolution}, {quality['rounds']} rounds, "
        f"reference steady to ±{100 * spread:.1f} %, {quality['repeated_segments']} segments measured again, "
        f"{quality['waited_s']:.0f} s waited. The stand-in and this side share {os.cpu_count()} cores.",
        "Overhead: from a model of 0.5 MB that the phone has not seen to its parsed result, the model itself taking "
        "no time; the start of the stand-in is in it.",
    ]


if __name__ == "__main__":
    main()
