"""Normalisation and augmentation of whole batches, as tensors on any device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """How far training images are changed at random, each within its limit.

    `shift` is a share of the side, `rotate_deg` an angle, `scale` a share of the size, `cutout` the side of a
    square of zeros as a share of the side, `flip` mirrors half of the images. Folders of large images are
    cropped to a share of at least `crop_area` of their area when they are read, and only flipped otherwise.
    """

    shift: float = 0.0
    rotate_deg: float = 0.0
    scale: float = 0.0
    flip: bool = False
    cutout: float = 0.0
    crop_area: float = 0.25


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(image / 255 - mean) / std of uint8 images (B, 3, H, W), channels last in memory."""
    centre = torch.tensor(mean, device=images.device).view(1, 3, 1, 1)
    spread = torch.tensor(std, device=images.device).view(1, 3, 1, 1)
    floats = images.to(torch.float32, memory_format=torch.channels_last)
    return (floats / 255 - centre) / spread


def scaled(images: Tensor, side: int) -> Tensor:
    """Uint8 images (B, 3, H, H) at another side, as a picture library makes pictures smaller: bicubic, antialiased."""
    if images.shape[-1] == side:
        return images
    floats = F.interpolate(images.float(), size=(side, side), mode="bicubic", antialias=True, align_corners=False)
    return floats.round().clamp(0, 255).to(torch.uint8)


def augment(images: Tensor, limits: Augmentation, seed: int) -> Tensor:
    """A changed copy of normalised images (B, 3, H, W); beyond an image's edge is its channels' mean, 0."""
    generator = torch.Generator().manual_seed(seed)
    batch, _, side, _ = images.shape

    def uniform(limit: float) -> Tensor:
        return (torch.rand(batch, generator=generator) * 2 - 1) * limit

    angle, size = uniform(math.radians(limits.rotate_deg)), 1 + uniform(limits.scale)
    mirror = 1 - 2 * (uniform(1) < 0).float() * float(limits.flip)
    # Shifts are whole pixels: images that are only shifted and mirrored are not blurred.
    right, down = ((uniform(limits.shift) * side).round() * 2 / side for _ in range(2))
    cos, sin = angle.cos() * size, angle.sin() * size
    rows = (torch.stack((cos * mirror, -sin, right), 1), torch.stack((sin * mirror, cos, down), 1))
    theta = torch.stack(rows, 1).to(images.device)  # (B, 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    changed = F.grid_sample(images, grid, align_corners=False).contiguous(memory_format=torch.channels_last)
    if limits.cutout:
        hole = max(1, round(limits.cutout * side))
        corners = torch.randint(1 - hole // 2, side - hole // 2, (2, batch, 1), generator=generator)
        along = torch.arange(side)
        inside = (along >= corners) & (along < corners + hole)  # (2, B, side)
        keep = ~(inside[0, :, None, :, None] & inside[1, :, None, None, :])  # (B, 1, H, W)
        changed = changed * keep.to(images.device)
    return changed
