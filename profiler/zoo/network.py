"""A network of the zoo: what is said of it in print, and how it is made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any

from lut.blocks import BlockSpec
from profiler.errors import ExportError, ProfilerError

if TYPE_CHECKING:
    from torch import nn

TORCHVISION = "torchvision"


class ZooError(ProfilerError):
    """A network is not in the zoo, a file is none of the zoo's, or it does not fit what it is to stand beside."""

    exit_code = 2


@dataclass(frozen=True)
class ZooNetwork:
    """A published network for images of side `resolution`. Accuracies are fractions.

    It is made of `blocks`, or by torchvision's function `builder`; one of both is there. `top1` is the published top-1
    accuracy on ImageNet, and `retrained_top1` what the same network reached in print with a later recipe. `published`
    holds what else its authors state: `macs`, `latency_ms`, `measured_on`.
    """

    name: str
    source: str
    resolution: int
    top1: float | None = None
    retrained_top1: float | None = None
    blocks: tuple[BlockSpec, ...] = ()
    builder: str = ""
    architecture: str = ""
    space: str = ""
    published: Mapping[str, Any] | None = None

    @cached_property
    def counted(self) -> tuple[int, int] | tuple[None, None]:
        """Multiply-accumulates of one image over convolution and linear layers, and parameters.

        None where torchvision cannot make the network.
        """
        if self.blocks:
            return sum(spec.macs for spec in self.blocks), sum(spec.params for spec in self.blocks)
        try:
            return _count(self)
        except ExportError:
            return None, None

    @property
    def image(self) -> tuple[int, int, int]:
        """Channels, height and width of what it takes."""
        return (3, self.resolution, self.resolution)

    def module(self) -> nn.Module:
        """The network by torchvision, with the weights that its layers begin with; nothing is downloaded.

        Raises `ExportError` where torchvision cannot make it.
        """
        try:
            made: nn.Module = torchvision_models().get_model(self.builder, weights=None)
        except ZooError:
            raise
        except Exception as error:  # whatever a version of torchvision raises
            raise ExportError(f"torchvision cannot make {self.builder}: {error}") from error
        return made


def torchvision_models() -> Any:
    """The module `torchvision.models`. Raises `ZooError` where it is not installed, or does not fit torch."""
    try:
        from torchvision import models
    except (ImportError, RuntimeError) as error:
        raise ZooError(
            f"torchvision cannot be imported ({error}); pip install torchvision, or leave its networks out with "
            "--zoo-only 'PNAG,once-for-all'"
        ) from error
    return models


def _count(network: ZooNetwork) -> tuple[int, int]:
    """MACs and parameters of a network by torchvision, from shapes alone."""
    import torch

    macs = 0

    def add(layer: nn.Module, _: Any, output: Any) -> None:
        nonlocal macs
        weight: torch.Tensor = layer.weight  # type: ignore[assignment]
        macs += output[0].numel() * prod(weight.shape[1:])

    module = network.module().eval().to("meta")
    with _hooked(module, add), torch.no_grad():
        module(torch.empty(1, *network.image, device="meta"))
    return macs, sum(parameter.numel() for parameter in module.parameters())


@contextmanager
def _hooked(module: nn.Module, add: Any) -> Iterator[None]:
    from torch import nn

    layers = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(add) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
