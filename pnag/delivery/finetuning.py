"""A generated network trained by itself, from its supernet weights, before it is delivered.

A supernet's weights are a compromise between all its networks. Trained alone for a few epochs, taught by the largest
of them, one network can do better than its share of them.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from lut.blocks import MBConvSpec
from lut.formats.canonical import plain
from pnag.data.split import ImageData
from pnag.space.architecture import Architecture
from pnag.supernet.elastic import ElasticBlock, quicken_pointwise
from pnag.supernet.evaluation import accuracy, calibrated_subnet, calibration_batches, recalibrate, small_maps_quick
from pnag.supernet.supernet import Supernet
from pnag.supernet.training import make_fabric
from pnag.supernet.training_config import TrainConfig
from pnag.supernet.training_loop import CHECKPOINT, CheckpointFile, TrainingLoop
from profiler.build.modules import Network, build_network, fold_batch_norm
from profiler.progress import Progress

if TYPE_CHECKING:
    from lightning_fabric import Fabric

FINISHED = "network.pth"
RATE_SHARE = 0.3
DISTILL = 0.5
_JUDGING_IMAGES = 256


@dataclass(frozen=True)
class FineTuned:
    """A network with the supernet's weights and with its own, both in eval mode; accuracies are 0 … 1."""

    begin: Network
    trained: Network
    epochs: float
    val_begin: float
    val_trained: float

    @property
    def better(self) -> bool:
        """Whether training has not lost accuracy on the validation split."""
        return self.val_trained >= self.val_begin

    @property
    def network(self) -> Network:
        """The one to deliver: the trained one, unless it lost accuracy on the validation split."""
        return self.trained if self.better else self.begin

    def report(self, test_begin: float | None, test_trained: float | None) -> dict[str, Any]:
        """What is said of it in JSON and in files; accuracies on the test split are None where not measured."""
        return {
            "epochs": self.epochs,
            "delivered": self.better,
            "validation_accuracy_before": self.val_begin,
            "validation_accuracy_after": self.val_trained,
            "test_accuracy_before": test_begin,
            "test_accuracy_after": test_trained,
        }


def settings(config: TrainConfig, epochs: float, seed: int) -> TrainConfig:
    """How one network is fine-tuned, from how its supernet is trained: fewer epochs, a lower rate, a fixed teacher."""
    rate = RATE_SHARE * config.learning_rate
    return replace(config, epochs=epochs, learning_rate=rate, distill=DISTILL, seed=seed)


def fine_tune(
    supernet: Supernet,
    architecture: Architecture,
    data: ImageData,
    config: TrainConfig,
    folder: Path,
    *,
    calibration: Sequence[Tensor] | None = None,
    progress: Progress | None = None,
    fabric: Fabric | None = None,
) -> FineTuned:
    """Train one network of `supernet` on `data`, whose images are of its resolution.

    The supernet's largest network teaches. The training is in a folder of its own below `folder`: one that was killed
    goes on from there, one that has ended is not done again. Batch-norm statistics, before and after, are of the
    images `calibration`, of the training images unless given. `progress` is advanced to 100 in all. Raises `DataError`.
    """
    about = {
        "supernet": {"sha256": supernet.sha256()},
        "architecture": {"architecture": str(architecture)},
        "data": data.identity,
        "config": config.to_dict(),
    }
    identity = plain(about)
    out = folder / hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    finished = CheckpointFile(out / FINISHED, identity)
    images = calibration or calibration_batches(data)
    begin = calibrated_subnet(supernet, architecture, images)
    state = finished.read()
    if state is None:
        largest = replace(supernet.largest, resolution=architecture.resolution)
        teacher = fold_batch_norm(calibrated_subnet(supernet, largest, images))
        training = _FineTuning(begin, teacher, data, config, out=out, fabric=fabric or make_fabric(config.precision))
        with training:
            training.run(progress)
        state = training.finished(begin, images)
        finished.write(state)
        (out / CHECKPOINT).unlink(missing_ok=True)
    elif progress is not None:
        progress.advance(100)
    trained = build_network(begin.specs).eval().requires_grad_(False)
    trained.load_state_dict(state["network"])
    return FineTuned(begin, trained, config.epochs, state["val_begin"], state["val_trained"])


class _FineTuning(TrainingLoop):
    """The training of one network; a teacher that does not change gives soft labels."""

    def __init__(
        self, begin: Network, teacher: nn.Module, data: ImageData, config: TrainConfig, *, out: Path, fabric: Fabric
    ) -> None:
        nets = [_Trainee(begin).to(fabric.device).to(memory_format=torch.channels_last) for _ in range(2)]
        super().__init__(nets, data, config, out=out, fabric=fabric, identity={})
        self.averaged = nets[1]
        self.teacher = teacher.to(fabric.device)
        self.judging = calibration_batches(self.data, _JUDGING_IMAGES)

    def _gradients(self, images: Tensor, labels: Tensor) -> list[Tensor]:
        with self.fabric.autocast():
            with torch.no_grad(), small_maps_quick(self.teacher):
                soft = self.teacher(images).float().softmax(1)
            logits = self.net(images)
        return [self._backward(logits, labels, soft)]

    def _judged(self) -> tuple[dict[str, float], str]:
        reached = accuracy(self._network(self.judging), self.data.val)
        return {"val": reached}, f"validation accuracy {100 * reached:.1f} %"

    def _network(self, images: Sequence[Tensor]) -> Network:
        """The network with the averaged weights and the batch-norm statistics of `images`."""
        network = self.averaged.network().to(self.fabric.device).to(memory_format=torch.channels_last)
        recalibrate(network, [batch.to(self.fabric.device) for batch in images])
        return network

    def finished(self, begin: Network, images: Sequence[Tensor]) -> dict[str, Any]:
        """The weights, and the validation accuracy of the network that was begun with and of the trained one."""
        network = self._network(images)
        start = copy.deepcopy(begin).to(self.fabric.device)
        found = {"val_begin": accuracy(start, self.data.val), "val_trained": accuracy(network, self.data.val)}
        return {"network": network.to(memory_format=torch.contiguous_format).cpu().state_dict(), **found}


class _Trainee(nn.Module):
    """The function of a static network, made of blocks that train fast on small maps too."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.specs = network.specs
        first, *layers, head = network
        self.first_conv = copy.deepcopy(first).requires_grad_(True)
        self.blocks = nn.ModuleList(ElasticBlock(spec, ()) for spec in cast("list[MBConvSpec]", self.specs[1:-1]))
        for block, layer in zip(self.blocks, layers, strict=True):
            cast("ElasticBlock", block).conv.load_state_dict(layer.state_dict())
        self.head = quicken_pointwise(copy.deepcopy(head)).requires_grad_(True)

    def forward(self, images: Tensor) -> Tensor:  # (B, 3, R, R)
        """Logits (B, classes)."""
        x = self.first_conv(images)
        for block, spec in zip(self.blocks, self.specs[1:-1], strict=True):
            x = block(x, spec)
        logits: Tensor = self.head(x)
        return logits

    def network(self) -> Network:
        """The static network with a copy of the weights as they are now, in eval mode."""
        modules = [self.first_conv, *(cast("ElasticBlock", block).conv for block in self.blocks), self.head]
        network = build_network(self.specs)
        for target, module in zip(network, modules, strict=True):
            target.load_state_dict(module.state_dict())
        return network.eval().requires_grad_(False)
