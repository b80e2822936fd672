"""The weights of a smaller block inside a larger one, by once-for-all's rules of sharing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from lut.blocks import MBConvSpec
from profiler.modules import build_block

_DEPTHWISE = "depth_conv.conv.weight"


def transform_name(large: int, small: int) -> str:
    """Name of the matrix, beside a depthwise weight, that turns a `large` kernel's centre into a `small` one."""
    return f"{large}to{small}_matrix"


def shrink_kernel(weight: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Depthwise kernels of (C, 1, k, k) made smaller by 2 per matrix: the centre, flattened, times the matrix.

    Each matrix is (j², j²) for the next smaller side j, so that 7×7 to 3×3 takes two, one after the other.
    Source: once-for-all, kernel transformation.
    """
    for matrix in matrices:
        centre = weight[:, :, 1:-1, 1:-1]  # (C, 1, j, j)
        weight = F.linear(centre.flatten(1), matrix).view_as(centre)
    return weight


class ElasticBlock(nn.Module):
    """The largest block of a position, of which each smaller one takes the first channels and kernel centres.

    `conv` is the module that `profiler.modules` builds for the largest block; its maths is used for the
    smaller ones too, with weights sliced from it. Kernels must be odd and two apart.
    """

    def __init__(self, spec: MBConvSpec, kernels: Sequence[int]) -> None:
        super().__init__()
        self.spec = spec
        self.kernels = tuple(sorted(kernels, reverse=True))
        self.conv = build_block(spec)
        depthwise = self.conv.get_submodule("depth_conv.conv")
        for large, small in pairwise(self.kernels):
            depthwise.register_parameter(transform_name(large, small), nn.Parameter(torch.eye(small**2)))
        self._modules_by_spec: dict[MBConvSpec, tuple[nn.Module, dict[str, tuple[int, ...]]]] = {}

    def _smaller(self, spec: MBConvSpec) -> tuple[nn.Module, dict[str, tuple[int, ...]]]:
        """A module of that spec without storage, and the shapes of its tensors."""
        if spec not in self._modules_by_spec:
            with torch.device("meta"):
                module = build_block(spec)
            shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
            self._modules_by_spec[spec] = module, shapes
        return self._modules_by_spec[spec]

    def weights(self, spec: MBConvSpec) -> dict[str, Tensor]:
        """Tensors of the smaller block by name, differentiable views of this block's where no kernel shrinks."""
        _, shapes = self._smaller(spec)
        mine = {**dict(self.conv.named_parameters()), **dict(self.conv.named_buffers())}
        used = [kernel for kernel in self.kernels if kernel >= spec.kernel]
        prefix = _DEPTHWISE.removesuffix("weight")
        kernel = shrink_kernel(
            mine[_DEPTHWISE][: shapes[_DEPTHWISE][0]],
            [mine[prefix + transform_name(*pair)] for pair in pairwise(used)],
        )
        return {
            name: kernel if name == _DEPTHWISE else mine[name][tuple(slice(size) for size in shape)]
            for name, shape in shapes.items()
        }

    def forward(self, x: Tensor, spec: MBConvSpec) -> Tensor:  # (B, in, H, W)
        """What the block of `spec` gives for `x`; in training mode the shared running statistics are updated."""
        weights = self.weights(spec)
        # On an image of side s the outer weights of a kernel beyond 2 s - 1 meet nothing but padding. Leaving them
        # out changes no output and no gradient, and saves a third of a training step on images of 32 pixels.
        spare = (spec.kernel - min(spec.kernel, 2 * x.shape[-1] - 1)) // 2
        if spare:
            weights[_DEPTHWISE] = weights[_DEPTHWISE][:, :, spare:-spare, spare:-spare]
        module, _ = self._smaller(replace(spec, kernel=spec.kernel - 2 * spare))
        if module.training != self.training:
            module.train(self.training)
        out: Tensor = functional_call(module, weights, (x,), tie_weights=False)
        return out
