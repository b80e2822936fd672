"""Which network of ours stands beside which published one, and which of the two is better."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lut.table import LatencyTable
from pnag.delivery.frontier import never_worse
from pnag.generator.generate import Candidate, Generator
from pnag.search.limits import Limit
from profiler.zoo.file import Zoo, ZooRow
from profiler.zoo.network import ZooError, ZooNetwork
from profiler.zoo.speed import Speed


@dataclass(frozen=True)
class Together:
    """What both networks of a pair took in one session, in ms, with intervals (95 %)."""

    theirs_ms: float
    theirs_interval_ms: tuple[float, float]
    ours_ms: float
    ours_interval_ms: tuple[float, float]


@dataclass(frozen=True)
class Pair:
    """A published network and ours; `ours` is None where no network of the run is as quick.

    `budget_ms` is the published network's latency at the table's speed. `together` is there once both were measured, of
    `attempts` networks of ours.
    """

    row: ZooRow
    budget_ms: float
    ours: Candidate | None
    together: Together | None = None
    attempts: int = 0
    failure: str = ""

    @property
    def at_most_as_slow(self) -> bool | None:
        """As measured in one session; None without one: then ours is predicted to be."""
        return None if self.together is None else self.together.ours_ms <= self.together.theirs_ms


def device_of(zoo: Zoo, table: LatencyTable, *, allow_mismatch: bool) -> str | None:
    """In what the zoo was measured unlike the table, if that was allowed; None where nothing is unlike.

    Raises `ZooError` for a zoo of another device, runtime or batch.
    """
    said = zoo.unlike(table.metadata)
    if said is not None and not allow_mismatch:
        raise ZooError(
            f"{zoo.path} is of {zoo.device.model}: {said}; measure the zoo as the run's table was, or say "
            "--allow-mismatch"
        )
    return said


def paired(
    generator: Generator,
    zoo: Zoo,
    speed: Speed,
    *,
    confidence: float,
    candidates: int,
    seed: int,
    further: Sequence[Limit] = (),
) -> list[Pair]:
    """A pair for each network of the zoo that was measured and has an accuracy in print, from the quickest on.

    Each latency, at the table's speed, is the budget of ours, and a slower one never gets a worse network. Raises
    `ZooError` where no network is left, and `InfeasibleBudgetError` where no network keeps the `further` limits too.
    """
    rows = [row for row in zoo.rows if row.latency_ms is not None and row.network.top1 is not None]
    if not rows:
        raise ZooError(f"no network in {zoo.path} has both a latency and an accuracy in print; measure the zoo again")
    pairs = [Pair(row, (row.latency_ms or math.nan) / (1 + speed.slowdown), None) for row in rows]
    pairs.sort(key=lambda pair: pair.budget_ms)
    least = generator.budgets_ms(confidence)[0]
    asked = [pair for pair in pairs if pair.budget_ms >= least]
    found = generator.generate_many(
        [pair.budget_ms for pair in asked], confidence=confidence, candidates=candidates, seed=seed, further=further
    )
    answers = iter(never_worse(found) if found else [])
    return [replace(pair, ours=next(answers)) if pair.budget_ms >= least else pair for pair in pairs]


def network_of(candidate: Candidate, generator: Generator) -> ZooNetwork:
    """A network of ours as one that a session over the zoo takes."""
    space, alone = generator.space.alone(candidate.architecture)
    return ZooNetwork(
        str(candidate.architecture), "ours", space.resolution, blocks=space.decompose(alone), space=space.name
    )
