"""What a session of `pnag-profile` measures, and what becomes of it: a table of a space, unless it is the zoo.

Networks that are measured whole are spread over the whole range of a space's sizes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from devices.backend import ArtefactFormat
from lut.entry import Role
from lut.table import LatencyTable
from pnag.space.sampling import sample_tilted
from pnag.space.search_space import SearchSpace
from pnag.space.tokens import Tokens
from profiler.build.artefacts import Ahead, ArtefactFactory, NetworkFactory, ahead_of
from profiler.measure.journal import Journal
from profiler.measure.plan import Unit, block_units, spread
from profiler.refit import save_visits, visits_path
from profiler.report import document, summary
from profiler.saving import save_unless_worse

_CANDIDATES = 4000


def _as_it_is(factory: NetworkFactory) -> ArtefactFactory:
    return factory


@dataclass(frozen=True)
class Plan:
    """What a session measures, in `words` too, and what becomes of it.

    `save` writes the result, `document` and `summary` tell of it (the file's path and the seconds beside it). `factory`
    makes the units' artefacts by the format's own factory, `ahead` many of that one's at once.
    """

    units: tuple[Unit, ...]
    space: Mapping[str, Any]
    resolution: int
    classes: int
    words: str
    save: Callable[[LatencyTable, Path, Journal], None]
    document: Callable[[LatencyTable, Path, float], dict[str, Any]] = document
    summary: Callable[[LatencyTable, Path, float], str] = summary
    factory: Callable[[NetworkFactory], ArtefactFactory] = _as_it_is
    ahead: Callable[[ArtefactFormat, NetworkFactory], Ahead | None] = ahead_of


def table_plan(space: SearchSpace, calibrate: int, holdout: int, seed: int) -> Plan:
    """Every block of a space, and some whole networks; a latency table."""
    units = (*block_units(space.blocks()), *sample_units(space, calibrate, holdout, seed))
    count = Counter(unit.role for unit in units)  # a small space has fewer networks than were asked for
    words = f"{count['block']} blocks, {count['calibration']} + {count['holdout']} networks"
    return Plan(units, space.to_dict(), space.resolution, space.classes, words, _save_table)


def _save_table(table: LatencyTable, out: Path, journal: Journal) -> None:
    save_unless_worse(table, out)
    save_visits(visits_path(out), table.metadata.created, journal.everything)


def sample_units(space: SearchSpace, calibrate: int, holdout: int, seed: int) -> tuple[Unit, ...]:
    """Units of `calibrate` networks, the smallest and the largest of the space among them, and `holdout` others.

    Both sets are spread evenly over the range of MACs.
    """
    if calibrate + holdout == 0:
        return ()
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
