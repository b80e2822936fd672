"""`pnag-generate --beside ZOO`: a network of ours beside each published one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from lut.calibration.threads import one_thread
from lut.files import require_writable
from pnag.delivery.answer import origin_of, origin_text, with_measured
from pnag.delivery.beside.measuring import closed
from pnag.delivery.beside.pairs import Pair, device_of, paired
from pnag.delivery.beside.rows import beside_rows, beside_text, counts, save_pairs, speed_text
from pnag.delivery.limits import limits_of
from pnag.generator.generate import Generator
from pnag.runs.run import Run, table_of
from profiler.console import Progress, print_json, print_text, say
from profiler.zoo.file import read_zoo
from profiler.zoo.session import zoo_sessions
from profiler.zoo.speed import device_speed


def print_pairs(
    path: Path,
    directory: Path,
    *,
    candidates: int,
    confidence: float,
    seed: int,
    attempts: int,
    verify: str | None,
    allow_mismatch: bool,
    limits: dict[str, Any],
    reach: dict[str, Any],
    csv: Path | None,
    json: bool,
) -> None:
    """Print, for each network of the zoo's file, the network of the run that is at most as slow."""
    if csv is not None:
        require_writable(csv)
    zoo = read_zoo(path)
    generator = with_measured(Generator.load(directory), directory)
    table = table_of(Run.load(directory))
    unlike = device_of(zoo, table, allow_mismatch=allow_mismatch)
    if unlike is not None:
        say(f"going on though {path} is {unlike}")
    speed = device_speed(zoo, table)
    further = limits_of(generator, confidence, **limits, suffixes=[])
    asked: dict[str, Any] = {"confidence": confidence, "candidates": candidates, "seed": seed, "further": further}
    with one_thread():
        pairs: Sequence[Pair] = paired(generator, zoo, speed, **asked)
    if verify is not None:
        how: dict[str, Any] = {"allow_mismatch": allow_mismatch, "tell": say, **reach}
        with (
            Progress("exporting", 0) as exporting,
            Progress("measuring", 0) as measuring,
            zoo_sessions(verify, table, exporting=exporting, measuring=measuring, **how) as session,
        ):
            pairs = closed(pairs, generator, session, attempts=attempts)
    rows = beside_rows(pairs, generator, speed)
    if csv is not None:
        save_pairs(csv, rows)
    origin = origin_of(directory, generator, confidence)
    left_out = [
        {"name": row.network.name, "why": row.failure or "no accuracy of it is in print"}
        for row in zoo.rows
        if row.latency_ms is None or row.network.top1 is None
    ]
    if json:
        print_json(
            {
                **origin,
                "zoo": str(path),
                "zoo_created": zoo.created,
                "resolutions": list(generator.space.sides),
                "device_slowdown": speed.slowdown if speed.networks else None,
                "device_slowdown_networks": speed.networks,
                "counts": {
                    name: counts(row for row in rows if row["same_resolution"] is same)
                    for name, same in (("same_resolution", True), ("other_resolutions", False))
                },
                "pairs": rows,
                "left_out": left_out,
            }
        )
        return
    print_text(f"{origin_text(origin)}\n{speed_text(speed)}\n\n{beside_text(rows, generator.space.sides)}")
    for one in left_out:
        say(f"{one['name']} is left out: {one['why']}")


def refuse_beside_with(given: Mapping[str, Any]) -> None:
    """Raise `BadParameter` for an option that asks for something else than pairs."""
    for name, value in given.items():
        if value not in (None, False, (), []):
            raise typer.BadParameter(f"--beside prints pairs alone; leave {name} out, and ask for it by itself")
