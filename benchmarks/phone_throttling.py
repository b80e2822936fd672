"""A phone that throttles in the middle of a session: is it noticed, waited out, and everything measured again?

    python -m benchmarks.phone_throttling [--resolution 224] [--every 1] [--real] [--cache DIR]

The blocks of the space (every so many of them) are measured once undisturbed and once for each way in which a
phone gets hot: one that caps its clocks, one whose thermal service says so too, and one that says nothing, so
that only the reference block tells. A hot phone's times are stretched. With `--real` TensorFlow Lite on this
computer measures, and the undisturbed session is done twice, for what this computer repeats by itself; without,
the phone only says how long blocks take, and the clock moves when somebody sleeps. Exit status 0 means that all
held.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.phone_process import make_home
from benchmarks.report import report
from devices import Artefact, load_spec
from devices.android.opening import open_android
from pnag.space.spaces import load_space
from profiler.build.artefacts import ArtefactCache, ahead_of, open_factory
from profiler.console import Progress
from profiler.measure.plan import Unit, block_units, reference_unit
from profiler.measure.sampling import sampling_for
from profiler.measure.session import Session, SessionResult
from profiler.profile import prepare
from tests.phone import FakePhone, fake_tool
from tests.phone.models import PhoneModels
from tests.phone.time import FakeTime

DEVICE = "snapdragon821"
WITHIN = 0.02
_TIMES = 3  # so often a session's phone gets hot
_FACTORS, _READINGS = (1.2, 2.0), (4, 12)


@dataclass(frozen=True)
class Case:
    """One session. `told`: whether a hot phone says that it is; None for one that stays cool."""

    name: str
    told: bool | None = None
    api_level: int = 26

    def order(self, phone: FakePhone, visits: int) -> int:
        """Have the phone throttle at random moments of a session of so many visits; how often it will."""
        if self.told is None:
            return 0
        rng = random.Random(self.name)
        for part in range(_TIMES):
            hot = {"factor": rng.uniform(*_FACTORS), "readings": rng.randint(*_READINGS), "told": self.told}
            nth = rng.randint(part * visits // _TIMES + 1, (part + 1) * visits // _TIMES)
            phone.faults.order("throttle", service="--graph", nth=nth, **hot)
        return _TIMES


UNDISTURBED = Case("undisturbed")
HOT = (
    Case("capped clocks, a warm battery", told=True),
    Case("the thermal service too", told=True, api_level=31),
    Case("nothing but slower runs", told=False),
)


@dataclass(frozen=True)
class Bench:
    """What is measured in every session."""

    units: tuple[Unit, ...]
    artefacts: Mapping[str, Artefact]
    home: Path
    real: bool

    def run(self, case: Case, folder: Path) -> SessionResult:
        """One session on a phone of its own."""
        sampling, fake = sampling_for(load_spec(DEVICE)), FakeTime()
        clock, sleep = (time.monotonic, time.sleep) if self.real else (fake.clock, fake.sleep)
        visits = len(self.units) * sampling.stop.min_rounds
        properties = {"ro.build.version.sdk": str(case.api_level)}
        with FakePhone(folder / "phone", properties=properties, real=self.real) as phone:
            ordered = case.order(phone, visits)
            backend = open_android(
                load_spec(DEVICE),
                adb=phone.address,
                benchmark_model=fake_tool(folder / "benchmark_model"),
                home=self.home,
                announce=lambda _: None,
                clock=clock,
                sleep=sleep,
            )
            with Progress(case.name, visits) as progress:
                session = Session(
                    backend,
                    self.units,
                    self.artefacts.__getitem__,
                    reference_unit(self.units).name,
                    sampling=sampling,
                    watcher=progress,
                    clock=clock,
                    sleep=sleep,
                )
                result = session.run()
            backend.close()
            assert phone.faults.struck == ["throttle"] * ordered
            return result


def main() -> int:
    """Run the sessions, compare, report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.phone_throttling")
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--every", type=int, default=1, help="Measure every so many of the blocks.")
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--cache", type=Path, help="Where converted files are kept.")
    given = parser.parse_args()
    units = block_units(load_space(resolution=given.resolution).blocks()[:: given.every])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        factory = (
            open_factory("tflite", ArtefactCache(given.cache), 1) if given.real else PhoneModels(folder / "models")
        )
        with Progress("converting", len(units)) as progress:
            artefacts = prepare(units, factory, progress, ahead=ahead_of("tflite", factory)).artefacts
        bench = Bench(units, artefacts, make_home(folder), given.real)
        cases = (UNDISTURBED, *((Case("undisturbed, again"),) if given.real else ()), *HOT)
        results = [bench.run(case, folder / str(index)) for index, case in enumerate(cases)]
    rows = [_row(case, results[0], result) for case, result in zip(cases, results, strict=True)]
    suffix = "_real" if given.real else ""
    notes = _notes(len(units), given.resolution, real=given.real)
    report(f"phone_throttling{suffix}", "Sessions on a phone that gets hot in the middle", rows, notes)
    return 0 if all(row["as it must be"] for row in rows) else 1


def _row(case: Case, undisturbed: SessionResult, result: SessionResult) -> dict[str, Any]:
    errors = [
        abs(measured.latency_ms / undisturbed.measurements[name].latency_ms - 1)
        for name, measured in result.measurements.items()
    ]
    quality, hot = result.quality, case.told is not None
    noticed = quality["off_segments"] > 0 and (quality["waited_s"] > 0 or not case.told)
    used = [visit for measurement in result.measurements.values() for visit in measurement.used]
    left = sum(not visit.steady for visit in used) / len(used)
    return {
        "session": case.name,
        "times hot": _TIMES if hot else 0,
        "visits": quality["visits"],
        "segments of a hot phone": quality["off_segments"],
        "waited, s": quality["waited_s"],
        "visits used of a hot phone, %": 100 * left,
        "difference to undisturbed, median, %": 100 * statistics.median(errors),
        "largest, %": 100 * max(errors),
        "as it must be": max(errors) <= WITHIN and left == 0 and (noticed or not hot),
    }


def _notes(blocks: int, resolution: int, *, real: bool) -> list[str]:
    times = "measured by TensorFlow Lite on this computer" if real else "set, and noisy by 0.6 %"
    return [
        f"{blocks} blocks at {resolution} pixels, as `{DEVICE}` measures them. Each time the phone becomes "
        f"{_FACTORS[0]:g} to {_FACTORS[1]:g} times slower at a random visit, and cools down after its state was read "
        f"{_READINGS[0]} to {_READINGS[1]} times. Times are {times}.",
        "It must be: noticed, waited out where the phone says it, and no visit to a hot phone used; every block within "
        f"{WITHIN:.0%} of the undisturbed session.",
    ]


if __name__ == "__main__":
    sys.exit(main())
