"""Blocks with warm and with cold weights: which predict networks better? `python -m benchmarks.cold_weights`.

A block measured alone keeps its weights in the cache, a network streams them. Each block is measured both ways in the
same interleaved rounds as whole networks; from either, networks are predicted by scale and offset, and by the table's
own calibration, leaving one out. `--resolution 32` (64, 96, 224), `--device cpu_tflite`, `--cold-mib 32`. Some two
minutes a resolution on a quiet machine, beside the conversion of files that are not in the cache.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import RESULTS, machine, report
from devices import Slice, load_spec, open_backend
from lut.calibration.fit import NetworkMeasurement, fit_calibration
from pnag.space.spaces import load_space
from profiler.build.artefacts import ArtefactCache, open_factory
from profiler.cli_networks import sample_units
from profiler.console import Progress
from profiler.measure.estimator import ESTIMATORS, Round
from profiler.measure.plan import Unit, block_units

WARM = Slice(min_time_s=0.03, min_runs=3, warmup_runs=2)
NETWORK = Slice(min_time_s=0.06, min_runs=3, warmup_runs=1)

Seen = dict[str, dict[str, list[Round]]]


def measure(given: argparse.Namespace) -> tuple[Sequence[Unit], Seen]:
    """The networks, and the calls of each round by way (`warm`, `cold`, `network`) and unit."""
    spec, space = load_spec(given.device), load_space(resolution=given.resolution)
    units = (*block_units(space.blocks()), *sample_units(space, given.networks, 0, 0))
    backend = open_backend(spec)
    factory = open_factory(backend.artefact_format, ArtefactCache(given.cache), 1, spec.precision)
    cold = replace(WARM, warmup_runs=1, cold_mib=given.cold_mib)
    seen: Seen = {"warm": {}, "cold": {}, "network": {}}
    rng = np.random.default_rng(0)
    try:
        with Progress("loading", len(units)) as progress:
            programs = {}
            for unit in units:
                programs[unit.name] = backend.load(factory.make(unit.name, unit.specs))
                progress.advance()
        with Progress("measuring", len(units) * given.rounds) as progress:
            for _ in range(given.rounds):
                for index in rng.permutation(len(units)):
                    unit = units[index]
                    ways = {"warm": WARM, "cold": cold} if unit.role == "block" else {"network": NETWORK}
                    for way, how in ways.items():
                        samples = programs[unit.name].measure(how)
                        seen[way].setdefault(unit.name, []).append(samples.times_ms)
                    progress.advance()
    finally:
        backend.close()
    return [unit for unit in units if unit.role != "block"], seen


def row(way: str, blocks: Mapping[str, list[Round]], networks: Sequence[NetworkMeasurement]) -> dict[str, Any]:
    """How well blocks measured in one way predict the networks."""
    quiet = ESTIMATORS["quiet"]
    latencies = {name: quiet.value_ms(rounds) for name, rounds in blocks.items()}
    sums = np.array([sum(latencies[key] for key in network.blocks) for network in networks])
    true = np.array([network.latency_ms for network in networks])
    errors = []
    for index in range(len(true)):
        others = np.arange(len(true)) != index
        terms = np.stack([sums[others], np.ones(others.sum())], axis=1) / true[others][:, None]
        scale, offset = np.linalg.lstsq(terms, np.ones(others.sum()), rcond=None)[0]
        errors.append(abs((scale * sums[index] + offset) / true[index] - 1))
    calibration, _ = fit_calibration(latencies, networks)
    return {
        "weights": way,
        "sum of blocks over network": float((sums / true).mean()),
        "its spread (%)": 100 * float((sums / true).std() / (sums / true).mean()),
        "scale and offset, error (%)": 100 * float(np.mean(errors)),
        "calibration, error (%)": 100 * calibration.loo_mape,
        "its scale": calibration.scale,
    }


def main() -> int:
    """Measure, compare, report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold_weights")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--resolution", type=int, default=32)
    parser.add_argument("--networks", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--cold-mib", type=int, default=32)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--folder", type=Path, default=RESULTS)
    given, before = parser.parse_args(), machine()
    units, seen = measure(given)
    quiet = ESTIMATORS["quiet"]
    networks = [NetworkMeasurement(u.name, u.blocks, quiet.value_ms(seen["network"][u.name])) for u in units]
    rows = [row(way, seen[way], networks) for way in ("warm", "cold")]
    title = f"Blocks with warm and cold weights, {given.device} at {given.resolution} pixels"
    notes = [
        f"Cold: {given.cold_mib} MiB of memory are overwritten before each call and the input is written anew. "
        f"{len(networks)} networks, {given.rounds} rounds; errors are means over networks, each left out of its fit."
    ]
    name = f"cold_weights_{given.device}_{given.resolution}"
    report(name, title, rows, notes, folder=given.folder, measured_on=before)
    return 0


if __name__ == "__main__":
    sys.exit(main())
