r"""Generated networks trained by themselves, against the same networks with the supernet's weights.

    OMP_NUM_THREADS=1 python -m benchmarks.finetune --networks 12

A supernet is trained on scikit-learn's digits at 32 pixels as `pnag-train --data digits` does it. Then networks spread
over the space, the smallest and the largest among them, are fine-tuned for some epochs as `pnag-generate --finetune`
does it. Writes what they reach on the test images, before and after, to `results/finetune.md`. The share of the
learning rate and of the soft labels are first guesses; others are to be compared on validation images only.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import RESULTS, machine, report
from pnag.data.load import load_data
from pnag.delivery.finetuning import DISTILL, RATE_SHARE, fine_tune, settings
from pnag.space.sampling import sample_spread
from pnag.space.spaces import load_space
from pnag.supernet.evaluation import accuracy
from pnag.supernet.training import train_supernet
from pnag.supernet.training_config import preset
from profiler.console import Progress


def main() -> None:
    """Train, fine-tune, write the table."""
    options = parse()
    before, rows = machine(), []
    for seed in range(options.seeds):
        rows.append(row_of(seed, options))
    notes = [
        "Means over the networks of each supernet, and of the difference with its standard error over networks. Worse: "
        "networks with fewer right after than before.",
        f"{options.epochs:g} epochs at {RATE_SHARE:g} of the supernet's learning rate, {DISTILL:g} of the "
        f"loss from the largest network's soft labels. Supernets of {options.space} at 32 pixels, "
        f"{options.supernet_epochs:g} epochs; 360 test images (one of them is 0.28 points), 300 for validation.",
    ]
    title = f"Fine-tuning {options.networks} networks on digits at 32 pixels"
    report("finetune", title, rows, notes, folder=options.folder, measured_on=before)


def row_of(seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """A supernet of that seed, and what fine-tuning does to networks of it."""
    data = load_data("digits", resolution=32, seed=seed)
    space, out = load_space(options.space, resolution=32, classes=data.classes), options.out / f"seed{seed}"
    config = replace(preset("digits"), seed=seed)
    with Progress(f"training supernet {seed}", 100) as progress:
        supernet = train_supernet(
            space, data, replace(config, epochs=options.supernet_epochs), out / "supernet", progress=progress
        )
    tokens = sample_spread(space, options.networks, space.macs_model(), np.random.default_rng(seed))
    test, val, seconds = [], [], []
    with Progress("fine-tuning", options.networks) as progress:
        for architecture in space.decode(tokens):
            started_s = time.perf_counter()
            tuned = fine_tune(supernet, architecture, data, settings(config, options.epochs, seed), out / "finetuned")
            seconds.append(time.perf_counter() - started_s)
            test.append([accuracy(network, data.test) for network in (tuned.begin, tuned.trained)])
            val.append([tuned.val_begin, tuned.val_trained])
            progress.advance(1, f"test accuracy {test[-1][0]:.2%} before, {test[-1][1]:.2%} after")
    on_test, on_val = 100 * np.array(test), 100 * np.array(val)
    gain = on_test[:, 1] - on_test[:, 0]
    return {
        "seed": seed,
        "networks": len(gain),
        "test before (%)": f"{on_test[:, 0].mean():.2f}",
        "test after (%)": f"{on_test[:, 1].mean():.2f}",
        "gain (points)": f"{gain.mean():+.2f} ± {gain.std(ddof=1) / np.sqrt(len(gain)):.2f}",
        "worse": int((gain < 0).sum()),
        "validation before (%)": f"{on_val[:, 0].mean():.2f}",
        "validation after (%)": f"{on_val[:, 1].mean():.2f}",
        "a network (s)": float(np.median(seconds)),
    }


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="ofa-mbv3-w1.2")
    parser.add_argument("--networks", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--supernet-epochs", type=float, default=10, help="the demo's")
    parser.add_argument("--out", type=Path, default=Path("runs/finetune-benchmark"))
    parser.add_argument("--folder", type=Path, default=RESULTS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
