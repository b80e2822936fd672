"""What networks are feasible, before any search: the cheapest, one in the middle, the dearest, and what stands between.

Source of the idea: NVIDIA ModelOpt's FastNAS, which shows least, middle and most of each quantity before it searches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pnag.search.limits import shown
from pnag.search.prices import cheapest_tokens, costs_by_unit
from pnag.space.architecture import Architecture
from pnag.space.cost import CostModel
from pnag.space.search_space import SearchSpace


def feasible_networks(space: SearchSpace, costs: CostModel, margin: float) -> list[dict[str, Any]]:
    """Cheapest, middle and dearest network of a space by a table's costs, as plain JSON values.

    `budget_ms` is the least budget that the network keeps with the margin of the confidence. The middle network has the
    middle one of every choice. `shared_ms` is what all networks cost, `units_ms` what the layers of each unit add.
    """
    negated = replace(
        costs, constant_ms=-costs.constant_ms, layer_ms=-costs.layer_ms, resolution_ms=-costs.resolution_ms
    )
    tokens = (cheapest_tokens(costs), space.encode([middle_of(space)]), cheapest_tokens(negated))
    return [
        _network(which, space, costs, encoded, margin)
        for which, encoded in zip(("cheapest", "middle", "dearest"), tokens, strict=True)
    ]


def middle_of(space: SearchSpace) -> Architecture:
    """The architecture with the middle one of each choice in ascending order, the lower of two."""
    depth, kernel, expand, side = (
        sorted(choices)[(len(choices) - 1) // 2]
        for choices in (space.depths, space.kernels, space.expands, space.sides)
    )
    present = ((True,) * depth + (False,) * (space.layers - depth)) * space.units
    kernels, expands = (tuple(value if there else 0 for there in present) for value in (kernel, expand))
    return Architecture((depth,) * space.units, kernels, expands, side if space.resolutions else None)


def _network(which: str, space: SearchSpace, costs: CostModel, tokens: Any, margin: float) -> dict[str, Any]:
    (architecture,) = space.decode(tokens)
    blocks = space.decompose(architecture)
    cost = float(costs(tokens)[0])
    shared, *units = costs_by_unit(costs, tokens)[0].tolist()
    return {
        "which": which,
        "architecture": str(architecture),
        "cost_ms": cost,
        "budget_ms": cost * (1 + margin),
        "params": sum(block.params for block in blocks),
        "macs": sum(block.macs for block in blocks),
        "shared_ms": shared,
        "units_ms": units,
    }


def feasible_text(networks: Sequence[Mapping[str, Any]]) -> str:
    """The same for a person, and what binds: what no choice takes away, and where it goes beyond that."""
    lines = []
    for network in networks:
        budget, params, macs = (
            shown(network[name], unit)
            for name, unit in (("budget_ms", "ms"), ("params", "parameters"), ("macs", "MACs"))
        )
        lines.append(f"{network['which']:<8}  from {budget} on: {network['cost_ms']:.4g} ms, {params}, {macs}")
        lines.append(f"          {network['architecture']}")
    cheapest, *_, dearest = networks
    grows = [high - low for low, high in zip(cheapest["units_ms"], dearest["units_ms"], strict=True)]
    most = grows.index(max(grows))
    low, high = (shown(network["budget_ms"], "ms") for network in (cheapest, dearest))
    shared, between = cheapest["shared_ms"], sum(grows)
    lines += [
        f"binds     below {low} nothing fits: every network has {shared:.3g} ms of it (stem, first block, head)",
        f"          above {high} nothing is gained: unit {most + 1} can take {grows[most]:.3g} of the {between:.3g} ms "
        "between",
    ]
    return "\n".join(lines)
