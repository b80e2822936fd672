"""Networks with the weights of a checkpoint that is not the run's: a published one, or a supernet of the user's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from pnag.data.folder import IMAGENET
from pnag.data.photos import load_photos
from pnag.data.split import Normalisation
from pnag.errors import CheckpointError
from pnag.space.architecture import Architecture
from pnag.space.search_space import SearchSpace
from pnag.supernet.evaluation import calibrated_subnet
from pnag.supernet.supernet import Supernet
from profiler.build.modules import Network
from profiler.console import say

IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class GivenWeights:
    """A checkpoint, and the photographs that batch-norm is re-estimated on for each network cut out of it.

    Without photographs networks keep the checkpoint's own statistics. `labels` are the names of the classes, where
    they are known, and `normalisation` what the weights expect of their images.
    """

    supernet: Supernet
    photos: str | None
    normalisation: Normalisation
    labels: Sequence[str] | None
    _batches: dict[int, list[Tensor]] = field(default_factory=dict)

    @classmethod
    def load(cls, checkpoint: Path, space: SearchSpace, photos: str | None, tell: Callable[[str], None] = say) -> Self:
        """Read a checkpoint for networks of a space, and the photographs at its largest resolution.

        Of weights that say nothing of their data, 1,000 classes are taken for ImageNet's. Raises `CheckpointError` for
        another width or number of classes, `DataError`.
        """
        if not checkpoint.is_file():
            raise CheckpointError(f"no checkpoint at {checkpoint}; check the path")
        supernet = Supernet.load(checkpoint, space)
        about, classes = supernet.data, space.classes
        normalisation = Normalisation(tuple(about["mean"]), tuple(about["std"])) if "mean" in about else IMAGENET
        labels = about.get("class_names") or (imagenet_names() if classes == IMAGENET_CLASSES else None)
        given = cls(supernet, photos, normalisation, labels)
        if photos is None:
            tell(
                "batch-norm statistics are the checkpoint's own, which are those of its largest network; give some "
                "hundred photographs with --data to re-estimate them for each network"
            )
        else:
            given.batches(space.resolution)
        return given

    @cached_property
    def sha256(self) -> str:
        """Hash over the checkpoint's tensors."""
        return self.supernet.sha256()

    def batches(self, resolution: int) -> list[Tensor]:
        """The photographs at a resolution, read once."""
        assert self.photos is not None
        if resolution not in self._batches:
            self._batches[resolution] = load_photos(self.photos, resolution, self.normalisation)
        return self._batches[resolution]

    def network(self, architecture: Architecture) -> Network:
        """The network of an architecture in eval mode, with its weights and batch-norm statistics."""
        if self.photos is None:
            network = self.supernet.subnet(architecture)
        else:
            side = architecture.resolution or self.supernet.space.resolution
            network = calibrated_subnet(self.supernet, architecture, self.batches(side))
        return network.to(memory_format=torch.contiguous_format)


def imagenet_names() -> tuple[str, ...]:
    """The names of ImageNet's 1,000 classes in their usual order. Source: torchvision's description of its weights."""
    from torchvision.models import ResNet18_Weights

    names: tuple[str, ...] = tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])
    return names
