"""The weights of a smaller block inside a larger one, by once-for-all's rules of sharing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from lut.blocks import MBConvSpec
from profiler.build.modules import build_block

_DEPTHWISE = "depth_conv.conv.weight"
_SMALL_MAP = 4  # pixels a side of the output


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


def spare_rings(kernel: int, side: int) -> int:
    """How many outer rings of a kernel meet nothing but padding on an image of that side: those beyond 2·side - 1."""
    return (kernel - min(kernel, 2 * side - 1)) // 2


class SmallMapConv(nn.Conv2d):
    """A depthwise convolution that trains fast on small maps too, where a CPU's own weight gradient does not.

    The same function and gradients as `Conv2d`: only the gradient by the weights is worked out another way, as
    one product for each weight of the kernel. For 7×7 on outputs of 4 pixels a side that takes a seventh of the time
    of torch's kernel, for 3×3 on 2 pixels a twenty-fifth; on 8 pixels the two are level.
    """

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W)
        """The convolution's output (B, C, H / stride, W / stride)."""
        small = x.shape[-1] <= _SMALL_MAP * self.stride[0]
        if small and x.device.type == "cpu" and x.dtype == self.weight.dtype and torch.is_grad_enabled():
            y: Tensor = _DepthwiseOfShifts.apply(x, self.weight, self.stride[0])
            return y
        return super().forward(x)


class PointwiseConv(nn.Conv2d):
    """A 1×1 convolution that a CPU works out as one matrix product where maps are small.

    The same function as `Conv2d`. On maps of 1 pixel forward and backward take a third to a half of the time of
    torch's convolution, on 4 pixels a side four fifths; from 8 pixels on torch's is the faster.
    """

    @classmethod
    def of(cls, conv: nn.Conv2d) -> Self:
        """A module with the parameters of `conv`."""
        module = cls(conv.in_channels, conv.out_channels, 1, bias=conv.bias is not None, device="meta")
        module.weight, module.bias = conv.weight, conv.bias
        return module

    def forward(self, x: Tensor) -> Tensor:  # (B, in, H, W)
        """The convolution's output (B, out, H, W)."""
        if x.device.type == "cpu" and max(x.shape[-2:]) <= _SMALL_MAP:
            return F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)
        return super().forward(x)


def pointwise_convs(module: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Conv2d]]:
    """Each 1×1 convolution under `module`, with the module that holds it and its name there."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d) and child.kernel_size == (1, 1) and child.groups == 1:
                yield parent, name, child


def quicken_pointwise(module: nn.Module) -> nn.Module:
    """Turn each 1×1 convolution under `module` into a `PointwiseConv`, in place; returns the module."""
    for parent, name, conv in pointwise_convs(module):
        parent.register_module(name, PointwiseConv.of(conv))
    return module


class _DepthwiseOfShifts(torch.autograd.Function):
    """Depthwise convolution, padded by half its kernel, with the weight gradient as a sum over shifted products."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        (gradient,), (x, weight), stride = gradients, ctx.saved_tensors, ctx.stride
        padding = weight.shape[-1] // 2
        to_input, _, _ = torch.ops.aten.convolution_backward(
            gradient, x, weight, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], len(weight),
            [True, False, False],
        )  # fmt: skip
        to_weight = torch.zeros_like(weight)
        spans = [_overlap(x.shape[-1], gradient.shape[-1], tap - padding, stride) for tap in range(weight.shape[-1])]
        for row, (out_y, in_y) in enumerate(spans):
            for column, (out_x, in_x) in enumerate(spans):
                product = gradient[:, :, out_y, out_x] * x[:, :, in_y, in_x]
                to_weight[:, 0, row, column] = product.sum((0, 2, 3))
        return to_input, to_weight, None


def _overlap(size: int, out: int, offset: int, stride: int) -> tuple[slice, slice]:
    """Outputs whose input at `offset` is on the image of side `size`, and these inputs."""
    first = max(0, -(offset // stride))  # the lowest y with y · stride + offset >= 0
    last = min(out - 1, (size - 1 - offset) // stride)
    if last < first:
        return slice(0, 0), slice(0, 0)
    start = first * stride + offset
    return slice(first, last + 1), slice(start, start + (last - first) * stride + 1, stride)


class ElasticBlock(nn.Module):
    """The largest block of a position, of which each smaller one takes the first channels and kernel centres.

    `conv` is the module that `profiler.build.modules` builds for the largest block; its maths is used for the
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
                module = quicken_pointwise(build_block(spec))
                inner, padding = spec.inner_channels, spec.kernel // 2
                conv = SmallMapConv(inner, inner, spec.kernel, spec.stride, padding, groups=inner, bias=False)
                module.get_submodule("depth_conv").register_module("conv", conv)
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
        spare = spare_rings(spec.kernel, x.shape[-1])
        if spare:  # changes no output and no gradient, and saves a third of a training step on 32 pixels
            weights[_DEPTHWISE] = weights[_DEPTHWISE][:, :, spare:-spare, spare:-spare]
        module, _ = self._smaller(replace(spec, kernel=spec.kernel - 2 * spare))
        if module.training != self.training:
            module.train(self.training)
        out: Tensor = functional_call(module, weights, (x,), tie_weights=False)
        return out
