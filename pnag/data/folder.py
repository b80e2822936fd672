"""Folders of images too large for memory: read and decoded by workers, batch by batch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from pnag.data.augment import Augmentation, normalise
from pnag.data.sources import hold_out, require_learnable, val_size
from pnag.data.split import Batch, ImageData, Normalisation, Shard, Split, batch_indices
from pnag.errors import DataError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# The statistics that once-for-all's published weights were trained with.
IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

_RESIZE = 1.143  # the usual 256 for a centre crop of 224
_WORKERS = 4
_UNCHANGED = -1
Sample = tuple[Path, int]
Item = tuple[int, int]  # an image's number and its seed, or _UNCHANGED


class _Images:
    """Decoded images by number and seed: a map-style data set for torch's DataLoader."""

    def __init__(self, samples: Sequence[Sample], resolution: int, augmentation: Augmentation) -> None:
        from torchvision.transforms import v2

        self._samples = samples
        area = (augmentation.crop_area, 1.0)
        self._changed = v2.Compose(
            [v2.RandomResizedCrop(resolution, area), v2.RandomHorizontalFlip(0.5 if augmentation.flip else 0.0)]
        )
        self._plain = v2.Compose([v2.Resize(round(resolution * _RESIZE)), v2.CenterCrop(resolution)])

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, item: Item) -> tuple[Tensor, int]:
        import torch
        from PIL import Image

        index, seed = item
        path, label = self._samples[index]
        try:
            image = Image.open(path).convert("RGB")
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(f"image {path} cannot be read; replace or remove it") from error
        if seed == _UNCHANGED:
            out = self._plain(image)
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                out = self._changed(image)
        return torch.from_numpy(np.array(out).transpose(2, 0, 1)), label


@dataclass(frozen=True)
class FolderSplit(Split):
    """Image files and their labels."""

    samples: tuple[Sample, ...]
    resolution: int
    device: torch.device | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def _load(self, batches: Iterator[list[Item]], augmentation: Augmentation) -> Iterator[Batch]:
        import torch
        from torch.utils.data import DataLoader

        device = self.device or torch.device("cpu")
        workers = _WORKERS if len(self) > 10_000 else 0  # starting workers takes longer than reading a few files
        loader: Any = DataLoader(
            _Images(self.samples, self.resolution, augmentation),  # type: ignore[arg-type]
            batch_sampler=batches,
            num_workers=workers,
            pin_memory=device.type == "cuda",
        )
        try:
            for images, labels in loader:
                moved = images.to(device, non_blocking=True)
                yield normalise(moved, IMAGENET.mean, IMAGENET.std), labels.to(device, non_blocking=True)
        except DataError as error:
            raise DataError(
                str(error).strip().rsplit("DataError: ", 1)[-1]
            ) from None  # a worker's comes with its trace

    def batches(self, size: int, *, shard: Shard = (0, 1)) -> Iterator[Batch]:
        """All images once, resized and cropped at the centre."""
        mine = range(shard[0], len(self), shard[1])
        numbers = ([(i, _UNCHANGED) for i in mine[start : start + size]] for start in range(0, len(mine), size))
        return self._load(numbers, Augmentation())

    def stream(
        self, size: int, *, seed: int, start: int, augmentation: Augmentation, shard: Shard = (0, 1)
    ) -> Iterator[Batch]:
        """Endless training batches, cropped and mirrored at random."""

        def numbers() -> Iterator[list[Item]]:
            number = start
            while True:
                index, own_seed = batch_indices(len(self), size, seed, number, shard)
                yield [(i, own_seed + position) for position, i in enumerate(index)]
                number += 1

        return self._load(numbers(), augmentation)

    def sample(self, n: int, seed: int) -> Tensor:
        """Up to `n` images."""
        import torch

        index = np.random.default_rng(seed).permutation(len(self))[:n].tolist()
        return torch.cat([images for images, _ in self._load(iter([[(i, _UNCHANGED) for i in index]]), Augmentation())])

    def to(self, device: torch.device) -> Self:
        """The split with its batches moved to a device."""
        return replace(self, device=device)


def image_folder(folder: Path, resolution: int, seed: int) -> ImageData:
    """DIR/train/CLASS/*, of which `val` is held out, and DIR/test or, without it, DIR/val to test on."""
    if not folder.is_dir():
        raise DataError(f"no folder {folder}; imagefolder:DIR needs DIR/train/CLASS/ and DIR/val/CLASS/ with images")
    name = f"imagefolder:{folder.resolve().name}"
    class_names, train = _scan(folder / "train")
    test_names, test = _scan(folder / "test" if (folder / "test").is_dir() else folder / "val")
    if test_names != class_names:
        odd = sorted(set(test_names) ^ set(class_names))[0]
        raise DataError(f"class '{odd}' of {folder} is not in both the training and the test folder; give it in both")
    labels = np.array([label for _, label in train], np.int64)
    require_learnable(name, class_names, labels)
    kept, val = hold_out(labels, max(1, val_size(len(labels))), seed)
    parts = (tuple(train[i] for i in kept), tuple(train[i] for i in val), tuple(test))
    digest = hashlib.sha256()
    for part in parts:
        digest.update("".join(f"{p.relative_to(folder)} {p.stat().st_size}\n" for p, _ in part).encode() + b"\n")
    kept_split, val_split, test_split = (FolderSplit(part, resolution) for part in parts)
    return ImageData(name, resolution, class_names, IMAGENET, kept_split, val_split, test_split, digest.hexdigest())


def _scan(folder: Path) -> tuple[tuple[str, ...], list[Sample]]:
    from torchvision.datasets import ImageFolder

    try:
        found = ImageFolder(str(folder), allow_empty=False)
    except (FileNotFoundError, NotADirectoryError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{folder} is not a folder of classes with images ({reason}); see imagefolder:DIR") from error
    return tuple(found.classes), [(Path(path), label) for path, label in found.samples]
