"""The loop of a training: steps, learning rate, averaged weights, checkpoint and curve; resumable at any step.

All that is random in a step follows from the seed and the step's number, so a training that was killed goes
on from its last checkpoint exactly as it would have gone. What a step trains, and how it is judged, is left open.
"""

from __future__ import annotations

import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lut.files import replacing
from lut.formats.canonical import plain
from lut.journal import LineJournal, read_lines
from pnag.data.split import ImageData, Shard
from pnag.errors import CheckpointError
from pnag.supernet import CURVE
from pnag.supernet.checkpoint import pickled
from pnag.supernet.checkpoint_file import require_sound_zip
from pnag.supernet.training_config import TrainConfig
from profiler.progress import Progress, Watch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

CHECKPOINT = "checkpoint.pth"


class CheckpointFile:
    """State of a training, replaced whole; `identity` says which training it is a state of."""

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self._path, self._identity = path, identity

    def write(self, state: Mapping[str, Any]) -> None:
        """Replace the file."""
        with replacing(self._path) as temporary:
            temporary.write_bytes(pickled({"identity": self._identity, **state}))

    def read(self) -> dict[str, Any] | None:
        """The state, None if there is none. Raises `CheckpointError` if it is of another training or damaged."""
        if not self._path.exists():
            return None
        try:
            require_sound_zip(self._path)
            state: dict[str, Any] = torch.load(self._path, map_location="cpu", weights_only=True)
            found = state["identity"]
            if not all(isinstance(found.get(what, {}), dict) for what in self._identity):
                raise ValueError("it says in another form of which training it is")
        except Exception as error:  # torch raises whatever the damaged part leads to
            raise CheckpointError(f"{self._path} is damaged; remove it to begin the training again") from error
        for what in self._identity:
            if found.get(what, {}) != self._identity[what]:
                odd = _first_difference(found.get(what) or {}, self._identity[what])
                raise CheckpointError(
                    f"{self._path.parent} holds a training with another {what} ({odd}); take another folder"
                )
        return state


def _first_difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    key = next((k for k in {**wanted, **found} if found.get(k) != wanted.get(k)), "more fields")
    return f"{key} was {found.get(key)}, now {wanted.get(key)}"


class Curve:
    """Rows of a training's progress as JSON lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: LineJournal | None = None

    def open(self, step: int) -> list[dict[str, Any]]:
        """Keep the rows up to `step`, where the training goes on, to append to; these rows."""
        kept = [row for row in read_lines(self._path) if row["step"] <= step]
        with replacing(self._path) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        self._lines = LineJournal(self._path)
        return kept

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a row."""
        if self._lines is not None:
            self._lines.append([row])

    def close(self) -> None:
        """Close the file."""
        if self._lines is not None:
            self._lines.close()
            self._lines = None


class TrainingLoop(ABC):
    """The state of one training: weights, their average, optimiser and how far it is.

    `nets` are two modules alike with the first weights, on the fabric's device: the one to train, and the average of
    its weights. `identity` says which training it is: one with another identity does not go on from the checkpoint in
    `out`. Of several `sides` each batch has one, at random. `watch` is told the curve, from its beginning. It is a
    context manager that finds the checkpoint when it is entered.
    """

    def __init__(
        self,
        nets: Sequence[nn.Module],
        data: ImageData,
        config: TrainConfig,
        *,
        out: Path,
        fabric: Fabric,
        identity: Mapping[str, Any],
        sides: Sequence[int] = (),
        watch: Watch | None = None,
    ) -> None:
        self.net, self.average = nets
        self.config, self.fabric, self.out, self.sides = config, fabric, out, sides
        self.shard: Shard = (fabric.global_rank, fabric.world_size)
        self.data = data.to(fabric.device)
        self.optimizer = make_optimizer(self.net, config)
        self._step_optimizer: Any = fabric.setup_optimizers(self.optimizer)
        self.step, self.core_s = 0, 0.0
        self.total_steps = max(1, round(config.epochs * data.train.steps_per_epoch(config.batch)))
        about = {**identity, "data": data.identity, "config": config.to_dict()}
        self.file = CheckpointFile(out / CHECKPOINT, plain(about))
        self.curve, self._watch = Curve(out / CURVE), watch

    @abstractmethod
    def _gradients(self, images: Tensor, labels: Tensor) -> list[Tensor]:
        """Add up the gradients of one step, with `_backward`; the losses, the one to show first.

        Called once a step, with `net` in training mode and its gradients cleared.
        """

    @abstractmethod
    def _judged(self) -> tuple[dict[str, float], str]:
        """How good `average` is now: columns for the curve, and the same in words. Called a few times in all."""

    def __enter__(self) -> Self:
        state = self.file.read()
        if state is not None:
            self.net.load_state_dict(state["net"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.core_s = state["step"], state["core_s"]
        if self.fabric.is_global_zero:
            for row in self.curve.open(self.step):
                self._show(row)
        return self

    def __exit__(self, *_: object) -> None:
        self.curve.close()

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
            config.batch, seed=config.seed, start=self.step, augmentation=config.augmentation, shard=self.shard,
            sides=self.sides,
        )  # fmt: skip
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

    def _train_step(self, images: Tensor, labels: Tensor, done: float) -> list[Tensor]:
        """One optimiser step; its losses."""
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * rate_share(done, config.warm_up)
        self.net.train()
        self.optimizer.zero_grad(set_to_none=True)
        losses = self._gradients(images, labels)
        self._average_gradients()
        self.fabric.clip_gradients(self.net, self._step_optimizer, max_norm=config.clip_norm, error_if_nonfinite=False)
        self._step_optimizer.step()
        self._update_average()
        return losses

    def _backward(self, logits: Tensor, labels: Tensor, soft: Tensor | None) -> Tensor:
        """Add the gradients of one network's loss by its logits (B, classes); the loss."""
        loss = loss_of(logits.float(), labels, soft, self.config)
        self.fabric.backward(loss)
        return loss.detach()

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
            found, words = self._judged()
            row |= {name: round(value, 4) for name, value in found.items()}
            note += f", {words}"
        if self.fabric.is_global_zero:
            self.curve.write(row)
            self._show(row)
        return note

    def _show(self, row: Mapping[str, Any]) -> None:
        """Tell the figures of a row of the curve: of its losses the first."""
        if self._watch is not None:
            figures = {name: float(value) for name, value in row.items() if name not in ("step", "losses")}
            self._watch(row["step"], {"loss": row["losses"][0], **figures})

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


def loss_of(logits: Tensor, labels: Tensor, soft: Tensor | None, config: TrainConfig) -> Tensor:
    """Cross entropy with soft labels (B, classes), where there are any, and the true ones (B,), as `config` weighs."""
    if soft is None or config.distill == 0:
        return F.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
    taught = F.cross_entropy(logits, soft)
    if config.distill == 1:
        return taught
    return config.distill * taught + (1 - config.distill) * F.cross_entropy(logits, labels)


def rate_share(done: float, warm_up: float) -> float:
    """Share of the learning rate: a linear rise, then half a cosine."""
    if done < warm_up:
        return max(0.01, done / warm_up)
    return 0.5 * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up))) if warm_up < 1 else 1.0


def make_optimizer(net: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Weight decay on convolution and linear weights only: not on batch-norm, biases or kernel transforms."""
    decayed = [p for n, p in net.named_parameters() if p.ndim > 1 and not n.endswith("_matrix")]
    plain = [p for n, p in net.named_parameters() if p.ndim <= 1 or n.endswith("_matrix")]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate)
    return torch.optim.SGD(groups, lr=config.learning_rate, momentum=0.9, nesterov=True)
