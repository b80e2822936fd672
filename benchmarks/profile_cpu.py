"""How long a table of this CPU takes, how well it predicts, how well it repeats: `python -m benchmarks.profile_cpu`.

Runs the command itself, twice, each time in a process of its own; the first starts with an empty cache, so that
its time includes the export. Nothing else should run meanwhile: the results are as good as the machine is quiet.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS, machine, report, versions
from lut.files import replacing
from lut.table import LatencyTable
from profiler.refit import visits_path


def profile(folder: Path, number: int, options: argparse.Namespace) -> dict[str, Any]:
    """One run of the command; the document that it prints."""
    command = [sys.executable, "-m", "profiler.cli", "--device", options.device, "--json", "--fresh"]
    command += ["--out", str(folder / f"{number}.parquet"), "--resolution", str(options.resolution)]
    command += ["--classes", str(options.classes)]
    command += ["--calibrate", str(options.calibrate), "--holdout", str(options.holdout)]
    environment = {**os.environ, "PNAG_CACHE": str(folder / "cache")}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def row(number: int, document: dict[str, Any]) -> dict[str, Any]:
    """One line of the result."""
    fidelity, quality = document["fidelity"] or {}, document["quality"]
    return {
        "table": number,
        "seconds": document["seconds"],
        "blocks": document["blocks"],
        "failed": len(document["failed"]),
        "noisy": len(document["noisy"]),
        "median CI of a block (%)": 100 * document["median_relative_ci"],
        "unseen networks": fidelity.get("n", 0),
        "MAPE (%)": 100 * fidelity.get("mape", float("nan")),
        "worst (%)": 100 * fidelity.get("worst", float("nan")),
        "within 5 % (%)": 100 * fidelity.get("within_5", float("nan")),
        "rank correlation": fidelity.get("rank_correlation", float("nan")),
        "reference steady to (%)": 100 * quality["reference_spread"],
        "segments off": quality["off_segments"],
        "waited (s)": quality["waited_s"],
    }


def differences(folder: Path) -> list[float]:
    """Relative differences of the block latencies of the two tables, in ascending order of size."""
    first, second = (LatencyTable.load(folder / f"{number}.parquet") for number in (1, 2))
    return sorted(
        abs(second.blocks[key].latency_ms / entry.latency_ms - 1)
        for key, entry in first.blocks.items()
        if not entry.failed and not second.blocks[key].failed
    )


def keep(table: Path, place: Path) -> None:
    """Copy a table and the timings beside it."""
    for path in (table, visits_path(table)):
        with replacing(place if path is table else visits_path(place)) as there:
            shutil.copyfile(path, there)


def main() -> None:
    """Measure, and write `results/profile_cpu.md` and `.json` (`--folder` for another place)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--calibrate", type=int, default=40)
    parser.add_argument("--holdout", type=int, default=20)
    parser.add_argument("--name", default="profile_cpu")
    parser.add_argument("--folder", type=Path, default=RESULTS)
    parser.add_argument("--keep", type=Path, help="Keep the second table here, with its timings.")
    options = parser.parse_args()
    before = machine()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        documents = [profile(folder, number, options) for number in (1, 2)]
        apart = differences(folder)
        if options.keep:
            keep(folder / "2.parquet", options.keep)
    notes = [
        f"Block latencies of the two tables differ by {100 * statistics.median(apart):.2f} % in the median, "
        f"{100 * apart[int(0.9 * len(apart))]:.2f} % at the 90th percentile, {100 * apart[-1]:.2f} % at most.",
        "Seconds are of the whole command, start of Python included; the first begins with an empty cache of exported "
        "files, the second finds them there.",
    ]
    title = f"A latency table of the device {options.device}, {options.resolution} px, {options.classes} classes"
    rows = [row(number, document) for number, document in enumerate(documents, 1)]
    report(options.name, title, rows, notes, folder=options.folder, measured_on=before)
    with replacing(options.folder / f"{options.name}.json") as path:
        content = {"machine": before, "versions": versions(), "runs": documents, "block_differences": apart}
        path.write_text(json.dumps(content, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
