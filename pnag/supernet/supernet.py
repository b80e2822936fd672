"""The elastic supernet: every architecture of a space, with shared weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from lut.blocks import MBConvSpec
from pnag.space.architecture import Architecture
from pnag.space.search_space import SearchSpace
from pnag.supernet.checkpoint import read_checkpoint, state_sha256, write_checkpoint
from pnag.supernet.elastic import ElasticBlock, quicken_pointwise
from profiler.build.modules import Network, build_block, build_network
from profiler.console import say


class Supernet(nn.Module):
    """Weights for all architectures of `space`, shared as once-for-all shares them.

    Narrower layers take the first channels, shallower units the first layers, smaller kernels the transformed
    centre of larger ones. `data` says what it was trained on (the identity of a data set, empty if unknown).

    >>> from pnag.space.spaces import load_space
    >>> space = load_space("ofa-mbv3-w0.25", resolution=32, classes=10)
    >>> smallest, _ = space.extremes()
    >>> Supernet(space).subnet(smallest)(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 10])
    """

    def __init__(self, space: SearchSpace, *, seed: int = 0) -> None:
        super().__init__()
        self.space = space
        self.data: Mapping[str, Any] = {}
        _, self.largest = space.extremes()
        stem, first, *layers, head = space.decompose(self.largest)
        self.first_conv = build_block(stem)
        specs = cast("list[MBConvSpec]", [first, *layers])
        self.blocks = nn.ModuleList(ElasticBlock(s, space.kernels if i else ()) for i, s in enumerate(specs))
        self.head = quicken_pointwise(build_block(head))
        self._initialise(seed)

    @torch.no_grad()
    def _initialise(self, seed: int) -> None:
        """He initialisation over outputs, as MobileNets are trained from; residual branches start at zero."""
        generator = torch.Generator().manual_seed(seed)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                fan_out = layer.weight.shape[0] // layer.groups * layer.weight[0, 0].numel()
                layer.weight.normal_(0, math.sqrt(2 / fan_out), generator=generator)
                if layer.bias is not None:
                    layer.bias.zero_()
            elif isinstance(layer, nn.Linear):
                layer.weight.normal_(0, 0.01, generator=generator)
                layer.bias.zero_()
            elif isinstance(layer, ElasticBlock) and layer.spec.residual:
                layer.conv.get_submodule("point_linear.bn").get_parameter("weight").zero_()

    def _layers(self, architecture: Architecture) -> list[tuple[ElasticBlock, MBConvSpec]]:
        """The blocks that an architecture uses, each with the spec it is used as."""
        specs = cast("list[MBConvSpec]", list(self.space.decompose(architecture)[1:-1]))
        positions = [0] + [
            1 + unit * self.space.layers + layer
            for unit, depth in enumerate(architecture.depths)
            for layer in range(depth)
        ]
        return [
            (cast("ElasticBlock", self.blocks[position]), spec) for position, spec in zip(positions, specs, strict=True)
        ]

    def forward(self, images: Tensor, architecture: Architecture | None = None) -> Tensor:  # (B, 3, H, W)
        """Logits (B, classes) of an architecture, the largest unless given; gradients reach the shared weights."""
        x = self.first_conv(images)
        for block, spec in self._layers(architecture or self.largest):
            x = block(x, spec)
        logits: Tensor = self.head(x)
        return logits

    def subnet(self, architecture: Architecture) -> Network:
        """The static network of an architecture in eval mode, with its own copy of the weights.

        Its batch-norm statistics are the shared ones: re-estimate them (`evaluation.recalibrate`) unless the
        checkpoint's own are wanted. Raises `ArchitectureError` if it is not of this space.
        """
        with torch.device("meta"):
            network = build_network(self.space.decompose(architecture))
        states: list[Mapping[str, Tensor]] = [
            self.first_conv.state_dict(),
            *(block.weights(spec) for block, spec in self._layers(architecture)),
            self.head.state_dict(),
        ]
        for module, state in zip(network, states, strict=True):
            copied = {
                name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in state.items()
            }
            module.load_state_dict(copied, assign=True)
        return network.eval().requires_grad_(False)

    # -- files ------------------------------------------------------------------------------------------

    def sha256(self) -> str:
        """Hash over all tensors, equal for equal weights whatever the file's kind."""
        return state_sha256(self.state_dict())

    def save(self, path: str | Path) -> None:
        """Write `.safetensors` or `.pth` under once-for-all's tensor names; whole or not at all."""
        write_checkpoint(path, self.state_dict(), self.space, self.data)

    @classmethod
    def load(cls, path: str | Path, space: SearchSpace, tell: Callable[[str], None] = say) -> Self:
        """Read a supernet of `space`: our own or once-for-all's, `.pth` or `.safetensors`, in eval mode.

        `tell` is told where its weights are of another precision. Raises `CheckpointError` for a file that is no
        state dict, or that has other tensors than this space.
        """
        with torch.device("meta"):
            empty = cls.__new__(cls)
            Supernet.__init__(empty, space)
        state, data = read_checkpoint(path, space, {k: tuple(v.shape) for k, v in empty.state_dict().items()}, tell)
        empty.load_state_dict(state, assign=True)
        empty.data = data
        return empty.eval()
