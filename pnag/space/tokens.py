"""Architectures as tokens: what learning and search need to know of a space, and no more."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int8]


class TokenSpace(Protocol):
    """The encoding of a space: `SearchSpace` is one.

    An architecture is `length` small integers, unit by unit: the index of the depth, then for each of `layers` layers
    the expand ratio and the kernel, each 0 for an absent layer and 1 + the index of the choice otherwise. Where the
    space has several resolutions, one token more at the end is the index of the resolution. Tokens whose position is a
    multiple of `tokens_per_unit` count from 0: the depths, and this one.
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
    def resolution_choices(self) -> int:
        """How many resolutions there are to choose from; 1 where that goes without saying."""

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


def unit_tokens(space: TokenSpace, tokens: Tokens) -> Tokens:
    """The tokens of the units, shape (n, units, tokens_per_unit); a view."""
    tokens = np.asarray(tokens)
    return tokens[:, : space.units * space.tokens_per_unit].reshape(-1, space.units, space.tokens_per_unit)


def resolution_indices(space: TokenSpace, tokens: Tokens) -> NDArray[np.int64]:
    """Which of the space's resolutions each architecture has, shape (n,); 0 where there is one."""
    if space.resolution_choices == 1:
        return np.zeros(len(tokens), dtype=np.int64)
    return np.asarray(tokens)[:, -1].astype(np.int64)
