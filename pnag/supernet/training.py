"""Supernet training: sandwich rule with in-place distillation, on one or many devices, resumable at any step.

All that is random in a step follows from the seed and the step's number, so a training that was killed goes
on from its last checkpoint exactly as it would have gone.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pnag.data.split import ImageData, Shard
from pnag.errors import DataError
from pnag.space.architecture import Architecture
from pnag.space.search_space import SearchSpace
from pnag.supernet.evaluation import calibrated_subnet, calibration_batches, evaluate
from pnag.supernet.supernet import Supernet
from pnag.supernet.training_config import Precision, TrainConfig
from pnag.supernet.training_files import CheckpointFile, Curve
from profiler.progress import Progress

if TYPE_CHECKING:
    from lightning.fabric import Fabric

SUPERNET = "supernet.safetensors"
CHECKPOINT = "checkpoint.pth"
CURVE = "curve.jsonl"
TORCHRUN = "TORCHELASTIC_RUN_ID"  # set in the environment of the processes that torchrun starts

_JUDGING_IMAGES = 256


def make_fabric(precision: Precision = "auto", *, accelerator: str = "auto") -> Fabric:
    """The devices to train or evaluate on: one GPU, else the CPU; under torchrun, one for each of its processes.

    Precision `auto` is bfloat16 mixed on a GPU that has it and single elsewhere: on a CPU mixed is slower here.
    """
    from lightning.fabric import Fabric

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
) -> Supernet:
    """Train a supernet of `space` and write it to `out_dir/supernet.safetensors`; returns it in eval mode.

    The first weights are those of `start`, fresh ones unless given. Goes on from `out_dir/checkpoint.pth` where
    one is, and returns a finished supernet at once. The curve is in `out_dir/curve.jsonl`. `progress` is advanced
    to 100 in all. Raises `DataError` where the data do not fit the space, `CheckpointError` where `out_dir` holds a
    training with other settings or from another start.
    """
    if (data.classes, data.resolution) != (space.classes, space.resolution):
        raise DataError(
            f"data set {data.name} has {data.classes} classes at side {data.resolution}, the space {space.classes} "
            f"at {space.resolution}; load space and data with the same"
        )
    training = _Training(space, data, config, Path(out_dir), fabric or make_fabric(config.precision), start=start)
    with training:
        training.run(progress)
    return training.finished()


class _Training:
    """The state of one training: weights, their average, optimiser and how far it is."""

    def __init__(
        self,
        space: SearchSpace,
        data: ImageData,
        config: TrainConfig,
        out: Path,
        fabric: Fabric,
        *,
        start: Supernet | None,
    ) -> None:
        self.config, self.fabric, self.out = config, fabric, out
        self.shard: Shard = (fabric.global_rank, fabric.world_size)
        self.data = data.to(fabric.device)
        self.space = space
        self.net, self.average = (
            Supernet(space, seed=config.seed).to(fabric.device).to(memory_format=torch.channels_last) for _ in range(2)
        )
        if start is not None:
            for net in (self.net, self.average):
                net.load_state_dict(start.state_dict())
        self.optimizer = _optimizer(self.net, config)
        self._step_optimizer: Any = fabric.setup_optimizers(self.optimizer)
        self.judging = calibration_batches(self.data, _JUDGING_IMAGES)
        self.step, self.core_s = 0, 0.0
        self.total_steps = max(1, round(config.epochs * data.train.steps_per_epoch(config.batch)))
        identity = {"space": space.to_dict(), "data": data.identity, "config": config.to_dict()}
        identity["start"] = {} if start is None else {"supernet": start.sha256()}
        self.file = CheckpointFile(out / CHECKPOINT, json.loads(json.dumps(identity)))
        self.curve = Curve(out / CURVE)

    def __enter__(self) -> Self:
        state = self.file.read()
        if state is not None:
            self.net.load_state_dict(state["net"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.core_s = state["step"], state["core_s"]
        if self.fabric.is_global_zero:
            self.curve.open(self.step)
        return self

    def __exit__(self, *_: object) -> None:
        self.curve.close()

    # -- the loop ---------------------------------------------------------------------------------------------

    @property
    def done(self) -> float:
        """How far the training is, 0 … 1, the same on all devices."""
        if self.config.core_minutes is None:
            return self.step / self.total_steps
        share = self.core_s / (60 * self.config.core_minutes)
        return float(self.fabric.broadcast(share)) if self.shard[1] > 1 else share

    def run(self, progress: Progress | None) -> None:
        """Train to the end."""
        config = self.config
        batches = self.data.train.stream(
            config.batch, seed=config.seed, start=self.step, augmentation=config.augmentation, shard=self.shard
        )
        started_core_s, saved_s = time.process_time() - self.core_s, time.monotonic()
        done = self.done
        if progress is not None and done:
            progress.advance(100 * min(1.0, done))
        while done < 1:
            images, labels = next(batches)
            losses = self._train_step(images, labels, done)
            self.step += 1
            self.core_s = time.process_time() - started_core_s
            before, done = done, min(1.0, self.done)
            note = ""
            if int(done * config.judged) > int(before * config.judged) or self.step % 50 == 0 or done >= 1:
                note = self._record(done, losses, judge=int(done * config.judged) > int(before * config.judged))
            if time.monotonic() - saved_s >= config.checkpoint_every_s or done >= 1:
                self._save()
                saved_s = time.monotonic()
            if progress is not None:
                progress.advance(100 * (done - before), note)

    def _networks(self) -> list[Architecture]:
        """What this step trains: the largest network first, if it is among them."""
        rng = np.random.default_rng([self.config.seed, self.step])
        others = self.space.decode(self.space.sample(self.config.random_networks, rng))
        smallest, largest = self.space.extremes()
        if self.config.alternate:
            return [*others, smallest] if self.step % 2 else [largest, *others]
        return [largest, *others, smallest]

    def _train_step(self, images: Tensor, labels: Tensor, done: float) -> list[Tensor]:
        """One optimiser step over a sandwich of networks; their losses, the largest network's first."""
        config, fabric = self.config, self.fabric
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * _schedule(done, config.warm_up)
        self.net.train()
        self.optimizer.zero_grad(set_to_none=True)
        soft: Tensor | None = None
        losses: list[Tensor] = []
        for architecture in self._networks():
            with fabric.autocast():
                logits = self.net(images, architecture)
                loss = self._loss(logits.float(), labels, soft)
            fabric.backward(loss)
            losses.append(loss.detach())
            if architecture == self.net.largest:
                soft = logits.detach().float().softmax(1)
        self._average_gradients()
        fabric.clip_gradients(self.net, self._step_optimizer, max_norm=config.clip_norm, error_if_nonfinite=False)
        self._step_optimizer.step()
        self._update_average()
        return losses

    def _loss(self, logits: Tensor, labels: Tensor, soft: Tensor | None) -> Tensor:
        config = self.config
        if soft is None or config.distill == 0:
            return F.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
        taught = F.cross_entropy(logits, soft)
        if config.distill == 1:
            return taught
        return config.distill * taught + (1 - config.distill) * F.cross_entropy(logits, labels)

    def _average_gradients(self) -> None:
        """One all-reduce for the gradients of all networks of the step."""
        if self.shard[1] == 1:
            return
        gradients = [p.grad for p in self.net.parameters() if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients])
        summed = self.fabric.all_reduce(flat, reduce_op="mean")
        assert isinstance(summed, Tensor)
        for gradient, part in zip(gradients, torch.split(summed, [g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    @torch.no_grad()
    def _update_average(self) -> None:
        """Exponential moving average of the weights, faster while the training is young."""
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        average, now = ([p.data for p in net.parameters()] for net in (self.average, self.net))
        torch._foreach_lerp_(average, now, 1 - decay)

    # -- what is written --------------------------------------------------------------------------------------

    def _record(self, done: float, losses: Sequence[Tensor], *, judge: bool) -> str:
        row: dict[str, Any] = {
            "step": self.step,
            "epoch": round(self.step / self.data.train.steps_per_epoch(self.config.batch), 3),
            "done": round(done, 5),
            "core_s": round(self.core_s, 1),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "losses": [round(float(loss), 4) for loss in losses],
        }
        note = f"loss {row['losses'][0]:.3f}"
        if judge:
            for name, architecture in zip(("smallest", "largest"), self.space.extremes(), strict=True):
                row[f"val_{name}"] = round(evaluate(self.average, architecture, self.data, batches=self.judging), 4)
            note += f", validation accuracy {100 * row['val_smallest']:.1f} to {100 * row['val_largest']:.1f} %"
        if self.fabric.is_global_zero:
            self.curve.write(row)
        return note

    def _save(self) -> None:
        """Write the checkpoint, in one process: no other waits for it, since each would come here at another step."""
        if not self.fabric.is_global_zero:
            return
        state = {
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "core_s": self.core_s,
        }
        self.file.write(state)

    def finished(self) -> Supernet:
        """The averaged supernet, written once and read from then on.

        Its shared batch-norm statistics depend on the number of threads in their last digits: worked out anew, they
        would make it another supernet than the one that architectures were already evaluated on.
        """
        path = self.out / SUPERNET
        if self.fabric.is_global_zero and not path.exists():
            self.average.data = self.data.identity
            largest = calibrated_subnet(self.average, self.average.largest, calibration_batches(self.data))
            for shared, own in zip(self.average.buffers(), largest.buffers(), strict=True):
                shared.copy_(own)
            self.average.save(path)
        self.fabric.barrier()
        return Supernet.load(path, self.space).to(self.fabric.device)


def _schedule(done: float, warm_up: float) -> float:
    """Share of the learning rate: a linear rise, then half a cosine."""
    if done < warm_up:
        return max(0.01, done / warm_up)
    return 0.5 * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up))) if warm_up < 1 else 1.0


def _optimizer(net: Supernet, config: TrainConfig) -> torch.optim.Optimizer:
    """Weight decay on convolution and linear weights only: not on batch-norm, biases or kernel transforms."""
    decayed = [p for n, p in net.named_parameters() if p.ndim > 1 and not n.endswith("_matrix")]
    plain = [p for n, p in net.named_parameters() if p.ndim <= 1 or n.endswith("_matrix")]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate)
    return torch.optim.SGD(groups, lr=config.learning_rate, momentum=0.9, nesterov=True)
