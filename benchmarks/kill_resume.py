"""Kill a profiling session at random moments, let it resume, and check that nothing finished was lost.

    python -m benchmarks.kill_resume [--kills 100] [--seed 0]    15 to 25 minutes

The session is the real command with real files on the fake device. After every second kill the command is given
with other options, or for another device, before the session goes on: it has to be refused, and to change nothing.
Exit status 0 means: every finished measurement of every journal is in the final table, none was measured twice, none
is of another session, and the table equals an undisturbed one in kind.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import report
from lut.table import LatencyTable

_SPEC = """\
name = "fake"
title = "fake device"
backend = "fake"

[options]
noise = 0.03
seed = 1
pause_s = {pause_s}
"""
_POLL_S = 0.005
_LONGEST_RUN_S = 300.0
_NETWORKS = 40
_PAUSE_S = 0.1  # long enough for a hundred kills before the session is over
# What must not go on with the session's journal: each is added to its command, and takes the place of what it repeats.
_OTHERS: tuple[tuple[str, ...], ...] = (
    ("--seed", "9"), ("--batch", "2"), ("--threads", "2"), ("--classes", "11"), ("--resolution", "64"),
    ("--calibrate", "5"), ("--holdout", "2"), ("--space", "ofa-mbv3-w1.0"), ("--device", "other.toml"),
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What the kills did. `seconds_to_death` counts from the start of each process; `refused` are other sessions."""

    kills: int
    finished_at_kills: tuple[int, ...]
    seconds_to_death: tuple[float, ...]
    visits: int
    median_difference: float
    refused: int = 0


class LostError(AssertionError):
    """A finished measurement was lost, changed, repeated or mixed with others, or the table is of another kind."""


def _command(spec: Path, out: Path, networks: int) -> list[str]:
    size = ["--resolution", "32", "--classes", "10", "--calibrate", str(networks), "--holdout", str(networks // 2)]
    return [sys.executable, "-m", "profiler.cli", "--device", str(spec), "--out", str(out), *size]


def _whole_lines(journal: Path) -> list[bytes]:
    content = journal.read_bytes() if journal.exists() else b""
    return content[: content.rfind(b"\n") + 1].splitlines()


def _kill_at_random(command: Sequence[str], journal: Path, rng: random.Random) -> float | None:
    """Start the command, kill it at a random moment; None if it was finished before that."""
    before = len(_whole_lines(journal))
    started_s = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    # One in four dies at any moment from its start on, the others once they have finished something new.
    anywhere = rng.random() < 0.25
    due_s = started_s + rng.uniform(0.0, 1.5) if anywhere else None
    while process.poll() is None and time.monotonic() - started_s < _LONGEST_RUN_S:
        if due_s is None and len(_whole_lines(journal)) > before:
            due_s = time.monotonic() + rng.uniform(0.0, 0.3)
        if due_s is not None and time.monotonic() >= due_s:
            process.kill()
            process.communicate()
            return time.monotonic() - started_s
        time.sleep(_POLL_S)
    _, errors = process.communicate()
    if process.returncode:
        raise LostError(f"a resumed session failed: {errors.decode(errors='replace').strip()}")
    return None


def _try_others(command: Sequence[str], options: Sequence[str], journal: Path) -> None:
    """Another session in the same place: refused in one line, with nothing changed."""
    before = {path.name: path.read_bytes() for path in journal.parent.iterdir()}
    given = [str(journal.parent / word) if word.endswith(".toml") else word for word in options]
    tried = subprocess.run([*command, *given], capture_output=True, text=True, check=False)
    said = tried.stderr.strip().splitlines()[-1:]
    if tried.returncode != 2 or "--fresh" not in "".join(said):
        raise LostError(f"{' '.join(options)} was not refused (status {tried.returncode}): {said}")
    after = {path.name: path.read_bytes() for path in journal.parent.iterdir()}
    if {name: data for name, data in after.items() if not name.endswith(".lock")} != {
        name: data for name, data in before.items() if not name.endswith(".lock")
    }:
        raise LostError(f"{' '.join(options)} was refused, and changed something all the same")


def kill_and_resume(folder: Path, kills: int, seed: int, *, networks: int = 8, pause_s: float = 0.004) -> Outcome:
    """Run the session in `folder`, killed so many times, and check it against an undisturbed one.

    Raises `LostError` where something finished was lost.
    """
    rng = random.Random(seed)
    spec, slow = folder / "quick.toml", folder / "slow.toml"
    spec.write_text(_SPEC.format(pause_s=0.0))
    slow.write_text(_SPEC.format(pause_s=pause_s))
    (folder / "other.toml").write_text(_SPEC.format(pause_s=0.0).replace("fake device", "another fake device"))
    refused = 0
    undisturbed, out = folder / "undisturbed.parquet", folder / "killed.parquet"
    subprocess.run(_command(spec, undisturbed, networks), check=True, capture_output=True)
    journal = out.with_suffix(".journal")
    lines: list[bytes] = []
    counts: list[int] = []
    deaths: list[float] = []
    while len(deaths) < kills:
        died_s = _kill_at_random(_command(slow, out, networks), journal, rng)
        if died_s is None:
            raise LostError(f"the session was over after {len(deaths)} kills; make it longer")
        now = _whole_lines(journal)
        if now[: len(lines)] != lines:
            raise LostError(f"kill {len(deaths) + 1} changed what was in the journal")
        lines = now
        deaths.append(died_s)
        counts.append(max(0, len(lines) - 1))
        if out.exists():
            raise LostError("there is a table before the session is complete")
        if len(lines) > 1 and 2 * refused < len(deaths):
            _try_others(_command(slow, out, networks), _OTHERS[refused % len(_OTHERS)], journal)
            refused += 1
    subprocess.run(_command(slow, out, networks), check=True, capture_output=True)
    table = LatencyTable.load(out)
    _check_kept(lines, table)
    difference = _check_kind(table, LatencyTable.load(undisturbed))
    visits = sum(entry.rounds for entry in table.entries)
    return Outcome(kills, tuple(counts), tuple(round(s, 2) for s in deaths), visits, difference, refused)


def _check_kept(lines: Sequence[bytes], table: LatencyTable) -> None:
    """Every journal line is in the table, once."""
    kept = {
        (entry.block, json.loads(state)["round"]): median_ms
        for entry in table.entries
        for state, median_ms in zip(entry.round_states, entry.samples_ms, strict=True)
    }
    if len(kept) != sum(entry.rounds for entry in table.entries):
        raise LostError("a round of a unit is in the table twice")
    seen: set[tuple[str, int]] = set()
    for line in lines[1:]:
        visit = json.loads(line)
        if visit["round"] < 0:
            continue  # a reading of the reference
        key = visit["unit"], visit["round"]
        if key in seen:
            raise LostError(f"{key} was measured twice")
        seen.add(key)
        if not visit.get("flags") and kept.get(key) != statistics.median(visit["times_ms"]):
            raise LostError(f"{key} was finished and is not in the table")


def _check_kind(table: LatencyTable, undisturbed: LatencyTable) -> float:
    """The same rows, all measured; returns the median relative difference of their latencies."""
    mine, theirs = ({(e.role, e.block): e for e in t.entries} for t in (table, undisturbed))
    if list(mine) != list(theirs):
        raise LostError("the tables have other rows")
    if any(entry.failed for entry in table.entries) or table.metadata.notes:
        raise LostError("the table is not complete")
    one, other = ([t.metadata.device["model"], t.metadata.runtime, t.metadata.batch] for t in (table, undisturbed))
    if one != other:
        raise LostError(f"the table is of {one}, not of {other}")
    return statistics.median(abs(mine[key].latency_ms / theirs[key].latency_ms - 1) for key in mine)


def main() -> None:
    """Run it in a folder of its own and write `results/kill_resume.md`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = kill_and_resume(Path(folder), options.kills, options.seed, networks=_NETWORKS, pause_s=_PAUSE_S)
    rows = [
        {"what": "kills", "measured": outcome.kills},
        {
            "what": "sessions with other options or of another device in between",
            "measured": f"{outcome.refused} refused",
        },
        {"what": "finished measurements at each kill", "measured": ", ".join(map(str, outcome.finished_at_kills))},
        {"what": "seconds from start to kill", "measured": ", ".join(map(str, outcome.seconds_to_death))},
        {"what": "measurements in the end", "measured": f"{outcome.visits:,}: none lost, none twice"},
        {
            "what": "median difference to an undisturbed table, of the same noise",
            "measured": f"{100 * outcome.median_difference:.2f} %",
        },
    ]
    notes = [f"The command on the fake device with {_NETWORKS} networks to calibrate, seed {options.seed}."]
    report("kill_resume", "A profiling session killed at random moments", rows, notes)


if __name__ == "__main__":
    main()
