r"""A supernet moved to classes that it has not seen, against one trained from fresh weights in the same time.

    OMP_NUM_THREADS=1 python -m benchmarks.transfer --data digits
    OMP_NUM_THREADS=1 python -m benchmarks.transfer --data parquet:DIR --images 1000     # CIFAR-10

A supernet is trained on the first half of the classes, then trained on for the other half with few images, as
`pnag-train --supernet` does it; beside it one with fresh weights is trained on the same images for as many steps.
Prints test accuracies of the smallest and the largest network.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch

from pnag.data.load import ImageData, TensorSplit, load_data
from pnag.space.spaces import load_space
from pnag.supernet.evaluation import evaluate
from pnag.supernet.training import SUPERNET, train_supernet
from pnag.supernet.training_config import preset
from pnag.supernet.transfer import start_from


def of_classes(data: ImageData, classes: range, images: int | None, seed: int) -> ImageData:
    """The data set with these classes only, numbered from 0, and at most so many training images."""

    def part(split: TensorSplit, most: int | None) -> TensorSplit:
        rows = torch.nonzero((split.labels >= classes.start) & (split.labels < classes.stop))[:, 0]
        if most is not None:
            rows = rows[torch.from_numpy(np.random.default_rng(seed).permutation(len(rows))[:most])]
        return replace(split, images=split.images[rows], labels=split.labels[rows] - classes.start)

    train, val, test = (cast("TensorSplit", split) for split in (data.train, data.val, data.test))
    names = data.class_names[classes.start : classes.stop]
    digest = f"{data.sha256}-{classes.start}-{classes.stop}-{images}-{seed}"
    parts = {"train": part(train, images), "val": part(val, None), "test": part(test, None)}
    return replace(data, name=f"{data.name}[{classes.start}:{classes.stop}]", class_names=names, sha256=digest, **parts)


def main() -> None:
    """Train both, and print what they reach."""
    options = parse()
    data = load_data(options.data, resolution=32, seed=options.seed)
    half = data.classes // 2
    first = of_classes(data, range(half), None, options.seed)
    second = of_classes(data, range(half, 2 * half), options.images, options.seed)
    space = load_space("ofa-mbv3-w0.25", resolution=32, classes=half)
    config = replace(preset(options.data), seed=options.seed, batch=64)
    with tempfile.TemporaryDirectory() as folder:
        train_supernet(space, first, replace(config, epochs=options.epochs), Path(folder) / "source")
        source = Path(folder) / "source" / SUPERNET
        start = start_from(source, space, second.class_names, seed=options.seed)
        sizes = f"{len(second.train)} images, {options.further_epochs:g} epochs, {len(second.test)} test images"
        print(f"{second.name}: {sizes}", flush=True)
        for name, begin in (("moved", start), ("fresh", None)):
            training = replace(config, epochs=options.further_epochs)
            net = train_supernet(space, second, training, Path(folder) / name, start=begin)
            reached = [evaluate(net, architecture, second, "test") for architecture in space.extremes()]
            print(f"{name:8} smallest {reached[0]:.2%}  largest {reached[1]:.2%}", flush=True)


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", default="digits", help="digits, cifar10:DIR or parquet:DIR")
    parser.add_argument("--images", type=int, default=200, help="training images of the classes moved to")
    parser.add_argument("--epochs", type=float, default=12, help="of the supernet that is moved")
    parser.add_argument(
        "--further-epochs", type=float, default=20, help="over the few images, of each training after it"
    )
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
