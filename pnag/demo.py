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

from profiler.console import print_text, say

_SHARES = (0.25, 0.5, 0.75)
_WIDTHS = (10, 12, 12, 8, 14, 16)


def run_command(words: Sequence[str]) -> dict[str, Any]:
    """Show a command, run it, return the JSON document it prints; ends the demo if the command fails."""
    say(f"\n$ {' '.join(words)}")
    executable = Path(sys.executable).with_name(words[0])
    done = subprocess.run([str(executable), *words[1:], "--json"], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.returncode)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def budgets_within(cheapest_ms: float, dearest_ms: float) -> list[str]:
    """Three budgets spread over a table's range, as a user would write them."""
    return [f"{cheapest_ms + share * (dearest_ms - cheapest_ms):.3g}ms" for share in _SHARES]


def report(networks: Sequence[dict[str, Any]]) -> str:
    """A table of what was asked, predicted, measured and reached."""
    heads = ("budget", "predicted", "measured", "kept", "test accuracy", "of the .tflite")
    lines = ["".join(f"{head:>{width}}  " for head, width in zip(heads, _WIDTHS, strict=True))]
    for network in networks:
        cells = (
            f"{network['budget_ms']:.3f} ms",
            f"{network['cost_ms']:.3f} ms",
            f"{network['measured_ms']:.3f} ms",
            "yes" if network["kept"] else "NO",
            f"{100 * network['test_accuracy']:.2f} %",
            f"{100 * network['file_accuracy']['tflite']:.2f} %",
        )
        lines.append("".join(f"{cell:>{width}}  " for cell, width in zip(cells, _WIDTHS, strict=True)))
    return "\n".join(lines)


def main() -> None:
    """Profile, train and generate into a folder, `demo` unless another is given."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo")
    started_s = time.monotonic()
    table, run = folder / "cpu.parquet", folder / "run"
    size = "--resolution 32 --classes 10 --calibrate 30 --holdout 15 --max-minutes 2.2"
    run_command(f"pnag-profile --device cpu {size} --out {table}".split())
    learn = "--data digits --epochs 10 --architectures 100"  # short of what there is, to be short
    trained = run_command(f"pnag-train --lut {table} {learn} --out {run}".split())
    budgets = budgets_within(*trained["range_ms"])
    exports = ["--export", str(folder / "digits.tflite"), "--export", str(folder / "digits.onnx")]
    answer = run_command(["pnag-generate", *budgets, "--from", str(run), *exports, "--verify", "cpu"])
    print_text(f"\n{report(answer['networks'])}\n")
    print_text(f"files in {folder.resolve()}, {time.monotonic() - started_s:.0f} s in all")
    if not all(network["kept"] for network in answer["networks"]):
        sys.exit("a network measured above its budget: was the machine busy? run it again when it is quiet")


if __name__ == "__main__":
    main()
