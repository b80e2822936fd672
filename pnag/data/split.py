"""What a data set is: images split into train, validation and test, served in batches."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from pnag.data.augment import Augmentation, augment, normalise, scaled
from pnag.errors import DataError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Batch = tuple["Tensor", "Tensor"]  # float images (B, 3, R, R) normalised, channels last in memory; labels (B,) int64
Labels = NDArray[np.int64]  # (n,)
SplitName = Literal["train", "val", "test"]
Shard = tuple[int, int]  # this process's number and how many there are


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each channel of images in 0 … 1; networks see (image - mean) / std."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class Split(ABC):
    """Part of a data set."""

    @abstractmethod
    def __len__(self) -> int:
        """How many images."""

    @abstractmethod
    def batches(self, size: int) -> Iterator[Batch]:
        """All images once, in a fixed order, as they are."""

    @abstractmethod
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
        """Endless augmented training batches from number `start` on; number and seed decide all that is random.

        `size` counts the images of all shards together. An epoch's incomplete last batch is left out. Of several
        `sides` each batch has one, drawn at random, the same in all shards.
        """

    @abstractmethod
    def sample(self, n: int, seed: int) -> Tensor:
        """Up to `n` images as they are, the same for a seed, for batch-norm statistics; (n, 3, R, R)."""

    @abstractmethod
    def to(self, device: torch.device) -> Self:
        """The split with its batches on a device."""

    @abstractmethod
    def at(self, side: int) -> Self:
        """The split with images of that side."""

    @abstractmethod
    def few(self, most: int | None) -> Self:
        """So many of the images at most, spread over the split; all of them for None."""

    @property
    @abstractmethod
    def bytes_to_keep(self) -> int:
        """How much memory `kept` takes beyond what the split holds already."""

    @abstractmethod
    def kept(self) -> Split:
        """The same images in memory, decoded; serves the same batches."""

    def steps_per_epoch(self, size: int) -> int:
        """Training batches of `size` in which each image is seen about once."""
        return max(1, len(self) // size)


def batch_indices(length: int, size: int, seed: int, number: int, shard: Shard) -> tuple[list[int], int]:
    """Images of training batch `number`, and the seed of what else is random in it."""
    per_epoch = max(1, length // size)
    epoch, position = divmod(number, per_epoch)
    order = np.random.default_rng([seed, epoch]).permutation(length)
    mine = order[position * size : (position + 1) * size][shard[0] :: shard[1]]
    return mine.tolist(), int(np.random.SeedSequence([seed, number, shard[0]]).generate_state(1)[0])


def spread_over(length: int, most: int | None) -> list[int]:
    """At most that many of the numbers below `length`, evenly spread; all of them for None."""
    if most is None or most >= length:
        return list(range(length))
    return [int(place) for place in (np.arange(most) + 0.5) * length / most]


def side_of_batch(sides: Sequence[int], seed: int, number: int) -> int | None:
    """The side of training batch `number`: one of `sides`, at random; None where there is no choice."""
    return int(np.random.default_rng([seed, number, len(sides)]).choice(sides)) if sides else None


@dataclass(frozen=True)
class TensorSplit(Split):
    """Images held in memory: `images` uint8 of shape (n, 3, R, R), `labels` int64 of shape (n,).

    Batches have images of `side` where it is given: they are scaled as they are needed.
    """

    images: Tensor
    labels: Tensor
    normalisation: Normalisation
    side: int | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def _normalised(self, images: Tensor, side: int | None = None) -> Tensor:
        images = scaled(images, side or self.side or images.shape[-1])
        return normalise(images, self.normalisation.mean, self.normalisation.std)

    def batches(self, size: int) -> Iterator[Batch]:
        """All images once, in order."""
        for start in range(0, len(self), size):
            yield self._normalised(self.images[start : start + size]), self.labels[start : start + size]

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
        """Endless augmented training batches; the augmentation is computed where the images are."""
        number = start
        while True:
            index, own_seed = batch_indices(len(self), size, seed, number, shard)
            images = self._normalised(self.images[index], side_of_batch(sides, seed, number))
            yield augment(images, augmentation, own_seed), self.labels[index]
            number += 1

    def sample(self, n: int, seed: int) -> Tensor:
        """Up to `n` images."""
        index = np.random.default_rng(seed).permutation(len(self))[:n]
        return self._normalised(self.images[index.tolist()])

    def to(self, device: torch.device) -> Self:
        """A copy on a device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def at(self, side: int) -> Self:
        """The same images, scaled to that side."""
        return replace(self, side=side)

    def few(self, most: int | None) -> Self:
        """At most `most` of the images, evenly spread; all of them for None."""
        rows = spread_over(len(self), most)
        return self if len(rows) == len(self) else replace(self, images=self.images[rows], labels=self.labels[rows])

    @property
    def bytes_to_keep(self) -> int:
        """0: they are in memory."""
        return 0

    def kept(self) -> Self:
        """The split itself."""
        return self


@dataclass(frozen=True)
class ImageData:
    """A data set: its splits, what its classes are called, how its images are normalised, what it is.

    `sha256` identifies the content of all splits, images and labels. `val` is held out from training.
    """

    name: str
    resolution: int
    class_names: tuple[str, ...]
    normalisation: Normalisation
    train: Split
    val: Split
    test: Split
    sha256: str

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    def identity(self) -> dict[str, Any]:
        """What metadata of supernets, archives and exported networks say about the data."""
        return {
            "name": self.name,
            "resolution": self.resolution,
            "classes": self.classes,
            "class_names": list(self.class_names),
            "mean": list(self.normalisation.mean),
            "std": list(self.normalisation.std),
            "train": len(self.train),
            "val": len(self.val),
            "test": len(self.test),
            "sha256": self.sha256,
        }

    def split(self, name: SplitName) -> Split:
        """A split by name."""
        splits: dict[SplitName, Split] = {"train": self.train, "val": self.val, "test": self.test}
        return splits[name]

    def to(self, device: torch.device) -> Self:
        """The data set with its batches on a device."""
        return replace(self, train=self.train.to(device), val=self.val.to(device), test=self.test.to(device))

    def at(self, side: int | None) -> Self:
        """The data set with images of that side; as it is for None, and for its own."""
        if side is None or side == self.resolution:
            return self
        train, val, test = (split.at(side) for split in (self.train, self.val, self.test))
        return replace(self, resolution=side, train=train, val=val, test=test)


def hash_arrays(*arrays: np.ndarray[Any, Any]) -> str:
    """Hash over shapes and contents."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape} {array.dtype}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def hold_out(labels: Labels, n: int, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices that stay and `n` indices that are held out, with the classes in proportion, both in order."""
    order = np.random.default_rng(seed).permutation(len(labels))
    rank = np.empty(len(labels))
    for label in np.unique(labels):
        members = order[labels[order] == label]
        rank[members] = (np.arange(len(members)) + 0.5) / len(members)
    by_rank = np.lexsort((order, rank))
    return np.sort(by_rank[n:]), np.sort(by_rank[:n])


def val_size(train: int) -> int:
    """How many training images are held out: a tenth, 10,000 at most."""
    return min(10_000, train // 10)


def require_learnable(name: str, class_names: Sequence[str], labels: Labels) -> None:
    """Raise `DataError` for fewer than two classes among the training labels, or labels out of range."""
    found = np.unique(labels)
    if len(found) < 2:
        raise DataError(f"data set {name} has {len(found)} class to train on; give at least 2")
    if found[0] < 0 or found[-1] >= len(class_names):
        bad = found[0] if found[0] < 0 else found[-1]
        raise DataError(f"data set {name} has label {bad}; labels go from 0 to {len(class_names) - 1}")
