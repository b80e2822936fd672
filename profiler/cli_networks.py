"""Which networks of a space are measured whole: spread over its whole range of sizes."""

from __future__ import annotations

import numpy as np

from lut.entry import Role
from pnag.space.sampling import sample_tilted
from pnag.space.search_space import SearchSpace
from pnag.space.tokens import Tokens
from profiler.measure.plan import Unit, spread

_CANDIDATES = 4000


def sample_units(space: SearchSpace, calibrate: int, holdout: int, seed: int) -> tuple[Unit, ...]:
    """Units of `calibrate` networks, the smallest and the largest of the space among them, and `holdout` others.

    Both sets are spread evenly over the range of MACs.
    """
    rng = np.random.default_rng(seed)
    smallest, largest = space.extremes()
    drawn = sample_tilted(space, _CANDIDATES, rng)
    tokens = np.unique(np.concatenate([space.encode([smallest, largest]), drawn]), axis=0)
    macs = space.macs_model()(tokens)
    ours = np.array(spread(macs.tolist(), calibrate), dtype=int)
    inner = np.setdiff1d(np.arange(len(tokens)), [*ours, macs.argmin(), macs.argmax()])
    others = inner[spread(macs[inner].tolist(), holdout)]
    chosen: tuple[tuple[Role, Tokens], ...] = (("calibration", tokens[ours]), ("holdout", tokens[others]))
    return tuple(
        Unit(role, str(architecture), space.decompose(architecture))
        for role, encoded in chosen
        for architecture in space.decode(encoded)
    )
