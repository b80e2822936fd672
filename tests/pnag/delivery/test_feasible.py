"""Cheapest, middle and dearest network of a space."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pnag.delivery.feasible import feasible_networks, feasible_text, middle_of
from pnag.space.architecture import Architecture
from tests.pnag.search.learning_cases import TINY, TWO_SIDES, all_tokens, tiny_costs, two_sided_costs


@pytest.mark.parametrize(("space", "costs"), [(TINY, tiny_costs()), (TWO_SIDES, two_sided_costs())])
def test_the_ends_are_the_cheapest_and_the_dearest_of_all(space, costs):
    cheapest, middle, dearest = feasible_networks(space, costs, 0.1)
    every = costs(all_tokens(space))
    assert cheapest["cost_ms"] == pytest.approx(every.min())
    assert dearest["cost_ms"] == pytest.approx(every.max())
    assert cheapest["cost_ms"] < middle["cost_ms"] < dearest["cost_ms"]
    for network in (cheapest, middle, dearest):
        architecture = Architecture.parse(network["architecture"])
        blocks = space.decompose(architecture)
        assert network["cost_ms"] == pytest.approx(costs(space.encode([architecture]))[0])
        assert network["budget_ms"] == pytest.approx(1.1 * network["cost_ms"])
        assert network["params"] == sum(block.params for block in blocks)
        assert network["shared_ms"] + sum(network["units_ms"]) == pytest.approx(network["cost_ms"])


def test_the_middle_is_the_middle_of_every_choice():
    assert str(middle_of(replace(TINY, depths=(2, 1, 3)))) == "2,2:3,3,0,3,3,0:3,3,0,3,3,0"
    assert middle_of(TWO_SIDES).resolution == 32


def test_a_person_is_told_what_binds():
    text = feasible_text(feasible_networks(TINY, tiny_costs(), 0.0))
    low, high = tiny_costs().range_ms
    assert f"below {low:.4g} ms nothing fits: every network has {tiny_costs().constant_ms:.3g} ms" in text
    assert f"above {high:.4g} ms nothing is gained: unit " in text
