"""The main job from start to end on this machine: measure, train, generate, export, verify.

Run with `python -m pnag.demo [FOLDER]`. It types the project's own commands, as a user would, for images of
the size of the data it trains on: scikit-learn's digits at 32 pixels, 10 classes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pnag.errors import InfeasibleBudgetError
from profiler.console import print_text, say

_SHARES = (0.25, 0.5, 0.75)
_WIDTHS = (10, 12, 12, 8, 12, 14, 16)


def run_command(words: Sequence[str], *, again: bool = False) -> dict[str, Any]:
    """Show a command, run it, return the JSON document it prints; ends the demo if the command fails.

    With `again`, one that cannot go on with what an earlier demo left (other cores, another version) starts over.
    """
    say(f"\n$ {' '.join(words)}")
    executable = Path(sys.executable).with_name(words[0])
    done = subprocess.run([str(executable), *words[1:], "--json"], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0 and again:
        say("what an earlier demo left cannot be gone on with; starting over")
        return run_command([*words, "--fresh"])
    if done.returncode not in (0, InfeasibleBudgetError.exit_code):  # a budget that was not kept is in the answer
        sys.exit(done.returncode)
    if not done.stdout:
        sys.exit(done.returncode)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def budgets_within(cheapest_ms: float, dearest_ms: float) -> list[str]:
    """Three budgets spread over a table's range, as a user would write them."""
    return [f"{cheapest_ms + share * (dearest_ms - cheapest_ms):.3g}ms" for share in _SHARES]


def report(networks: Sequence[dict[str, Any]]) -> str:
    """A table of what was asked, predicted, measured and reached."""
    heads = ("budget", "predicted", "measured", "kept", "now", "test accuracy", "of the .tflite")
    lines = ["".join(f"{head:>{width}}  " for head, width in zip(heads, _WIDTHS, strict=True))]
    for network in networks:
        cells = (
            f"{network['budget_ms']:.3f} ms",
            f"{network['cost_ms']:.3f} ms",
            f"{network['measured_ms']:.3f} ms",
            "yes" if network["kept"] else "NO",
            f"{network['measured_now_ms']:.3f} ms",
            f"{100 * network['test_accuracy']:.2f} %",
            f"{100 * network['file_accuracy']['tflite']:.2f} %",
        )
        lines.append("".join(f"{cell:>{width}}  " for cell, width in zip(cells, _WIDTHS, strict=True)))
    return "\n".join(lines)


# How much there is to it: short of what there is, to be short.
_TABLE = "--resolution 32 --classes 10 --calibrate 24 --holdout 12 --max-minutes 2.2"
_LEARNING = "--epochs 10 --architectures 100"


def demonstrate(folder: Path, table_size: str = _TABLE, learning: str = _LEARNING) -> list[dict[str, Any]]:
    """Measure, train and generate into `folder`; what pnag-generate says of its networks.

    It can be run again in the same folder: what was interrupted goes on, a supernet that is trained stays.
    """
    table, run = folder / "cpu.parquet", folder / "run"
    run_command(f"pnag-profile --device cpu {table_size} --out {table}".split(), again=True)
    trained = run_command(f"pnag-train --lut {table} --data digits {learning} --out {run}".split(), again=True)
    budgets = budgets_within(*trained["budgets_ms"])
    exports = ["--export", str(folder / "digits.tflite"), "--export", str(folder / "digits.onnx")]
    answer = run_command(["pnag-generate", *budgets, "--from", str(run), *exports, "--verify", "cpu"])
    networks: list[dict[str, Any]] = answer["networks"]
    return networks


def main() -> None:
    """The demo in a folder, `demo` unless another is given."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo")
    started_s = time.monotonic()
    networks = demonstrate(folder)
    print_text(f"\n{report(networks)}\n")
    print_text("measured is at the table's speed, now as the machine is at the moment")
    print_text(f"files in {folder.resolve()}, {time.monotonic() - started_s:.0f} s in all")
    if over := [network for network in networks if not network["kept"]]:
        print_text(
            f"{len(over)} of {len(networks)} networks measured above their budget; pnag-lut show {folder}/cpu.parquet"
        )
        print_text("says how well this table predicts, and --confidence 0.99 leaves a wider margin")


if __name__ == "__main__":
    main()
