"""Batch-norm taken into the convolutions before it, as in any deployed network; always a copy."""

from __future__ import annotations

import copy
from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norm(module: nn.Module) -> nn.Module:
    """A copy in eval mode in which each convolution has taken in the batch-norm that follows it.

    Followed means: next to it in an `nn.Sequential`. The names of the other parts stay.
    """
    return _fold(copy.deepcopy(module).eval())


def _fold(module: nn.Module) -> nn.Module:
    if isinstance(module, nn.Sequential):
        _fold_sequential(module)
    for child in module.children():
        _fold(child)
    return module


def _fold_sequential(sequence: nn.Sequential) -> None:
    parts = dict(sequence.named_children())
    names = list(parts)
    for name, following in pairwise(names):
        conv, norm = parts[name], parts[following]
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(sequence, name, fuse_conv_bn_eval(conv, norm))
            delattr(sequence, following)
