"""The suite that every back-end passes, over this one."""

import pytest
import torch
from torch_cpu_device import TorchCpu

from devices import Artefact
from devices.testing import BackendContract


def layer(name: str, channels: int) -> Artefact:
    return Artefact(name, "torch", (1, channels, 8, 8), module=torch.nn.Conv2d(channels, channels, 3).eval())


class TestTorchCpu(BackendContract):
    @pytest.fixture
    def backend(self):
        return TorchCpu(threads=1)

    @pytest.fixture
    def artefact(self):
        return layer("small", 4)

    @pytest.fixture
    def other(self):
        return layer("large", 64)

    @pytest.fixture
    def broken(self):
        return Artefact("broken", "torch", (1, 3, 8, 8), module=torch.nn.Conv2d(4, 4, 3).eval())
