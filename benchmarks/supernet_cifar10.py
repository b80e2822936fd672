r"""A real accuracy archive: trains a supernet on small images, evaluates architectures over the whole cost range, and
in rounds those that a generator answers near the frontier.

    OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1 nice -n 19 torchrun --nproc-per-node 2 -m benchmarks.supernet_cifar10 \
        --data parquet:DIR --minutes 60 --threads 1

Under torchrun several processes share the work, and it goes fastest with one for each core: two took half of the time
of two threads in one. May be stopped, killed and started again at any time: it goes on where it was. `--minutes` are
minutes of all `--threads` cores of a process, in CPU time, so that waiting and being stopped do not count. Leaves
under `--out`:

    curve.jsonl, supernet.safetensors     the training
    archive.parquet                       architecture, accuracy (held-out validation images), test_accuracy
    supernet.png, recipe.json             curves and the archive as a picture; settings, machine, versions
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.report import machine, versions
from lut.files import replacing
from lut.journal import read_lines
from lut.table import LatencyTable
from pnag.accuracy.archive import AccuracyArchive
from pnag.accuracy.predictor_fit import fit_posterior
from pnag.data.load import ImageData, TensorSplit, load_data
from pnag.generator.proposals import rival_answers, spread_budgets, unknown
from pnag.space.cost import CostModel
from pnag.space.sampling import sample_archive
from pnag.space.search_space import SearchSpace
from pnag.space.spaces import load_space
from pnag.space.tokens import Tokens
from pnag.supernet.collect import collect_archive
from pnag.supernet.evaluation import EvaluationImages
from pnag.supernet.supernet import Supernet
from pnag.supernet.training import make_fabric, train_supernet
from pnag.supernet.training_config import TrainConfig, preset
from pnag.supernet.training_loop import CURVE
from profiler.console import Progress, say

ARCHIVE = "archive.parquet"
CALIBRATION_IMAGES = 512


def main() -> None:
    """Train, evaluate, write."""
    options = parse()
    torch.set_num_threads(options.threads)
    fabric = make_fabric()
    data = load_data(options.data, resolution=options.resolution, seed=options.seed)
    space = load_space(options.space, resolution=options.resolution, classes=data.classes)
    config = replace(preset(options.data), core_minutes=options.minutes * options.threads, seed=options.seed)
    start = Supernet.load(options.begin_with, space) if options.begin_with else None
    with Progress("training the supernet", 100) as progress:
        supernet = train_supernet(space, data, config, options.out, start=start, progress=progress, fabric=fabric)
    recipe = describe(options, config, start)
    with replacing(options.out / "recipe.json") as temporary:
        temporary.write_text(json.dumps(recipe, indent=2) + "\n", encoding="utf-8")
    judged, out = shortened(data, options.val_images, options.test_images), options.out / ARCHIVE
    images = EvaluationImages(judged.to(fabric.device), calibration=CALIBRATION_IMAGES)
    cost = costs_of(LatencyTable.load(options.lut)) if options.lut else space.macs_model()

    def evaluate(tokens: Tokens) -> AccuracyArchive:
        with Progress("evaluating architectures", len(tokens)) as progress:
            return collect_archive(
                supernet, judged, tokens, out, test=True, images=images, recipe=recipe,
                progress=progress, fabric=fabric,
            )  # fmt: skip

    tokens = AccuracyArchive.load(out, space).tokens if out.exists() else ()
    if len(tokens) < options.architectures:
        tokens = sample_archive(space, options.architectures, cost, np.random.default_rng(options.seed))
    archive = evaluate(tokens)  # of a finished archive none, but it must be of this supernet and data
    while (missing := options.architectures + options.near - len(archive)) > 0:
        n = min(missing, math.ceil(options.near / options.rounds))
        proposed = fabric.broadcast(near_frontier(archive, cost, n) if fabric.global_rank == 0 else None)
        if not len(proposed):
            break  # all networks near the frontier are known
        archive = evaluate(proposed)
    if fabric.global_rank:
        return
    plot(options.out, archive, space)
    say(f"{len(archive)} architectures, accuracy {archive.accuracy.min():.3f} to {archive.accuracy.max():.3f}")


def parse() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cifar10", help="cifar10:DIR or parquet:DIR")
    parser.add_argument("--minutes", type=float, default=60.0, help="length of the training")
    parser.add_argument("--begin-with", type=Path, help="supernet to train on from, else fresh weights")
    parser.add_argument("--architectures", type=int, default=2000)
    parser.add_argument("--near", type=int, default=300, help="further architectures, near the frontier of --lut")
    parser.add_argument("--rounds", type=int, default=2, help="in which they are proposed")
    parser.add_argument("--val-images", type=int, default=5000, help="validation images used at most")
    parser.add_argument("--test-images", type=int, default=2500, help="test images used at most")
    parser.add_argument("--space", default="ofa-mbv3-w1.2")
    parser.add_argument("--resolution", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lut", type=Path, help="table whose costs the architectures are spread over, else MACs")
    parser.add_argument("--out", type=Path, default=Path("runs/supernet-cifar10"))
    return parser.parse_args()


def near_frontier(archive: AccuracyArchive, cost: CostModel, n: int) -> Tokens:
    """At most `n` new architectures that may be the best under some budget, by all that the archive says."""
    space, seed = archive.space, len(archive)
    rng = np.random.default_rng([seed, 7])
    posterior = fit_posterior(space, archive.tokens, archive.accuracy, seed=seed)
    budgets = spread_budgets(cost, (archive.tokens, archive.accuracy), n, rng)
    rivals = rival_answers(cost, posterior, archive.tokens, budgets, rng)
    return unknown(np.unique(rivals, axis=0), archive.tokens)


def costs_of(table: LatencyTable) -> CostModel:
    """c(a) of the table at its own resolution: architectures mean the same there."""
    return SearchSpace.from_dict(table.metadata.space).cost_model(table)


def shortened(data: ImageData, val_images: int, test_images: int) -> ImageData:
    """The data with the first images only of the splits that architectures are judged on."""

    def first(split: object, n: int) -> TensorSplit:
        if not isinstance(split, TensorSplit):
            raise SystemExit("this benchmark takes data sets that are held in memory: cifar10:DIR or parquet:DIR")
        return replace(split, images=split.images[:n], labels=split.labels[:n])

    return replace(data, val=first(data.val, val_images), test=first(data.test, test_images))


def describe(options: argparse.Namespace, config: TrainConfig, start: Supernet | None) -> dict[str, object]:
    """How the archive was made, for its metadata."""
    return {
        "minutes": options.minutes,
        "threads": options.threads,
        "config": config.to_dict(),
        "start": start.sha256() if start else None,
        "architectures": {"over the range": options.architectures, "near the frontier": options.near},
        "val_images": options.val_images,
        "test_images": options.test_images,
        "machine": machine(),
        "versions": versions(("torch", "torchvision", "numpy")),
    }


def plot(out: Path, archive: AccuracyArchive, space: SearchSpace) -> None:
    """The training's curve beside accuracy over multiply-accumulates."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    rows = [row for row in read_lines(out / CURVE) if "val_largest" in row]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for name in ("largest", "smallest"):
        left.plot([row["epoch"] for row in rows], [100 * row[f"val_{name}"] for row in rows], label=f"{name} network")
    left.set(xlabel="epoch", ylabel="validation accuracy (%)", title="Training")
    left.legend()
    macs = space.macs_model()(archive.tokens) / 1e6
    right.scatter(macs, 100 * archive.accuracy, s=5, label="validation")
    if archive.test_accuracy is not None:
        right.scatter(macs, 100 * archive.test_accuracy, s=5, alpha=0.4, label="test")
    right.set(xlabel="multiply-accumulates (M)", ylabel="accuracy (%)", title=f"{len(archive)} architectures")
    right.legend()
    with replacing(out / "supernet.png") as temporary:
        figure.savefig(temporary, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
