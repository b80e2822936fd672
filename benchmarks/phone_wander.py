"""A phone whose speed wanders within seconds: what does it cost in time and in accuracy?

    python -m benchmarks.phone_wander [--resolution 224] [--calibrate 20] [--holdout 10] [--width 0.15]

The blocks of the space and some whole networks are measured twice, as `snapdragon821` measures them: on a phone of
steady speed and on one whose runs take up to so many per cent more or less, with a new aim every 1 to 4 s. The phone is
a fake that speaks the real protocol; it says how long runs take, and the clock moves when somebody sleeps. The time is
that of all calls on the phone, warm-ups too. Exit status 0 means that both limits held.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.phone_process import make_home
from benchmarks.report import report
from devices import load_spec
from devices.android.opening import open_android
from lut.calibration.fit import NetworkMeasurement, fit_calibration, judge
from pnag.space.spaces import load_space
from profiler.cli_networks import sample_units
from profiler.console import Progress
from profiler.measure.plan import Unit, block_units, reference_unit
from profiler.measure.sampling import sampling_for
from profiler.measure.session import Session, SessionResult
from tests.phone import FakePhone, fake_tool
from tests.phone.models import PhoneModels, latency_us
from tests.phone.time import FakeTime
from tests.phone.wander import Wander

DEVICE = "snapdragon821"
MOST_TIMES, MOST_MAPE = 1.5, 0.03


def measure(units: tuple[Unit, ...], width: float, folder: Path) -> SessionResult:
    """One session on a phone of its own."""
    sampling, fake, models = sampling_for(load_spec(DEVICE)), FakeTime(), PhoneModels(folder / "models")
    folder.mkdir()
    artefacts = {unit.name: models.make(unit.name, unit.specs) for unit in units}
    with FakePhone(folder / "phone") as phone:
        if width:
            phone.slower_now = Wander(fake.clock, width=width)
        backend = open_android(
            load_spec(DEVICE),
            adb=phone.address,
            benchmark_model=fake_tool(folder / "benchmark_model"),
            home=make_home(folder),
            announce=lambda _: None,
            clock=fake.clock,
            sleep=fake.sleep,
        )
        try:
            with Progress(f"±{width:.0%}", len(units) * sampling.stop.min_rounds) as progress:
                session = Session(
                    backend,
                    units,
                    artefacts.__getitem__,
                    reference_unit([unit for unit in units if unit.role == "block"]).name,
                    sampling=sampling,
                    watcher=progress,
                    clock=fake.clock,
                    sleep=fake.sleep,
                )
                return session.run()
        finally:
            backend.close()


def calls_s(result: SessionResult) -> float:
    """Seconds that the calls of all visits took on the phone."""
    visits = [visit for measurement in result.measurements.values() for visit in measurement.visits]
    return sum(visit.time_s + sum(visit.warmup_ms) / 1e3 for visit in visits)


def row(units: tuple[Unit, ...], width: float, result: SessionResult) -> dict[str, Any]:
    """How long its calls took, how far blocks are off, and how well unseen networks are predicted."""
    taken = {name: measurement.latency_ms for name, measurement in result.measurements.items()}
    blocks = [unit for unit in units if unit.role == "block"]
    ratios = [taken[unit.name] * 1000 / latency_us(unit.specs) for unit in blocks]
    level = statistics.median(ratios)  # quiet is how the phone was at its quieter moments
    off = [abs(ratio / level - 1) for ratio in ratios]
    networks = {
        role: [NetworkMeasurement(u.name, u.blocks, taken[u.name]) for u in units if u.role == role]
        for role in ("calibration", "holdout")
    }
    fit, costs = fit_calibration({unit.name: taken[unit.name] for unit in blocks}, networks["calibration"])
    predicted = [fit.intercept_ms + sum(costs[key] for key in network.blocks) for network in networks["holdout"]]
    fidelity = judge(predicted, [network.latency_ms for network in networks["holdout"]])
    assert fidelity is not None
    return {
        "speed wanders by": f"±{width:.0%}",
        "calls, s": calls_s(result),
        "visits": result.quality["visits"],
        "level of the blocks, %": 100 * (level - 1),
        "blocks off that, median, %": 100 * statistics.median(off),
        "largest, %": 100 * max(off),
        "unseen networks": fidelity.n,
        "MAPE, %": 100 * fidelity.mape,
        "worst, %": 100 * fidelity.worst,
    }


def main() -> int:
    """Run both sessions, compare, report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.phone_wander")
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--calibrate", type=int, default=20)
    parser.add_argument("--holdout", type=int, default=10)
    parser.add_argument("--width", type=float, default=0.15)
    given = parser.parse_args()
    space = load_space(resolution=given.resolution)
    units = (*block_units(space.blocks()), *sample_units(space, given.calibrate, given.holdout, 0))
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for width in (0.0, given.width):
            rows.append(row(units, width, measure(units, width, Path(name) / f"{width}")))
    times, mape = rows[1]["calls, s"] / rows[0]["calls, s"], rows[1]["MAPE, %"] / 100
    notes = [
        f"{len(space.blocks())} blocks at {given.resolution} pixels, {given.calibrate} networks to calibrate with and "
        f"{given.holdout} to judge by, on a fake phone: its times are set, and noisy by 0.6 %. The wandering one took "
        f"{times:.2f} times as long (at most {MOST_TIMES:g}); MAPE may be {MOST_MAPE:.0%}."
    ]
    report("phone_wander", "A phone whose speed wanders within seconds", rows, notes)
    return 0 if times <= MOST_TIMES and mape <= MOST_MAPE else 1


if __name__ == "__main__":
    sys.exit(main())
