"""How a budget became a network, and where its time goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pnag.generator.generate import Candidate, Generator
from pnag.search.prices import costs_by_unit

_STARTS = {
    "drawn": "one that was drawn",
    "known": "one known from the training",
    "crossed": "a crossing of refined ones",
    "cheapest": "the cheapest network",
}


def explanation(candidate: Candidate, generator: Generator) -> dict[str, Any]:
    """How a budget became a network, and where its time goes, for a program; times in ms.

    `drawn`, `kept`, `exchanges` and `start` are those of `pnag.generator.answering.Origin`, None of a method that only
    picks among known networks. `shared_ms` is what all networks cost, `units_ms` what the layers of each unit add.
    """
    shared, *units = costs_by_unit(generator.costs, generator.space.encode([candidate.architecture]))[0].tolist()
    origin = candidate.origin
    return {
        "margin": candidate.margin,
        "limit_ms": candidate.limit_ms,
        "drawn": origin and origin.drawn,
        "kept": origin and origin.kept,
        "exchanges": origin and origin.exchanges,
        "start": origin and origin.start,
        "shared_ms": shared,
        "units_ms": units,
    }


def explanation_text(told: Mapping[str, Any], budget_ms: float, cost_ms: float) -> list[str]:
    """The same for a person."""
    steps = [f"{budget_ms:g} ms, margin {told['margin']:.1%}, limit {told['limit_ms']:.4g} ms"]
    if told["drawn"] is None:
        steps.append("the best of the networks whose accuracy is known")
    else:
        steps.append(f"{told['drawn']} drawn, {told['kept']} kept")
        plural = "" if told["exchanges"] == 1 else "s"
        refined = f"refined in {told['exchanges']} exchange{plural} from" if told["exchanges"] else "taken as it is:"
        steps.append(f"{refined} {_STARTS[told['start']]}")
    parts = [("every network", told["shared_ms"])]
    parts += [(f"unit {number}", ms) for number, ms in enumerate(told["units_ms"], start=1)]
    times = ", ".join(f"{name} {ms:.3g} ms ({ms / cost_ms:.0%})" for name, ms in parts)
    return [f"  how        {'; '.join(steps)}; {cost_ms:.4g} ms", f"  time       {times}"]
