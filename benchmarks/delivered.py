"""Are delivered files within their budgets? The loop closed over many budgets, and stated confidences against met ones.

    python -m benchmarks.delivered RUN DEVICE [--budgets 40] [--networks 200]

RUN is a finished run of a table of DEVICE, on a quiet machine. First networks for `--budgets` budgets over the whole
range are exported in the format of the table's runtime and measured, each up to three times answered; then networks
for `--networks` budgets are measured once at each of the confidences 0.8, 0.9 and 0.95, a third of them each. A budget
counts as kept at the table's speed. Takes some 20 minutes for 40 and 200 networks at 224 pixels. What is measured joins
a copy of the run, so that the run stays as it was.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.generate_cpu import run_command, spread_budgets
from benchmarks.report import report
from lut.table import LatencyTable
from pnag.runs.run import TABLE
from profiler.verification.as_profiled import suffix_of

CONFIDENCES = (0.8, 0.9, 0.95)
MEAN_GOAL, WORST_GOAL = 0.97, 0.94
_SAMPLING_ERRORS = 2.0


def closed_loop(run: Path, device: str, n: int, folder: Path) -> list[dict[str, Any]]:
    """Deliver and measure networks for `n` budgets, the loop closed; one row of figures."""
    suffix = suffix_of(LatencyTable.load(run / TABLE).metadata) or ".onnx"
    where = ["--export", str(folder / f"net{suffix}"), "--test-images", "0", "--verify", device]
    networks = run_command("pnag.cli_generate", [*spread_budgets(run, n, 0.95), "--from", str(run), *where])["networks"]
    used = [row["measured_ms"] / row["budget_ms"] for row in networks]
    kept = sum(bool(row["kept"]) for row in networks)
    return [
        {
            "what": f"{n} budgets, loop closed, {suffix}",
            "kept": f"{kept} of {n}",
            "of the budget used, mean": f"{100 * statistics.mean(used):.1f} %",
            "worst": f"{100 * min(used):.1f} %",
            "files measured themselves": sum(row["measured_file"] is not None for row in networks),
            "attempts, mean": f"{statistics.mean(row['attempts'] for row in networks):.2f}",
            "goal": "met" if kept == n and statistics.mean(used) >= MEAN_GOAL and min(used) >= WORST_GOAL else "missed",
        }
    ]


def stated_confidence(run: Path, device: str, n: int) -> list[dict[str, Any]]:
    """Measure networks that were answered at each confidence, once; a row for each."""
    rows = []
    for confidence in CONFIDENCES:
        words = [*spread_budgets(run, n, confidence), "--from", str(run), "--confidence", str(confidence)]
        found = run_command("pnag.cli_generate", [*words, "--verify", device, "--attempts", "1"])["networks"]
        kept = sum(bool(row["kept"]) for row in found)
        error = (confidence * (1 - confidence) / n) ** 0.5
        rows.append(
            {
                "what": f"confidence {confidence:g}, {n} networks",
                "kept": f"{kept} of {n} ({100 * kept / n:.1f} %)",
                "sampling error": f"{100 * error:.1f} points",
                "goal": "met" if kept / n >= confidence - _SAMPLING_ERRORS * error else "missed",
            }
        )
    return rows


def main(words: Sequence[str] | None = None) -> int:
    """Measure and write the result; 0 if all goals are met."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("device")
    parser.add_argument("--budgets", type=int, default=40)
    parser.add_argument("--networks", type=int, default=200)
    given = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="pnag-delivered-") as folder:
        run = Path(folder) / "run"
        shutil.copytree(given.run, run)
        rows = stated_confidence(run, given.device, max(1, given.networks // len(CONFIDENCES)))
        (run / "measured.jsonl").unlink(missing_ok=True)
        rows = [*closed_loop(run, given.device, given.budgets, Path(folder)), *rows]
    about = LatencyTable.load(given.run / TABLE).metadata
    notes = [f"Device {about.device.get('model')}, runtime {about.runtime.get('name')}, table of {about.created}."]
    report(f"delivered_{given.device}", "Delivered files against their budgets", rows, notes)
    return 0 if all(row["goal"] == "met" for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
