"""Both networks of each pair in one session, and another of ours where the first is slower or leaves time unused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from lut.entry import Entry
from lut.table import LatencyTable
from pnag.delivery.beside.pairs import Pair, Together, network_of
from pnag.generator.corrected import Tried, best_of, next_try
from pnag.generator.generate import Candidate, Generator
from profiler.zoo.network import ZooNetwork
from profiler.zoo.report import rows_of

# Measures networks in one session: a table of them.
Session = Callable[[Sequence[ZooNetwork]], LatencyTable]


def closed(pairs: Sequence[Pair], generator: Generator, session: Session, *, attempts: int) -> list[Pair]:
    """The pairs with what both took. Ours is the best of those tried; each measurement corrects the next try's budget.

    A network of ours counts by its latency over the published one's in the same session, so that sessions of different
    speed can be compared.
    """
    tried: dict[int, list[Pair]] = {}
    todo: dict[int, Candidate] = {index: pair.ours for index, pair in enumerate(pairs) if pair.ours is not None}
    for _ in range(max(1, attempts)):
        if not todo:
            break
        asked = {index: replace(pairs[index], ours=candidate) for index, candidate in todo.items()}
        networks = [pair.row.network for pair in asked.values()]
        ours = [network_of(candidate, generator) for candidate in todo.values()]
        measured = [*networks, *{network.name: network for network in ours}.values()]
        rows = {network.name: entry for network, entry in rows_of(session(measured), measured)}
        for index, pair in asked.items():
            tried.setdefault(index, []).append(_with_rows(pair, rows))
        todo = {}
        for index in asked:
            if (further := _next(generator, tried[index])) is not None:
                todo[index] = further
    return [_best(tried[index]) if index in tried else pair for index, pair in enumerate(pairs)]


def _with_rows(pair: Pair, rows: Mapping[str, Entry]) -> Pair:
    assert pair.ours is not None
    theirs, ours = rows[pair.row.network.name], rows[str(pair.ours.architecture)]
    for entry in (theirs, ours):
        if entry.failed:
            return replace(pair, failure=f"{entry.block}: {entry.reason or 'not measured'}")
    together = Together(
        theirs.latency_ms,
        (theirs.ci_low_ms, theirs.ci_high_ms),
        ours.latency_ms,
        (ours.ci_low_ms, ours.ci_high_ms),
    )
    return replace(pair, together=together)


def _tried(made: Sequence[Pair]) -> list[Tried]:
    """What was measured, in shares of the published network's latency, as times beside the budget."""
    return [
        Tried(pair.ours, pair.budget_ms * pair.together.ours_ms / pair.together.theirs_ms)
        for pair in made
        if pair.together is not None and pair.ours is not None
    ]


def _next(generator: Generator, made: Sequence[Pair]) -> Candidate | None:
    """What to try next; None where the last one could not be measured, or nothing is left."""
    return None if made[-1].together is None else next_try(generator, _tried(made))


def _best(made: Sequence[Pair]) -> Pair:
    known = [pair for pair in made if pair.together is not None]
    best = known[best_of(_tried(known))] if known else made[0]
    return replace(best, attempts=len(made))
