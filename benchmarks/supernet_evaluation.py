"""How long sub-networks of a supernet take to evaluate: `python -m benchmarks.supernet_evaluation`.

Random architectures of fresh weights on random images; what is in either does not change the speed. Each network's
batch-norm is re-estimated and the validation images are classified, as `pnag-train --supernet` does it. The report
has the seconds of a network, and what 500 of them would take.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.report import RESULTS, report
from benchmarks.supernet_step import noise_images
from pnag.data.load import ImageData
from pnag.space.spaces import load_space
from pnag.supernet.collect import CALIBRATION, collect_archive
from pnag.supernet.evaluation import EvaluationImages
from pnag.supernet.supernet import Supernet
from pnag.supernet.training import make_fabric

OF_A_USER = 500
GOAL_MIN = 5.0
_WARM_UP = 2


def validated_on(data: ImageData, n: int) -> ImageData:
    """The same images with `n` of those for training as the validation split."""
    return replace(data, val=data.train.few(n))


def main() -> None:
    """Measure, and write `results/supernet_evaluation.md`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--space", default="ofa-mbv3-w1.2")
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--networks", type=int, default=24)
    parser.add_argument("--name", default="supernet_evaluation")
    parser.add_argument("--folder", type=Path, default=RESULTS)
    options = parser.parse_args()
    space = load_space(options.space, resolution=options.resolution)
    fabric = make_fabric()
    supernet = Supernet(space, seed=0)
    data = validated_on(noise_images(space, options.images), options.images).to(fabric.device)
    images = EvaluationImages(data, calibration=CALIBRATION)
    tokens = space.sample(_WARM_UP + options.networks, np.random.default_rng(0))
    with tempfile.TemporaryDirectory() as folder:
        collect_archive(supernet, data, tokens[:_WARM_UP], Path(folder) / "first.parquet", images=images, fabric=fabric)
        started_s = time.perf_counter()
        collect_archive(supernet, data, tokens[_WARM_UP:], Path(folder) / "then.parquet", images=images, fabric=fabric)
        each_s = (time.perf_counter() - started_s) / options.networks
    minutes = each_s * OF_A_USER / 60
    side = options.resolution
    row = {
        "images": f"{options.images:,} of {side} x {side}",
        "networks": options.networks,
        "seconds each": each_s,
        f"minutes for {OF_A_USER}": minutes,
        "goal": f"<= {GOAL_MIN:g} on one GPU",
        "met": minutes <= GOAL_MIN if fabric.device.type == "cuda" else "",
    }
    device = torch.cuda.get_device_name(fabric.device) if fabric.device.type == "cuda" else "the CPU"
    notes = [(__doc__ or "").partition("\n\n")[2].strip(), f"On {device}, one process."]
    report(options.name, "Evaluating a supernet's sub-networks", [row], notes, folder=options.folder)


if __name__ == "__main__":
    main()
