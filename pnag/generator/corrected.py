"""An answer corrected by what was measured: the network to try next for a budget, and the best of those tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pnag.errors import InfeasibleBudgetError
from pnag.generator.generate import Candidate, Generator

_USED_ENOUGH = 0.97  # of the budget, as measured: nearer is within what measuring again would change
_GUARD = 0.004  # what a neighbour's error may be beyond the measured one's


@dataclass(frozen=True)
class Tried:
    """A network that was measured for a budget, in ms at the table's speed."""

    candidate: Candidate
    measured_ms: float

    @property
    def kept(self) -> bool:
        """Whether it is within the budget."""
        return self.measured_ms <= self.candidate.budget_ms

    @property
    def residual(self) -> float:
        """How far above its prediction it measured, relative."""
        return self.measured_ms / self.candidate.cost_ms - 1


def next_try(generator: Generator, tried: Sequence[Tried]) -> Candidate | None:
    """The network to measure next for the budget of those `tried`, the last of them the latest; None if none is left.

    The prediction is corrected by the residual of the last one, which is near. There is nothing left to try where a
    network that keeps the budget uses it up, or where the corrected answer was measured before.
    """
    last = tried[-1]
    budget_ms = last.candidate.budget_ms
    if any(one.kept and one.measured_ms >= _USED_ENOUGH * budget_ms for one in tried):
        return None
    residual = last.residual
    if failed := [one.residual for one in tried if not one.kept]:
        residual = max(residual, *failed)
    try:
        found = generator.generate(budget_ms, margin=residual + _GUARD, further=last.candidate.further)
    except InfeasibleBudgetError:
        return None
    known = {one.candidate.architecture for one in tried}
    return None if found.architecture in known else found


def best_of(tried: Sequence[Tried]) -> int:
    """Which of `tried` is the answer: the highest ranked of those that keep the budget, else the nearest to it."""
    kept = [index for index, one in enumerate(tried) if one.kept]
    if kept:
        return max(kept, key=lambda index: (tried[index].candidate.accuracy, -index))
    return min(range(len(tried)), key=lambda index: tried[index].measured_ms)
