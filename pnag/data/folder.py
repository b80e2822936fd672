"""Folders of images too large for memory: read and decoded by workers, batch by batch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from lut.words import class_name, printable
from pnag.data import imagenet
from pnag.data.augment import Augmentation, normalise
from pnag.data.decode import decode, quietly
from pnag.data.names import Tell, tell_left_out
from pnag.data.scan import Part, find_parts
from pnag.data.sound import require_sound
from pnag.data.split import (
    Batch,
    ImageData,
    Normalisation,
    Shard,
    Split,
    TensorSplit,
    batch_indices,
    hold_out,
    require_learnable,
    side_of_batch,
    spread_over,
    val_size,
)
from pnag.errors import DataError

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import Tensor

# The statistics that once-for-all's published weights were trained with.
IMAGENET = Normalisation(imagenet.MEAN, imagenet.STD)

_RESIZE = 1.143  # the usual 256 for a centre crop of 224
_WORKERS = 4
_UNCHANGED = -1
_KEPT_AT_ONCE = 100
Sample = tuple[Path, int]
Item = tuple[int, int, int]  # an image's number, its seed, or _UNCHANGED, and its side


class _Images:
    """Decoded images by number, seed and side: a map-style data set for torch's DataLoader."""

    def __init__(self, samples: Sequence[Sample], augmentation: Augmentation) -> None:
        self._samples, self._augmentation = samples, augmentation

    def _changed(self, image: Image, side: int) -> Image:
        from torchvision.transforms import v2

        crop = v2.RandomResizedCrop(side, (self._augmentation.crop_area, 1.0))
        changed: Image = v2.Compose([crop, v2.RandomHorizontalFlip(0.5 if self._augmentation.flip else 0.0)])(image)
        return changed

    @staticmethod
    def _plain(image: Image, side: int) -> Image:
        from torchvision.transforms import v2

        plain: Image = v2.Compose([v2.Resize(round(side * _RESIZE)), v2.CenterCrop(side)])(image)
        return plain

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, item: Item) -> tuple[Tensor, int]:
        import torch

        index, seed, side = item
        path, label = self._samples[index]
        with quietly():
            image = decode(path, printable(path, 400))
        if seed == _UNCHANGED:
            out = self._plain(image, side)
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                out = self._changed(image, side)
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
        for images, labels in self._pixels(batches, augmentation):
            yield normalise(images, IMAGENET.mean, IMAGENET.std), labels

    def _pixels(self, batches: Iterator[list[Item]], augmentation: Augmentation) -> Iterator[Batch]:
        """The images as uint8, and the labels, on the device."""
        import torch
        from torch.utils.data import DataLoader

        device = self.device or torch.device("cpu")
        workers = _WORKERS if len(self) > 10_000 else 0  # starting workers takes longer than reading a few files
        loader: Any = DataLoader(
            _Images(self.samples, augmentation),  # type: ignore[arg-type]
            batch_sampler=batches,
            num_workers=workers,
            pin_memory=device.type == "cuda",
        )
        try:
            for images, labels in loader:
                yield images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        except DataError as error:
            raise DataError(
                str(error).strip().rsplit("DataError: ", 1)[-1]
            ) from None  # a worker's comes with its trace

    def batches(self, size: int) -> Iterator[Batch]:
        """All images once, resized and cropped at the centre."""
        return self._load(self._in_order(size), Augmentation())

    def _in_order(self, size: int) -> Iterator[list[Item]]:
        every, side = range(len(self)), self.resolution
        return ([(i, _UNCHANGED, side) for i in every[start : start + size]] for start in range(0, len(self), size))

    def stream(
        self,
        size: int,
        *,
        seed: int,
        start: int,
        augmentation: Augmentation,
        shard: Shard = (0, 1),
        sides: Sequence[int] = (),
    ) -> Iterator[Batch]:
        """Endless training batches, cropped and mirrored at random."""

        def numbers() -> Iterator[list[Item]]:
            number = start
            while True:
                index, own_seed = batch_indices(len(self), size, seed, number, shard)
                side = side_of_batch(sides, seed, number) or self.resolution
                yield [(i, own_seed + position, side) for position, i in enumerate(index)]
                number += 1

        return self._load(numbers(), augmentation)

    def sample(self, n: int, seed: int) -> Tensor:
        """Up to `n` images."""
        import torch

        index = np.random.default_rng(seed).permutation(len(self))[:n].tolist()
        items: list[Item] = [(i, _UNCHANGED, self.resolution) for i in index]
        return torch.cat([images for images, _ in self._load(iter([items]), Augmentation())])

    def to(self, device: torch.device) -> Self:
        """The split with its batches moved to a device."""
        return replace(self, device=device)

    def at(self, side: int) -> Self:
        """The same files, read at that side."""
        return replace(self, resolution=side)

    def few(self, most: int | None) -> Self:
        """At most `most` of the files, evenly spread; all of them for None."""
        return replace(self, samples=tuple(self.samples[i] for i in spread_over(len(self), most)))

    @property
    def bytes_to_keep(self) -> int:
        """Three bytes a pixel."""
        return len(self) * 3 * self.resolution**2

    def kept(self) -> TensorSplit:
        """Each file decoded once, resized and cropped at the centre."""
        import torch

        parts = list(self._pixels(self._in_order(_KEPT_AT_ONCE), Augmentation()))
        images, labels = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        return TensorSplit(images, labels, IMAGENET)


def image_folder(folder: Path, resolution: int, seed: int, tell: Tell) -> ImageData:
    """A training part with a folder for each class, of which `val` is held out, and a part to test on.

    The parts have the names that `part_of` knows and lie in `folder` or one folder deeper. Tested is on the test
    part, or on the validation part where there is no labelled test part. What is no picture by its name is left
    out. Raises `DataError` for parts or classes that do not fit, and names all pictures that cannot be read.
    """
    if not folder.is_dir():
        raise DataError(
            f"no folder {printable(folder)}; imagefolder:DIR needs DIR/train/CLASS/ and DIR/val/CLASS/ with images"
        )
    name = f"imagefolder:{printable(folder.resolve().name)}"
    train, test = find_parts(folder, tell)
    tell_left_out([*train.left_out, *test.left_out], folder, tell)
    class_names = _class_names(train, tell)
    samples = [
        [(path, label) for label, paths in enumerate(part.classes.values()) for path in paths] for part in (train, test)
    ]
    labels = np.array([label for _, label in samples[0]], np.int64)
    require_learnable(name, class_names, labels)
    require_sound([path for part in samples for path, _ in part], len(samples[0]))
    kept, val = hold_out(labels, max(1, val_size(len(labels))), seed)
    parts = (tuple(samples[0][i] for i in kept), tuple(samples[0][i] for i in val), tuple(samples[1]))
    digest = hashlib.sha256()
    for part in parts:
        lines = (os.fsencode(p.relative_to(folder)) + f" {p.stat().st_size}\n".encode() for p, _ in part)
        digest.update(b"".join(lines) + b"\n")
    kept_split, val_split, test_split = (FolderSplit(part, resolution) for part in parts)
    return ImageData(name, resolution, class_names, IMAGENET, kept_split, val_split, test_split, digest.hexdigest())


def _class_names(train: Part, tell: Tell) -> tuple[str, ...]:
    """The names of the class folders as text for JSON and lists of labels."""
    names = tuple(class_name(name) for name in train.classes)
    changed = [name for name, folder in zip(names, train.classes, strict=True) if name != folder]
    if len(set(names)) < len(names):
        raise DataError(f"two classes are named {changed[0]} once their names are made printable; rename one folder")
    if changed:
        tell(f"{len(changed)} class names cannot be written as they are and are written as {', '.join(changed[:4])}")
    return names
