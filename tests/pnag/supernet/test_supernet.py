import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pnag import Architecture, load_space
from pnag.errors import ArchitectureError
from pnag.supernet.elastic import shrink_kernel
from pnag.supernet.supernet import Supernet
from tests.pnag.tiny import TINY_SPACE, random_supernet

REFERENCE = Path(__file__).parents[2] / "data" / "once-for-all"
SMALL_SPACE = load_space("ofa-mbv3-w0.25", resolution=64, classes=10)


def reference_cases():
    cases = json.loads((REFERENCE / "cases.json").read_text())["cases"]
    logits = np.load(REFERENCE / "logits.npz")["logits"]
    for case, expected in zip(cases, logits, strict=True):
        present = [layer < depth for depth in case["depths"] for layer in range(4)]
        kernels, expands = (tuple(v * p for v, p in zip(case[k], present, strict=True)) for k in ("kernels", "expands"))
        yield Architecture(tuple(case["depths"]), kernels, expands), torch.from_numpy(expected), case["params"]


@pytest.fixture(scope="module")
def published():
    return Supernet.load(REFERENCE / "state_dict.safetensors", SMALL_SPACE)


@pytest.mark.parametrize("number", range(6))
def test_gives_the_logits_of_once_for_alls_own_code(published, number):
    architecture, expected, params = list(reference_cases())[number]
    images = torch.from_numpy(np.load(REFERENCE / "logits.npz")["input"])
    subnet = published.subnet(architecture)
    with torch.no_grad():
        assert (published(images, architecture) - expected).abs().max() <= 1e-5
        assert (subnet(images) - expected).abs().max() <= 1e-5
    assert sum(parameter.numel() for parameter in subnet.parameters()) == params


def test_the_w12_supernet_has_475_tensors():
    with torch.device("meta"):
        assert len(Supernet(load_space("ofa-mbv3-w1.2")).state_dict()) == 475


@pytest.mark.parametrize("space", [TINY_SPACE, load_space("ofa-mbv3-w0.25", resolution=32, classes=5)])
def test_the_elastic_forward_equals_the_static_subnet(space):
    net = random_supernet(space)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    for architecture in [*space.decode(space.sample(6, np.random.default_rng(1))), *space.extremes()]:
        with torch.no_grad():
            torch.testing.assert_close(
                net(images, architecture), net.subnet(architecture)(images), atol=1e-5, rtol=1e-4
            )


def test_gradients_are_those_of_the_static_network():
    net = random_supernet(load_space("ofa-mbv3-w0.25", resolution=32, classes=5)).double()
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    static = net.subnet(net.largest).requires_grad_()
    net(images).square().sum().backward()
    static(images).square().sum().backward()
    shared = [(n, p) for n, p in net.named_parameters() if not n.endswith("_matrix")]
    for (name, mine), theirs in zip(shared, static.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, msg=name)


def test_kernels_shrink_by_centre_and_matrix():
    weight = torch.arange(25.0).view(1, 1, 5, 5)
    swap = torch.eye(9)
    swap[[0, 8]] = swap[[8, 0]]  # first and last weight change places
    small = shrink_kernel(weight, [2 * swap])
    assert small[0, 0].tolist() == [[36, 14, 16], [22, 24, 26], [32, 34, 12]]
    assert shrink_kernel(weight, []) is weight


def test_a_subnet_owns_its_weights():
    net = random_supernet()
    before = net.sha256()
    subnet = net.subnet(TINY_SPACE.extremes()[0])
    assert not subnet.training
    for tensor in subnet.state_dict().values():
        tensor.zero_()
    assert net.sha256() == before


def test_training_updates_the_shared_statistics_of_the_channels_used():
    net = random_supernet().train()
    smallest, _ = TINY_SPACE.extremes()
    norm = net.blocks[1].conv.get_submodule("inverted_bottleneck.bn")
    before = norm.running_mean.clone()
    net(torch.randn(4, 3, 32, 32), smallest)
    changed = norm.running_mean != before
    used = 24  # 8 channels times 3, of 48
    assert changed[:used].all()
    assert not changed[used:].any()


def test_every_weight_gets_a_gradient_from_the_largest_network_and_one_of_small_kernels():
    net = random_supernet().train()
    largest = net.largest
    for architecture in (largest, replace(largest, kernels=(3,) * len(largest.kernels))):
        net(torch.randn(4, 3, 32, 32), architecture).square().sum().backward()
    assert [name for name, parameter in net.named_parameters() if parameter.grad is None] == []


def test_a_seed_decides_the_weights():
    assert Supernet(TINY_SPACE, seed=1).sha256() == Supernet(TINY_SPACE, seed=1).sha256()
    assert Supernet(TINY_SPACE, seed=1).sha256() != Supernet(TINY_SPACE, seed=2).sha256()


def test_refuses_an_architecture_of_another_space():
    with pytest.raises(ArchitectureError, match="space tiny"):
        Supernet(TINY_SPACE).subnet(load_space().extremes()[0])
