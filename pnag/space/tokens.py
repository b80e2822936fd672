"""Architectures as tokens: what learning and search need to know of a space, and no more."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int8]


class TokenSpace(Protocol):
    """The encoding of a space: `SearchSpace` is one.

    An architecture is `length` small integers, unit by unit: the index of the depth, then for each of `layers` layers
    the expand ratio and the kernel, each 0 for an absent layer and 1 + the index of the choice otherwise.
    """

    @property
    def name(self) -> str:
        """The space's name, for messages."""

    @property
    def depths(self) -> tuple[int, ...]:
        """How many layers a unit may have."""

    @property
    def kernels(self) -> tuple[int, ...]:
        """Kernel sizes to choose from."""

    @property
    def expands(self) -> tuple[int, ...]:
        """Expand ratios to choose from."""

    @property
    def units(self) -> int:
        """How many units of layers there are."""

    @property
    def layers(self) -> int:
        """The most layers a unit may have."""

    @property
    def tokens_per_unit(self) -> int:
        """One depth, then an expand ratio and a kernel for each layer."""

    @property
    def length(self) -> int:
        """Tokens of one encoded architecture."""

    @property
    def token_choices(self) -> tuple[int, ...]:
        """How many choices each token has when its layer is present; shape (length,)."""

    def canonical(self, tokens: Tokens) -> Tokens:
        """A copy with the tokens of absent layers set to 0; present layers keep theirs, at least 1."""

    def sample(self, n: int, rng: np.random.Generator) -> Tokens:
        """`n` architectures with every choice uniform, encoded; shape (n, length)."""
