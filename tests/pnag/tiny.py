"""A space, a data set and a supernet small enough to be trained within a test."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from pnag.data.sources import assemble
from pnag.data.split import ImageData
from pnag.space.search_space import SearchSpace
from pnag.supernet.supernet import Supernet
from pnag.supernet.training_config import TrainConfig

TINY_SPACE = SearchSpace(
    "tiny",
    0.25,
    resolution=32,
    classes=3,
    depths=(1, 2),
    kernels=(3, 5, 7),
    expands=(3, 6),
    unit_channels=(24, 40),
    unit_strides=(2, 2),
    unit_activations=("relu", "hswish"),
    unit_squeeze_excite=(False, True),
    final_expand_channels=64,
    feature_channels=64,
)

TINY_CONFIG = TrainConfig(epochs=2, batch=16, optimizer="adamw", learning_rate=0.01, ema=0.5, random_networks=1)


def coloured_squares(n: int = 120, seed: int = 0) -> ImageData:
    """Three classes of noisy images told apart by their colour."""
    rng = np.random.default_rng(seed)

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(count) % 3
        pixels = rng.integers(0, 120, (count, 3, 32, 32))
        pixels[np.arange(count), labels, 8:24, 8:24] += 100
        return pixels.astype(np.uint8), labels.astype(np.int64)

    return assemble("squares", 32, ("red", "green", "blue"), [part(n), part(30), part(30)])


def random_supernet(space: SearchSpace = TINY_SPACE, seed: int = 0) -> Supernet:
    """A supernet with weights, kernel transforms and statistics that are all random."""
    net = Supernet(space, seed=seed).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith("_matrix"):
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.copy_(0.1 * torch.randn(module.running_mean.shape, generator=generator))
                module.running_var.copy_(0.5 + torch.rand(module.running_var.shape, generator=generator))
                module.weight.copy_(0.5 + torch.rand(module.weight.shape, generator=generator))
    return net
