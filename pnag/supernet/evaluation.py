"""Accuracy of sub-networks: batch-norm re-estimated for each, then a split classified."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

from lut.blocks import MBConvSpec
from pnag.data.split import ImageData, Split, SplitName, spread_over
from pnag.space.architecture import Architecture
from pnag.supernet.elastic import pointwise_convs, quicken_pointwise, spare_rings
from pnag.supernet.supernet import Supernet
from profiler.build.memory import usable_memory_bytes
from profiler.build.modules import Network, fold_batch_norm

CALIBRATION_IMAGES = 1024
_CALIBRATION_SEED = 0
_BATCH = 100


def calibration_batches(data: ImageData, images: int = CALIBRATION_IMAGES, size: int = 128) -> list[Tensor]:
    """The fixed training images, unchanged, that batch-norm statistics are estimated from; each (B, 3, R, R)."""
    return list(torch.split(data.train.sample(images, _CALIBRATION_SEED), size))


class EvaluationImages:
    """What networks are evaluated on at each resolution: read when it is first asked for, and kept where it fits.

    Batch-norm is re-estimated on `calibration` training images. Of the validation split `most` images are used, of the
    test split `most_test`, spread over them; all unless given. A split stays in memory while all of them take
    `limit_bytes` at most: by default a quarter of what the process can still take.
    """

    def __init__(
        self,
        data: ImageData,
        *,
        calibration: int = CALIBRATION_IMAGES,
        most: int | None = None,
        most_test: int | None = None,
        limit_bytes: int | None = None,
    ) -> None:
        self.data, self.calibration = data, calibration
        self._most: dict[SplitName, int | None] = {"val": most, "test": most_test}
        self._left_bytes = usable_memory_bytes() // 4 if limit_bytes is None else limit_bytes
        self._batches: dict[int, list[Tensor]] = {}
        self._splits: dict[tuple[str, int], Split] = {}

    @property
    def val(self) -> int:
        """How many validation images each network is judged on."""
        return len(spread_over(len(self.data.val), self._most["val"]))

    def batches(self, architecture: Architecture) -> list[Tensor]:
        """The calibration batches (B, 3, R, R) at the architecture's resolution; at that of the data if it has none."""
        side = architecture.resolution or self.data.resolution
        if side not in self._batches:
            self._batches[side] = calibration_batches(self.data.at(side), self.calibration)
        return self._batches[side]

    def split(self, name: SplitName, architecture: Architecture) -> Split:
        """A split at the architecture's resolution."""
        side = architecture.resolution or self.data.resolution
        if (name, side) not in self._splits:
            split = self.data.at(side).split(name).few(self._most.get(name))
            if split.bytes_to_keep <= self._left_bytes:
                self._left_bytes -= split.bytes_to_keep
                split = split.kept()
            self._splits[name, side] = split
        return self._splits[name, side]


@torch.no_grad()
def recalibrate(network: nn.Module, batches: Sequence[Tensor]) -> None:
    """Set the batch-norm statistics of `network` to the mean over `batches`; it ends in eval mode."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
    network.train()
    with small_maps_quick(network):
        for images in batches:
            network(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


@contextmanager
def small_maps_quick(network: nn.Module) -> Iterator[None]:
    """Within, a `Network` gives the same outputs sooner where its maps are small.

    Kernel weights that only ever meet padding are left out: on images of 32 pixels the last maps are a single
    pixel, of a 7×7 kernel only the centre counts, and torch takes a hundred times as long for the whole kernel.
    Pointwise convolutions are matrix products.
    """
    pointwise = list(pointwise_convs(network))
    whole: list[tuple[nn.Conv2d, nn.Parameter, int]] = []
    for block, spec in zip(network, network.specs, strict=True) if isinstance(network, Network) else ():
        spare = spare_rings(spec.kernel, spec.resolution) if isinstance(spec, MBConvSpec) else 0
        if spare:
            conv = block.get_submodule("depth_conv.conv")
            assert isinstance(conv, nn.Conv2d)
            whole.append((conv, cast("nn.Parameter", conv.weight), spare))
    try:
        quicken_pointwise(network)
        for conv, weight, spare in whole:
            centre = weight.detach()[:, :, spare:-spare, spare:-spare].contiguous()
            conv.weight = nn.Parameter(centre, requires_grad=False)
            conv.padding = (conv.kernel_size[0] // 2 - spare,) * 2
        yield
    finally:
        for conv, weight, _ in whole:
            conv.weight, conv.padding = weight, (conv.kernel_size[0] // 2,) * 2
        for parent, name, conv in pointwise:
            parent.register_module(name, conv)


@torch.no_grad()
def accuracy(network: nn.Module, split: Split) -> float:
    """Share of a split's images, 0 … 1, that a network in eval mode classifies right."""
    folded = fold_batch_norm(network)
    right = seen = 0
    with small_maps_quick(folded):
        for images, labels in split.batches(_BATCH):
            right += int((folded(images).argmax(1) == labels).sum())
            seen += len(labels)
    return right / seen


def calibrated_subnet(supernet: Supernet, architecture: Architecture, batches: Sequence[Tensor]) -> Network:
    """The static network of an architecture with its own batch-norm statistics, in eval mode."""
    network = supernet.subnet(architecture)
    recalibrate(network.to(memory_format=torch.channels_last), batches)
    return network


def evaluate(
    supernet: Supernet,
    architecture: Architecture,
    data: ImageData,
    split: SplitName = "val",
    images: EvaluationImages | None = None,
) -> float:
    """Accuracy, 0 … 1, of a sub-network on a split of `data`, at its own resolution where it names one.

    `images` are kept from an earlier call, with what it read.
    """
    images = images or EvaluationImages(data)
    network = calibrated_subnet(supernet, architecture, images.batches(architecture))
    return accuracy(network, images.split(split, architecture))
