"""Images a second that a supernet's training takes in, beside a plain step: `python -m benchmarks.supernet_step`.

Ours is `train_supernet` as it is: the largest and the smallest network and two random ones a step, the largest
teaching the others. The plain step is written here as once-for-all's paper describes its own: four random
networks, taught by a fixed largest network that runs beside them; float32, torch's usual memory layout and
settings. Both train four networks a step, on the same images with the same augmentation.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor

from benchmarks.report import RESULTS, report
from pnag.data.load import ImageData
from pnag.data.sources import assemble
from pnag.data.split import Batch
from pnag.space.search_space import SearchSpace
from pnag.space.spaces import load_space
from pnag.supernet.supernet import Supernet
from pnag.supernet.training import make_fabric, train_supernet
from pnag.supernet.training_config import TrainConfig, preset

NETWORKS = 4
GOAL = 1.5
_IMAGES = 1024
_WARM_UP_STEPS = 3


@dataclass(frozen=True)
class Throughput:
    """Images a second of both steps, each image seen by four networks."""

    batch: int
    resolution: int
    ours: float
    plain: float

    @property
    def ratio(self) -> float:
        """How many times as many images ours takes in."""
        return self.ours / self.plain

    def row(self) -> dict[str, Any]:
        """A line of a report."""
        return {
            "images": f"{self.resolution} x {self.resolution}, {self.batch} a step",
            "plain step (images/s)": self.plain,
            "ours (images/s)": self.ours,
            "ratio": self.ratio,
            "goal": f">= {GOAL:g}",
            "met": self.ratio >= GOAL,
        }


class _TimeIsUp(Exception):  # noqa: N818
    """Enough steps were timed."""


class _Timer:
    """Counts steps for so many seconds, after a few that do not count; waits for the card at both ends.

    `most_s` is how long all of it may take, from the first step's end; then it is given up.
    """

    def __init__(self, device: torch.device, seconds: float, most_s: float) -> None:
        self._device, self._seconds, self._most_s = device, seconds, most_s
        self._begun_s = math.inf
        self._steps = 0
        self._started_s = math.inf
        self.step_s = math.nan

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        """A step is done. Raises `_TimeIsUp` when it is the last, `TimeoutError` if none could be timed."""
        self._steps += 1
        self._begun_s = min(self._begun_s, time.perf_counter())
        if self._steps == _WARM_UP_STEPS:
            self._wait()
            self._started_s = time.perf_counter()
        elif self._steps > _WARM_UP_STEPS and time.perf_counter() - self._started_s >= self._seconds:
            self._wait()
            self.step_s = (time.perf_counter() - self._started_s) / (self._steps - _WARM_UP_STEPS)
            raise _TimeIsUp
        elif time.perf_counter() - self._begun_s > self._most_s:
            raise TimeoutError(f"{self._steps} steps took more than {self._most_s:.0f} s")

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def noise_images(space: SearchSpace, n: int = _IMAGES) -> ImageData:
    """Random images: what is in them does not change the speed."""
    rng = np.random.default_rng(0)
    side = space.resolution

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        pixels = rng.integers(0, 256, (count, 3, side, side), dtype=np.uint8)
        return pixels, (np.arange(count) % space.classes).astype(np.int64)

    names = tuple(str(number) for number in range(space.classes))
    return assemble("noise", side, names, [part(n), part(space.classes), part(space.classes)])


def compare(
    space: SearchSpace,
    data: ImageData,
    config: TrainConfig,
    fabric: Fabric,
    seconds: float,
    *,
    most_s: float = math.inf,
) -> Throughput:
    """Time both steps for so many seconds each. Raises `TimeoutError` where one of them is not done in `most_s`."""
    config = replace(
        config, epochs=1e6, random_networks=NETWORKS - 2, alternate=False, judged=1, checkpoint_every_s=math.inf
    )

    def timer() -> _Timer:
        return _Timer(fabric.device, seconds, most_s)

    plain_s = _timed(timer(), lambda timer: _train_plainly(space, data, config, fabric, timer))
    ours_s = _timed(timer(), lambda timer: _train_as_ours(space, data, config, fabric, timer))
    return Throughput(config.batch, space.resolution, config.batch / ours_s, config.batch / plain_s)


def _timed(timer: _Timer, train: Callable[[_Timer], None]) -> float:
    try:
        train(timer)
    except _TimeIsUp:
        return timer.step_s
    raise AssertionError("a training of a million epochs came to its end")


def _train_as_ours(space: SearchSpace, data: ImageData, config: TrainConfig, fabric: Fabric, timer: _Timer) -> None:
    with tempfile.TemporaryDirectory() as folder:
        train_supernet(space, data, config, folder, progress=timer, fabric=fabric)


def _train_plainly(space: SearchSpace, data: ImageData, config: TrainConfig, fabric: Fabric, timer: _Timer) -> None:
    device = fabric.device
    net = Supernet(space, seed=0).to(device)
    teacher = net.subnet(net.largest).to(device)
    optimizer = torch.optim.SGD(net.parameters(), lr=config.learning_rate, momentum=0.9, nesterov=True)
    batches = data.to(device).train.stream(config.batch, seed=0, start=0, augmentation=config.augmentation)
    rng = np.random.default_rng(0)
    net.train()
    for images, labels in batches:
        plain_step(net, teacher, optimizer, (images.contiguous(), labels), rng)
        timer.advance()


def plain_step(
    net: Supernet,
    teacher: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    rng: np.random.Generator,
) -> list[Tensor]:
    """One step of the optimiser over four random networks, each taught by teacher and labels; their losses."""
    images, labels = batch
    with torch.no_grad():
        soft = teacher(images).softmax(1)
    optimizer.zero_grad()
    losses = []
    for architecture in net.space.decode(net.space.sample(NETWORKS, rng)):
        logits = net(images, architecture)
        loss = F.cross_entropy(logits, soft) + F.cross_entropy(logits, labels)
        loss.backward()
        losses.append(loss.detach())
    optimizer.step()
    return losses


def main() -> None:
    """Measure, and write `results/supernet_step.md`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--space", default="ofa-mbv3-w1.2")
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=20.0, help="for each of the two")
    parser.add_argument("--name", default="supernet_step")
    parser.add_argument("--folder", type=Path, default=RESULTS)
    options = parser.parse_args()
    space = load_space(options.space, resolution=options.resolution)
    fabric = make_fabric()
    config = replace(preset("imagefolder"), batch=options.batch)
    found = compare(space, noise_images(space, max(_IMAGES, options.batch)), config, fabric, options.seconds)
    device = torch.cuda.get_device_name(fabric.device) if fabric.device.type == "cuda" else "the CPU"
    notes = [(__doc__ or "").partition("\n\n")[2].strip(), f"On {device}, {fabric.world_size} process(es)."]
    report(options.name, "A supernet's training step", [found.row()], notes, folder=options.folder)


if __name__ == "__main__":
    main()
