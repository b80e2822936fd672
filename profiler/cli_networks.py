"""Which networks of a space are measured whole: spread over its whole range of sizes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lut.entry import Role
from pnag.space.cost import CostModel
from pnag.space.search_space import SearchSpace, Tokens
from profiler.measure.plan import Unit, spread

_CANDIDATES = 4000
_TILT = 4.0


def sample_units(space: SearchSpace, calibrate: int, holdout: int, seed: int) -> tuple[Unit, ...]:
    """Units of `calibrate` networks, the smallest and the largest of the space among them, and `holdout` others.

    Both sets are spread evenly over the range of MACs.
    """
    rng = np.random.default_rng(seed)
    smallest, largest = space.extremes()
    drawn = _tilted(space, _CANDIDATES, rng)
    tokens = np.unique(np.concatenate([space.encode([smallest, largest]), drawn]), axis=0)
    macs = _macs_model(space)(tokens)
    ours = np.array(spread(macs.tolist(), calibrate), dtype=int)
    inner = np.setdiff1d(np.arange(len(tokens)), [*ours, macs.argmin(), macs.argmax()])
    others = inner[spread(macs[inner].tolist(), holdout)]
    chosen: tuple[tuple[Role, Tokens], ...] = (("calibration", tokens[ours]), ("holdout", tokens[others]))
    return tuple(
        Unit(role, str(architecture), space.decompose(architecture))
        for role, encoded in chosen
        for architecture in space.decode(encoded)
    )


def _macs_model(space: SearchSpace) -> CostModel:
    """MACs of encoded architectures, by the same look-up as their cost."""
    layers = [
        [[[space.layer_block(u, layer, k, e).macs for k in space.kernels] for e in space.expands] for layer in (0, 1)]
        for u in range(space.units)
    ]
    fixed = space.stem.macs + space.first.macs + space.head.macs
    return CostModel(space, float(fixed), np.array(layers, dtype=float))


def _tilted(space: SearchSpace, n: int, rng: np.random.Generator) -> Tokens:
    """Random architectures, each with a leaning of its own towards small or large choices; (n, length).

    Uniform choices would nearly all give networks of middle size.
    """
    choices = np.array(space.token_choices)
    offset = np.ones(space.length, dtype=np.int8)
    offset[:: space.tokens_per_unit] = 0
    lean: NDArray[np.float64] = rng.uniform(-_TILT, _TILT, (n, 1)) + rng.standard_normal((n, space.length))
    tokens = np.empty((n, space.length), dtype=np.int8)
    for count in np.unique(choices):
        columns = np.flatnonzero(choices == count)
        size = np.arange(count) / max(1, count - 1)  # (count,)
        score = lean[:, columns, None] * size + rng.gumbel(size=(n, len(columns), int(count)))
        tokens[:, columns] = score.argmax(2)
    return space.canonical(tokens + offset)
