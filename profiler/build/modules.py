"""The one builder from a block to a torch module: what is measured is what is shipped.

Module and parameter names follow once-for-all, so that its weights load under their own names:
`inverted_bottleneck.{conv,bn,act}`, `depth_conv.{conv,bn,act,se}`, `point_linear.{conv,bn}`.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import cache

import torch
from torch import Tensor, nn

from devices.folding import fold_batch_norm as fold_batch_norm  # noqa: PLC0414 (pnag reaches it here)
from lut.blocks import Activation, BlockSpec, ConvSpec, HeadSpec, MBConvSpec, parse_block

BN_EPSILON = 1e-5
_NOT_RECTIFIED = ("point_linear.conv", "fc.expand", "classifier")  # layers without ReLU or h-swish behind them


def activation(name: Activation) -> nn.Module:
    """ReLU or h-swish."""
    return nn.ReLU(inplace=True) if name == "relu" else nn.Hardswish(inplace=True)


class SqueezeExcite(nn.Module):
    """Channel attention: global average, reduce with ReLU, expand with hard-sigmoid, multiply."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            OrderedDict(
                reduce=nn.Conv2d(channels, squeezed, 1),
                relu=nn.ReLU(inplace=True),
                expand=nn.Conv2d(squeezed, channels, 1),
                h_sigmoid=nn.Hardsigmoid(inplace=True),
            )
        )

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W)
        """Scale each channel of `x` by its weight in 0 … 1; same shape."""
        scale: Tensor = self.fc(x.mean((2, 3), keepdim=True))  # (B, C, 1, 1)
        return x * scale


def conv_bn(
    in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, groups: int = 1, act: Activation | None = None
) -> OrderedDict[str, nn.Module]:
    """Convolution without bias, batch-norm, activation, as the named parts of a Sequential."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    parts: OrderedDict[str, nn.Module] = OrderedDict(conv=conv, bn=nn.BatchNorm2d(out_channels, eps=BN_EPSILON))
    if act is not None:
        parts["act"] = activation(act)
    return parts


class MBConv(nn.Module):
    """Mobile inverted bottleneck, static: expand, depthwise, squeeze-excite, project, residual."""

    def __init__(self, spec: MBConvSpec) -> None:
        super().__init__()
        inner = spec.inner_channels
        self.residual = spec.residual
        self.inverted_bottleneck: nn.Sequential | None = None
        if spec.expand != 1:
            self.inverted_bottleneck = nn.Sequential(conv_bn(spec.in_channels, inner, 1, act=spec.activation))
        depth = conv_bn(inner, inner, spec.kernel, stride=spec.stride, groups=inner, act=spec.activation)
        if spec.squeeze_excite:
            depth["se"] = SqueezeExcite(inner, spec.squeeze_channels)
        self.depth_conv = nn.Sequential(depth)
        self.point_linear = nn.Sequential(conv_bn(inner, spec.out_channels, 1))

    def forward(self, x: Tensor) -> Tensor:  # (B, in, H, W)
        """Output of shape (B, out, H / stride, W / stride)."""
        y = x if self.inverted_bottleneck is None else self.inverted_bottleneck(x)
        y = self.point_linear(self.depth_conv(y))
        out: Tensor = x + y if self.residual else y
        return out


class Head(nn.Module):
    """Final expansion, global average, feature mix, classifier."""

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__()
        self.final_expand_layer = nn.Sequential(conv_bn(spec.in_channels, spec.mid_channels, 1, act=spec.activation))
        mix = OrderedDict[str, nn.Module](
            conv=nn.Conv2d(spec.mid_channels, spec.features, 1, bias=False), act=activation(spec.activation)
        )
        self.feature_mix_layer = nn.Sequential(mix)
        self.classifier = nn.Linear(spec.features, spec.classes)

    def forward(self, x: Tensor) -> Tensor:  # (B, in, H, W)
        """Logits of shape (B, classes)."""
        x = self.final_expand_layer(x).mean((2, 3), keepdim=True)  # (B, mid, 1, 1)
        logits: Tensor = self.classifier(self.feature_mix_layer(x).flatten(1))  # (B, classes)
        return logits


def build_block(spec: BlockSpec) -> nn.Module:
    """The torch module of a block, with torch's default initialisation, in training mode.

    Input (B, *spec.input_shape), output (B, *spec.output_shape).
    """
    match spec:
        case ConvSpec():
            parts = conv_bn(spec.in_channels, spec.out_channels, spec.kernel, stride=spec.stride, act=spec.activation)
            return nn.Sequential(parts)
        case MBConvSpec():
            return MBConv(spec)
        case HeadSpec():
            return Head(spec)
        case _:
            raise TypeError(f"no module for a {type(spec).__name__}; add it to profiler.build.modules.build_block")


class Network(nn.Sequential):
    """Blocks in order. `self[i]` is the module of `specs[i]`."""

    def __init__(self, specs: Sequence[BlockSpec]) -> None:
        super().__init__(*(build_block(spec) for spec in specs))
        self.specs = tuple(specs)


def build_network(specs: Iterable[BlockSpec]) -> Network:
    """A whole network out of exactly the modules that are measured one by one."""
    return Network(tuple(specs))


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give `module` weights and batch-norm statistics as a trained one might have; returns it in eval mode.

    He initialisation, with half the variance where no rectifier follows, keeps activations at unit scale
    through any depth. With activations that vanish (denormal numbers) or grow, latencies would not be those
    of a trained network, and two runtimes' rounding would differ by more than 1e-4 at the end.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, layer in module.named_modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                variance = (1 if name.endswith(_NOT_RECTIFIED) else 2) / layer.weight[0].numel()
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * variance**0.5)
                if layer.bias is not None:
                    layer.bias.copy_(torch.randn(layer.bias.shape, generator=generator) * 0.1)
            elif isinstance(layer, nn.BatchNorm2d):
                shape = layer.running_mean.shape if layer.running_mean is not None else ()
                layer.weight.copy_(1 + 0.1 * torch.randn(shape, generator=generator))
                layer.bias.copy_(0.1 * torch.randn(shape, generator=generator))
    return module.eval()


# One block of each kind, small, with every part that a block may have.
_SAMPLE = (
    "conv-i3-o8-k3-s2-relu@8", "mbconv-i8-o8-k3-e1-s1-relu-se0@4", "mbconv-i8-o8-k5-e4-s1-hswish-se1@4",
    "head-i8-m16-f16-o10-hswish@4",
)  # fmt: skip


@cache
def scheme_sha256() -> str:
    """A hash that changes when blocks are built of other layers, or given other random weights.

    Files made of blocks depend on both; nobody has to remember to count a version up.
    """
    network = randomise(build_network(map(parse_block, _SAMPLE)))
    content = hashlib.sha256(repr(network).encode())
    for name, value in network.state_dict().items():
        content.update(name.encode() + value.numpy().tobytes())
    return content.hexdigest()
