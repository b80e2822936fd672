"""Supernet training: sandwich rule with in-place distillation, on one or many devices, resumable at any step."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pnag.data.split import ImageData
from pnag.errors import DataError
from pnag.space.architecture import Architecture
from pnag.space.search_space import SearchSpace
from pnag.supernet.evaluation import EvaluationImages, calibrated_subnet, calibration_batches, evaluate
from pnag.supernet.supernet import Supernet
from pnag.supernet.training_config import Precision, TrainConfig
from pnag.supernet.training_loop import TrainingLoop
from profiler.progress import Progress, Watch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

SUPERNET = "supernet.safetensors"
TORCHRUN = "TORCHELASTIC_RUN_ID"  # set in the environment of the processes that torchrun starts

_JUDGING_IMAGES = 256


def make_fabric(precision: Precision = "auto", *, accelerator: str = "auto") -> Fabric:
    """The devices to train or evaluate on: one GPU, else the CPU; under torchrun, one for each of its processes.

    Precision `auto` is bfloat16 mixed on a GPU that has it and single elsewhere: on a CPU mixed is slower here.
    """
    from lightning_fabric import Fabric

    nodes = local = 1
    if TORCHRUN in os.environ:
        local = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // local
    if precision == "auto":
        fast = accelerator != "cpu" and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        precision = "bf16-mixed" if fast else "32-true"
    fabric = Fabric(accelerator=accelerator, devices=local, num_nodes=nodes, precision=precision)
    fabric.launch()
    return fabric


def train_supernet(
    space: SearchSpace,
    data: ImageData,
    config: TrainConfig,
    out_dir: str | Path,
    *,
    start: Supernet | None = None,
    progress: Progress | None = None,
    fabric: Fabric | None = None,
    watch: Watch | None = None,
) -> Supernet:
    """Train a supernet of `space` and write it to `out_dir/supernet.safetensors`; returns it in eval mode.

    Where the space chooses among resolutions, `data` are at the largest, and each batch has one of them at random.
    The first weights are those of `start`, fresh ones unless given. Goes on from `out_dir/checkpoint.pth` where
    one is, and returns a finished supernet at once. The curve is in `out_dir/curve.jsonl`, and `watch` is told it.
    `progress` is advanced to 100 in all. Raises `DataError` where the data do not fit the space, `CheckpointError`
    where `out_dir` holds a training with other settings or from another start.
    """
    if (data.classes, data.resolution) != (space.classes, space.resolution):
        raise DataError(
            f"data set {data.name} has {data.classes} classes at side {data.resolution}, the space {space.classes} "
            f"at {space.resolution}; load space and data with the same"
        )
    training = _SupernetTraining(
        space, data, config, Path(out_dir), fabric or make_fabric(config.precision), start=start, watch=watch
    )
    with training:
        training.run(progress)
    return training.finished()


class _SupernetTraining(TrainingLoop):
    """The training of a supernet: each step a sandwich of networks, the largest of which teaches the others."""

    def __init__(
        self,
        space: SearchSpace,
        data: ImageData,
        config: TrainConfig,
        out: Path,
        fabric: Fabric,
        *,
        start: Supernet | None,
        watch: Watch | None,
    ) -> None:
        nets = [
            Supernet(space, seed=config.seed).to(fabric.device).to(memory_format=torch.channels_last) for _ in range(2)
        ]
        if start is not None:
            for net in nets:
                net.load_state_dict(start.state_dict())
        begins = {} if start is None else {"supernet": start.sha256()}
        identity = {"space": space.to_dict(), "start": begins}
        super().__init__(
            nets, data, config, out=out, fabric=fabric, identity=identity, sides=space.resolutions, watch=watch
        )
        self.space = space
        self.supernet, self.averaged = nets
        self.judging = EvaluationImages(self.data, calibration=_JUDGING_IMAGES)

    def _networks(self) -> list[Architecture]:
        """What this step trains: the largest network first, if it is among them."""
        rng = np.random.default_rng([self.config.seed, self.step])
        others = self.space.decode(self.space.sample(self.config.random_networks, rng))
        smallest, largest = self.space.extremes()
        if self.config.alternate:
            return [*others, smallest] if self.step % 2 else [largest, *others]
        return [largest, *others, smallest]

    def _gradients(self, images: Tensor, labels: Tensor) -> list[Tensor]:
        """Those of a sandwich of networks; their losses, the largest network's first."""
        soft: Tensor | None = None
        losses: list[Tensor] = []
        for architecture in self._networks():
            with self.fabric.autocast():
                logits = self.supernet(images, architecture)
            losses.append(self._backward(logits, labels, soft))
            if architecture == self.supernet.largest:
                soft = logits.detach().float().softmax(1)
        return losses

    def _judged(self) -> tuple[dict[str, float], str]:
        low, high = (
            evaluate(self.averaged, architecture, self.data, images=self.judging)
            for architecture in self.space.extremes()
        )
        words = f"validation accuracy {100 * low:.1f} to {100 * high:.1f} %"
        return {"val_smallest": low, "val_largest": high}, words

    def finished(self) -> Supernet:
        """The averaged supernet, written once and read from then on.

        Its shared batch-norm statistics depend on the number of threads in their last digits: worked out anew, they
        would make it another supernet than the one that architectures were already evaluated on.
        """
        path = self.out / SUPERNET
        if self.fabric.is_global_zero and not path.exists():
            self.averaged.data = self.data.identity
            largest = calibrated_subnet(self.averaged, self.averaged.largest, calibration_batches(self.data))
            for shared, own in zip(self.averaged.buffers(), largest.buffers(), strict=True):
                shared.copy_(own)
            self.averaged.save(path)
        self.fabric.barrier()
        return Supernet.load(path, self.space).to(self.fabric.device)
