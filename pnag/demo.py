"""The main job from start to end on this machine: measure, train, generate, export, verify.

Run with `python -m pnag.demo [FOLDER]`. It types the project's own commands, as a user would, for scikit-learn's digits
(32 pixels, 10 classes) and a small space of its own, described in a file as a user's would be: 35 blocks.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lut.files import replacing
from pnag.errors import InfeasibleBudgetError
from profiler.console import print_text, say

DEVICE = "cpu_tflite"  # whose runtime is that of the exported files
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


# Half as wide as the program's spaces, four units, fewer choices: weights that fit a cache, files that are soon made.
SPACE = """\
name = "demo"
width = 0.5
resolution = 32
classes = 10
depths = [2, 3]
kernels = [3, 5]
expands = [3, 6]
unit_channels = [24, 40, 80, 160]
unit_strides = [2, 2, 2, 2]
unit_activations = ["relu", "relu", "hswish", "hswish"]
unit_squeeze_excite = [false, true, false, true]
"""
# How much there is to it: short of what there is, to be short.
TABLE_SIZE = "--calibrate 24 --holdout 12 --max-minutes 1.5"
_LEARNING = "--epochs 10 --architectures 100"


def demonstrate(
    folder: Path, table_size: str = TABLE_SIZE, learning: str = _LEARNING, space: str = SPACE
) -> list[dict[str, Any]]:
    """Measure, train and generate into `folder`, in a space of that TOML text; what pnag-generate says of its networks.

    It can be run again in the same folder: what was interrupted goes on, a supernet that is trained stays.
    """
    table, run, space_file = folder / f"{DEVICE}.parquet", folder / "run", folder / "space.toml"
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(space_file) as path:
        path.write_text(space, encoding="utf-8")
    measuring = f"pnag-profile --device {DEVICE} --space {space_file} {table_size} --out {table}"
    run_command(measuring.split(), again=True)
    trained = run_command(f"pnag-train --lut {table} --data digits {learning} --out {run}".split(), again=True)
    budgets = budgets_within(*trained["budgets_ms"])
    export = ["--export", str(folder / "digits.tflite")]
    answer = run_command(["pnag-generate", *budgets, "--from", str(run), *export, "--verify", DEVICE])
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
        print_text(f"{len(over)} of {len(networks)} networks measured above their budget")
        print_text(f"pnag-lut show {folder}/{DEVICE}.parquet says how well this table predicts;")
        print_text("--confidence 0.99 leaves a wider margin")


if __name__ == "__main__":
    main()
