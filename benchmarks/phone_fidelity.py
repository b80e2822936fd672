"""All blocks and whole networks through ADB with real inference: prediction, this side's share, and the way back.

    python -m benchmarks.phone_fidelity [--resolution 224] [--calibrate 15] [--holdout 15] [--cache DIR]
    python -m benchmarks.phone_fidelity … --prepare     # only convert, which needs no quiet machine

The phone is a process of its own on loopback that runs TensorFlow Lite on this computer, pinned to its last
core. Numbers are this computer's and no phone's. Afterwards pnag-train learns from the table and from made-up
accuracies, and pnag-generate exports networks and measures them on the same phone. `--space` and fewer networks
make it short; `--fake` takes a phone that only says how long blocks take, to try the script itself.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.phone_process import make_home, phone
from benchmarks.report import machine, report
from devices import DeviceSpec, load_spec, open_backend
from lut.table import LatencyTable
from pnag.accuracy.archive import AccuracyArchive
from pnag.demo import budgets_within, run_command
from pnag.space.sampling import sample_archive
from pnag.space.search_space import SearchSpace
from pnag.space.spaces import load_space
from profiler.build.artefacts import ArtefactCache, ArtefactFactory, ahead_of, open_factory
from profiler.cli_networks import sample_units
from profiler.console import Progress, say
from profiler.measure.plan import Unit, block_units
from profiler.measure.sampling import sampling_for
from profiler.measure.session import Sampling
from profiler.profile import Job, Prepared, measure, prepare
from tests.phone.models import PhoneModels

DEVICE = "snapdragon821"
MOST_MAPE, MOST_ERROR, MOST_SHARE = 0.025, 0.07, 0.05
_ACCURACIES = 300


@dataclass(frozen=True)
class Work:
    """What is measured, and how."""

    spec: DeviceSpec
    space: SearchSpace
    units: tuple[Unit, ...]
    sampling: Sampling
    prepared: Prepared

    @classmethod
    def plan(cls, folder: Path, given: argparse.Namespace) -> Work:
        """Choose the networks, convert everything."""
        spec, space = load_spec(DEVICE), load_space(given.space, resolution=given.resolution)
        units = (*block_units(space.blocks()), *sample_units(space, given.calibrate, given.holdout, 0))
        factory = _factory(folder, given)
        with Progress("converting", len(units)) as progress:
            prepared = prepare(units, factory, progress, ahead=ahead_of("tflite", factory))
        sampling = sampling_for(spec)
        if given.rounds:
            stop = replace(sampling.stop, min_rounds=given.rounds, max_rounds=given.rounds)
            sampling = replace(sampling, stop=stop)
        return cls(spec, space, units, sampling, prepared)

    def profile(self, address: str, tool: Path, folder: Path) -> tuple[LatencyTable, float, float]:
        """The table; the seconds that measuring took, and the processor's seconds that this process used."""
        backend = open_backend(self.spec, adb=address, benchmark_model=tool, home=folder)
        space, device = self.space, {"spec": self.spec.name}
        job = Job(space.to_dict(), space.resolution, space.classes, 1, self.units, self.sampling, device)
        try:
            started_s, used_s = time.monotonic(), time.process_time()
            with Progress("measuring", len(self.units) * self.sampling.stop.min_rounds) as progress:
                table, _ = measure(backend, job, self.prepared, folder / "journal", watcher=progress)
            return table, time.monotonic() - started_s, time.process_time() - used_s
        finally:
            backend.close()


def _factory(folder: Path, given: argparse.Namespace) -> ArtefactFactory:
    return PhoneModels(folder / "models") if given.fake else open_factory("tflite", ArtefactCache(given.cache), 1)


def deliver(table: LatencyTable, space: SearchSpace, address: str, tool: Path, folder: Path) -> list[dict[str, Any]]:
    """Train on the table, ask for three budgets, export, measure on the phone: what pnag-generate says of each."""
    table.save(folder / "table.parquet")
    rng = np.random.default_rng(0)
    costs = space.cost_model(table)
    low_ms, high_ms = costs.range_ms
    tokens = sample_archive(space, _ACCURACIES, costs, rng)
    share = (costs(tokens) - low_ms) / (high_ms - low_ms)
    accuracy = 0.7 + 0.1 * np.sqrt(share) + rng.normal(0, 0.001, len(tokens))
    AccuracyArchive(space, tokens, accuracy).save(folder / "accuracies.csv")
    run = folder / "run"
    trained = run_command(
        ["pnag-train", "--lut", f"{folder}/table.parquet", "--accuracy", f"{folder}/accuracies.csv", "--out", str(run)]
    )
    where = ["--verify", DEVICE, "--adb", address, "--benchmark-model", str(tool)]
    budgets = budgets_within(*trained["range_ms"])
    answer = run_command(["pnag-generate", *budgets, "--from", str(run), "--export", f"{folder}/net.tflite", *where])
    return list(answer["networks"])


def main() -> int:
    """Profile, judge, deliver, report; 0 if all that must hold did."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.phone_fidelity")
    parser.add_argument("--space", default="ofa-mbv3-w1.2")
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--calibrate", type=int, default=15)
    parser.add_argument("--holdout", type=int, default=15)
    parser.add_argument("--rounds", type=int, help="Of every unit, instead of as many as are needed.")
    parser.add_argument("--cache", type=Path, help="Where converted files are kept.")
    parser.add_argument("--prepare", action="store_true", help="Convert and stop.")
    parser.add_argument("--fake", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        work = Work.plan(folder, given)
        if given.prepare:
            say(f"{len(work.prepared.artefacts)} files converted, {len(work.prepared.failures)} failed")
            return bool(work.prepared.failures)
        os.environ["HOME"] = str(make_home(folder))
        before = machine()
        with phone(folder / "phone", real=not given.fake) as (address, tool):
            table, seconds, used_s = work.profile(address, tool, folder)
            row, suffix = _row(table, seconds, used_s), "_fake" if given.fake else ""
            title = "A table through ADB and the stand-in"
            report(f"phone_fidelity{suffix}", title, [row], _notes(table, given.fake), measured_on=before)
            networks = [] if given.fake else deliver(table, work.space, address, tool, folder)
    if networks:
        title = "Networks generated from that table, exported, and measured on the same phone"
        rows = [_network_row(network) for network in networks]
        report("phone_networks", title, rows, _network_notes(table), measured_on=before)
    return 0 if row["as it must be"] and all(network["kept"] for network in networks) else 1


def _row(table: LatencyTable, seconds: float, used_s: float) -> dict[str, Any]:
    fidelity = table.metadata.fidelity
    mape, worst = (fidelity.mape, fidelity.worst) if fidelity else (float("nan"), float("nan"))
    failed, share = sum(entry.failed for entry in table.entries), used_s / seconds
    return {
        "blocks": len(table.blocks),
        "failed": failed,
        "networks unseen": fidelity.n if fidelity else 0,
        "MAPE, %": 100 * mape,
        "worst, %": 100 * worst,
        "rank correlation": fidelity.rank_correlation if fidelity else float("nan"),
        "measuring, s": seconds,
        "this side's processor time, % of one core": 100 * share,
        "as it must be": mape <= MOST_MAPE and worst <= MOST_ERROR and share < MOST_SHARE and not failed,
    }


def _notes(table: LatencyTable, fake: bool) -> list[str]:
    quality = table.metadata.sampling["quality"]
    spread = quality["reference_spread"] or 0.0
    what = "set by the fake phone" if fake else "measured by TensorFlow Lite on this computer"
    return [
        f"Times are {what}, not a phone's. Resolution {table.metadata.resolution}, "
        f"{table.metadata.calibration.networks} networks to calibrate, {quality['rounds']} rounds, "
        f"reference steady to ±{100 * spread:.1f} %, {quality['off_segments']} of {quality['segments']} segments off, "
        f"{quality['waited_s']:.0f} s waited. The stand-in and this side share {os.cpu_count()} cores.",
        f"It must be: MAPE at most {MOST_MAPE:.1%}, every network within {MOST_ERROR:.0%}, nothing failed, and less "
        f"than {MOST_SHARE:.0%} of one core used by this process while it measures.",
    ]


def _network_row(network: dict[str, Any]) -> dict[str, Any]:
    (export,) = network["exports"]
    return {
        "budget, ms": network["budget_ms"],
        "predicted, ms": network["cost_ms"],
        "measured, ms": network["measured_ms"],
        "measured against predicted, %": 100 * (network["measured_ms"] / network["cost_ms"] - 1),
        "kept": network["kept"],
        "file, MB": export["bytes"] / 1e6,
        "differs from torch by": f"{export['relative_difference']:.0e}",
    }


def _network_notes(table: LatencyTable) -> list[str]:
    return [
        "By the commands: pnag-train from the table and from accuracies that were made up (they grow with cost, give "
        f"or take 0.1 %), then pnag-generate --export net.tflite --verify {DEVICE}, at a confidence of 0.95 "
        f"(a margin of {table.upper_margin(0.95):.1%}). Weights are untrained, which changes no latency.",
    ]


if __name__ == "__main__":
    sys.exit(main())
