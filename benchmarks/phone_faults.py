"""Sessions on a fake phone that is struck by a fault at a random moment: nothing measured may be lost.

    python -m benchmarks.phone_faults [--sessions 50] [--seed 0]

A session must end with a complete table, every block within 2 % of what the phone takes, or with one line
that says what to do. After an error the phone is put right and the same session run again: it must keep
what it had and complete. No process may be left on the phone. Exit status 0 means that all of this held.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import report
from devices.android.adb.keys import load_signer
from devices.errors import DeviceError
from tests.phone import FakePhone
from tests.phone.bench import Bench

WITHIN = 0.02
_MESSAGES, _RUNS, _BYTES = (60, 700), (1, 14), (1, 1200)
_SILENCE_S, _ALLOW_S = 1.5, 1.5


def _at(kind: str, **more: Any) -> Callable[[FakePhone, random.Random], None]:
    """The fault strikes at a random message."""
    return lambda phone, rng: _ignore(phone.faults.order(kind, messages=rng.randint(*_MESSAGES), **more))


def _in_run(kind: str, **more: Any) -> Callable[[FakePhone, random.Random], None]:
    """The fault strikes as a random measurement starts."""
    return lambda phone, rng: _ignore(phone.faults.order(kind, service="--graph", nth=rng.randint(*_RUNS), **more))


def _in_push(phone: FakePhone, rng: random.Random) -> None:
    phone.faults.order("drop", pushed_bytes=rng.randint(*_BYTES))


def _asks(tap: str, late_s: tuple[float, float] | None = None) -> Callable[[FakePhone, random.Random], None]:
    """The phone does not know this computer, and a person answers so, perhaps late."""

    def set_up(phone: FakePhone, rng: random.Random) -> None:
        phone.faults.trust, phone.faults.tap = "known", tap
        if late_s is not None:
            phone.faults.tap_gate = threading.Event()
            threading.Timer(rng.uniform(*late_s), phone.faults.tap_gate.set).start()

    return set_up


def _old(phone: FakePhone, rng: random.Random) -> None:
    phone.set_tool(output=rng.choice([2019, 2020, 2021, 2023]), lacks=rng.choice(["", "max_secs", "warmup_min_secs"]))


def _terminal(phone: FakePhone, _: random.Random) -> None:
    phone.faults.crlf = True


def _denied(phone: FakePhone, _: random.Random) -> None:
    for zone in range(2):
        phone.files.deny(f"/sys/class/thermal/thermal_zone{zone}/temp")


def _ignore(_: object) -> None:
    return None


FAULTS: Mapping[str, Callable[[FakePhone, random.Random], None]] = {
    "permission refused": _asks("refuse"),
    "nobody taps Allow": _asks("never"),
    "Allow is tapped late": _asks("allow", (0.2, 0.6 * _ALLOW_S)),
    "drop in mid-push": _in_push,
    "drop at any message": _at("drop"),
    "drop in mid-run": _in_run("drop"),
    "silence": _at("silence"),
    "away for a while": _at("vanish", attempts=4),
    "away for good": _at("vanish", attempts=-1),
    "reboot": _at("reboot", attempts=3),
    "tool killed": _in_run("kill_tool"),
    "full storage": _at("full"),
    "throttling": _in_run("throttle", readings=5),
    "garbage output": _in_run("garbage"),
    "an older tool": _old,
    "carriage returns": _terminal,
    "denied thermal zones": _denied,
}


@dataclass(frozen=True)
class Outcome:
    """How one session went. `message` is its error, empty if it had none; `struck`: the fault's moment came."""

    fault: str
    message: str
    worst_error: float
    kept: bool
    processes: int
    struck: bool
    seconds: float

    @property
    def good(self) -> bool:
        """Whether everything that must hold did."""
        one_line = len(self.message.splitlines()) <= 1
        return one_line and self.kept and self.worst_error <= WITHIN and self.processes == 0


def run(fault: str, seed: int, folder: Path, home: Path) -> Outcome:
    """One session under `fault`, and a second one if the first ended with an error."""
    rng, started_s, message, kept = random.Random(seed), time.monotonic(), "", True
    with FakePhone(folder / "phone") as phone:
        FAULTS[fault](phone, rng)
        bench = Bench(phone, folder, home)
        try:
            result = bench.run(silence_s=_SILENCE_S, allow_s=_ALLOW_S)
        except DeviceError as error:
            message = str(error)
            before = bench.visits_on_disk()
            _put_right(phone)
            result = bench.run(silence_s=_SILENCE_S, allow_s=_ALLOW_S)
            kept = result.quality["resumed_visits"] == before
        left = len(phone.processes())
        struck = not phone.faults.waiting
        return Outcome(fault, message, bench.worst_error(result), kept, left, struck, time.monotonic() - started_s)


def _put_right(phone: FakePhone) -> None:
    """What the message asked for has been done."""
    phone.come_back()
    phone.files.set_free_bytes(1 << 30)
    phone.faults.trust = "all"


def main() -> int:
    """Run the sessions, report them by fault."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.phone_faults")
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    outcomes = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        load_signer(home)
        for index in range(given.sessions):
            fault = list(FAULTS)[index % len(FAULTS)]
            place = Path(folder) / str(index)
            place.mkdir()
            outcome = run(fault, given.seed * 1000 + index, place, home)
            print(f"{index + 1:3} {'good' if outcome.good else 'BAD':4} {outcome}", file=sys.stderr, flush=True)
            outcomes.append(outcome)
    bad = [outcome for outcome in outcomes if not outcome.good]
    report(
        "phone_faults", "Sessions on a fake phone with a fault at a random moment", _rows(outcomes), _notes(outcomes)
    )
    return 1 if bad else 0


def _rows(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    rows = []
    for fault in FAULTS:
        own = [outcome for outcome in outcomes if outcome.fault == fault]
        if own:
            rows.append(
                {
                    "fault": fault,
                    "sessions": len(own),
                    "struck": sum(outcome.struck for outcome in own),
                    "table at once": sum(not outcome.message for outcome in own),
                    "clear error, table when run again": sum(bool(outcome.message) for outcome in own),
                    "largest error of a block, %": 100 * max(outcome.worst_error for outcome in own),
                    "processes left": sum(outcome.processes for outcome in own),
                    "as it must be": sum(outcome.good for outcome in own),
                }
            )
    return rows


def _notes(outcomes: list[Outcome]) -> list[str]:
    good = sum(outcome.good for outcome in outcomes)
    return [
        f"{good} of {len(outcomes)} sessions ended as they must: a complete table within {WITHIN:.0%} of the phone's "
        "true times, at once or, after one clear line and what it asks for, when run again with all that was measured.",
        "The phone is a fake on loopback that speaks the real protocol; its times are set, not measured.",
    ]


if __name__ == "__main__":
    sys.exit(main())
