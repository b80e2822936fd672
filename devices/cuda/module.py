"""A network as it is deployed on a GPU: batch-norm folded, converted, in its memory layout; always a copy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from devices.cuda.mode import CudaMode
from devices.folding import fold_batch_norm

_DTYPES = {"float32": torch.float32, "tf32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_INPUT_SEED = 0


def count_batch_norms(module: nn.Module) -> int:
    """Batch-norm layers that are there, for instance since no convolution precedes them."""
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in module.modules())


def deploy(module: nn.Module, mode: CudaMode, device: torch.device) -> nn.Module:
    """A folded, converted copy of `module` on `device`; folding is done in the module's own precision."""
    ready = fold_batch_norm(module).requires_grad_(False).to(device=device, dtype=_DTYPES[mode.precision])
    if mode.channels_last:
        ready = ready.to(memory_format=torch.channels_last)
    return ready


def random_input(shape: tuple[int, ...], mode: CudaMode, device: torch.device) -> Tensor:
    """Standard normal numbers, never zeros: a GPU's clock depends on how many bits flip."""
    generator = torch.Generator().manual_seed(_INPUT_SEED)
    values = torch.randn(shape, generator=generator).to(device=device, dtype=_DTYPES[mode.precision])
    if mode.channels_last and values.dim() == 4:
        values = values.contiguous(memory_format=torch.channels_last)
    return values


@contextmanager
def arithmetic(mode: CudaMode) -> Iterator[None]:
    """Inside: inference mode, with torch's global switches as `mode` asks; they are put back afterwards.

    TF32 is on for convolutions by default in torch, and off for matrix products; here it is both or none.
    """
    tf32 = mode.precision == "tf32"
    before = torch.get_float32_matmul_precision()
    cudnn = torch.backends.cudnn.flags(
        enabled=True, benchmark=mode.cudnn_benchmark, deterministic=False, allow_tf32=tf32
    )
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        with cudnn, torch.inference_mode():
            yield
    finally:
        torch.set_float32_matmul_precision(before)
