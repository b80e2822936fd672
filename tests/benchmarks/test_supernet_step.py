"""Both training steps, on a space small enough for a CPU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.supernet_step import NETWORKS, compare, noise_images, plain_step
from pnag.supernet.training import make_fabric
from tests.pnag.tiny import TINY_CONFIG, TINY_SPACE, coloured_squares, random_supernet


@pytest.fixture
def images() -> tuple[torch.Tensor, torch.Tensor]:
    return next(coloured_squares().train.batches(32))


def test_the_plain_step_trains_four_networks(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    net = random_supernet()
    teacher, optimizer = net.subnet(net.largest), torch.optim.SGD(net.parameters(), lr=0.05)
    before = {name: tensor.clone() for name, tensor in net.named_parameters()}
    net.train()
    losses = [plain_step(net, teacher, optimizer, images, np.random.default_rng(step)) for step in range(8)]
    assert len(losses[0]) == NETWORKS
    changed = sum(not torch.equal(before[name], tensor) for name, tensor in net.named_parameters())
    assert changed > 0.8 * len(before)
    assert sum(map(float, losses[-1])) < sum(map(float, losses[0]))


def test_both_steps_are_timed_on_the_same_images() -> None:
    fabric = make_fabric(accelerator="cpu")
    data = noise_images(TINY_SPACE, 60)
    found = compare(TINY_SPACE, data, replace(TINY_CONFIG, batch=8), fabric, seconds=0.5)
    assert found.batch == 8
    assert 1 < found.plain < 1e5
    assert 1 < found.ours < 1e5
    assert found.row()["met"] == (found.ours >= 1.5 * found.plain)


def test_a_step_that_takes_too_long_is_given_up() -> None:
    data, fabric = noise_images(TINY_SPACE, 40), make_fabric(accelerator="cpu")
    with pytest.raises(TimeoutError, match=r"steps took more than 0 s"):
        compare(TINY_SPACE, data, replace(TINY_CONFIG, batch=8), fabric, seconds=60, most_s=0.01)
