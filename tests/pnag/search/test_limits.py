"""Several limits at once: whether any network keeps them, and the best that does, against all networks there are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.known_optimum import made_up_costs
from pnag.accuracy.predictor_fit import fit_predictor
from pnag.errors import InfeasibleBudgetError
from pnag.generator.generate import Generator
from pnag.generator.learning import train_generator
from pnag.search.evaluator import RuleEvaluator
from pnag.search.feasible import conflicting, keeping
from pnag.search.limits import Bounds, Limit, highest_cost, loads, range_text, shown
from pnag.space.cost import CostModel
from pnag.space.tokens import unit_tokens
from tests.pnag.search.learning_cases import (
    QUICK,
    TINY,
    TWO_SIDES,
    all_tokens,
    archive,
    tiny_costs,
    two_sided_archive,
    two_sided_costs,
)

COMBINATIONS = 60


def odd_costs(seed: int, space=TINY) -> CostModel:
    """A device on which what is cheap elsewhere need not be cheap."""
    sides = space.resolution_choices
    rng = np.random.default_rng(seed)
    shape = (space.units, 2, len(space.expands), len(space.kernels))
    layer_ms = rng.uniform(0.5, 2.0, shape if sides == 1 else (sides, *shape))
    return CostModel(space, 1.0, layer_ms, np.linspace(0, 1, sides))


def cost_of_all(models):
    return np.stack([model(all_tokens(models[0].space)) for model in models])


@pytest.mark.parametrize("space", [TINY, TWO_SIDES], ids=lambda space: space.name + str(space.resolution_choices))
def test_whether_a_network_keeps_all_limits_is_known_exactly(space):
    models = [odd_costs(seed, space) for seed in range(3)]
    costs = cost_of_all(models)
    rng, outcomes = np.random.default_rng(0), []
    for _ in range(COMBINATIONS):
        bounds = costs.min(axis=1) * rng.uniform(1.0, 2.2, 3)
        best = loads(costs, bounds[:, None]).min()
        found = keeping(models, bounds.tolist())
        assert (found is not None) == (best <= 1)
        outcomes.append(found is not None)
        if found is not None:
            assert max(float(m(found)[0]) / b for m, b in zip(models, bounds, strict=True)) == pytest.approx(best)
    assert 0.1 < np.mean(outcomes) < 0.9  # both happen


def test_a_limit_that_only_the_cheapest_network_keeps_is_kept():
    models = [odd_costs(5), odd_costs(6)]
    cheapest = float(cost_of_all(models)[0].min())
    assert keeping(models, [cheapest, 1e9]) is not None
    assert keeping(models, [np.nextafter(cheapest, 0), 1e9]) is None


def test_the_fewest_limits_that_conflict_are_named():
    models = [odd_costs(seed) for seed in (0, 2, 1)]
    costs = cost_of_all(models)
    low, high = costs.min(axis=1), costs.max(axis=1)
    assert conflicting(models, high.tolist()) == ()
    assert conflicting(models, [high[0], low[1] - 0.01, high[2]]) == (1,)
    pair = [low[0], high[1], low[2]]
    assert loads(costs, np.array(pair)[:, None]).min() > 1
    assert conflicting(models, pair) == (0, 2)


@pytest.fixture(scope="module")
def tiny() -> Generator:
    costs = tiny_costs()
    return train_generator(TINY, costs, *archive(costs, 200), settings=QUICK)


def further(generator, share, seeds=(7, 8)):
    """Limits of odd devices and one of parameters, so far along the way from the cheapest to the dearest network."""
    models = [*(odd_costs(seed) for seed in seeds), TINY.sum_over_blocks(lambda block: float(block.params))]
    units = (*("ms" for _ in seeds), "parameters")
    return [
        Limit(f"limit {i}", model, low + share[i] * (high - low), unit, margin=0.02 if unit == "ms" else 0.0)
        for i, (model, unit) in enumerate(zip(models, units, strict=True))
        for low, high in [model.range_ms]
    ]


def test_all_limits_are_kept_and_nothing_better_keeps_them(tiny):
    """The goal's fast form: in 40 combinations, the answer against the best of all networks of a small space."""
    rng, lost, asked, kept = np.random.default_rng(1), [], 0, 0
    low, high = tiny.range_ms
    tokens, predicted = all_tokens(), tiny.evaluator.predictor(all_tokens())
    worth = tiny.evaluator.worth(tokens)
    while asked < 40:
        limits = further(tiny, rng.uniform(0.3, 0.9, 3))
        budget = float(rng.uniform(low, high))
        within = Bounds.of(tiny.costs, np.array([budget]), limits).keeps(tokens)[0]
        if not within.any():
            continue
        asked += 1
        found = tiny.generate(budget, further=limits, margin=0.0)
        (row,) = tiny.space.encode([found.architecture])
        kept += all(one.cost * (1 + one.limit.margin) <= one.limit.most for one in found.kept)
        (at,) = np.flatnonzero((tokens == row).all(axis=1))
        assert within[at]
        lost.append(worth[within].max() - worth[at])
    assert kept == 40
    assert max(lost) <= 0.001
    assert predicted.std() > 0.002  # networks do differ by more than that


def test_a_limit_that_is_no_limit_changes_nothing(tiny):
    budgets = np.linspace(*tiny.range_ms, 8)[1:].tolist()
    wide = [Limit("a wide one", odd_costs(7), 1e9, "ms")]
    plain, limited = tiny.generate_many(budgets), tiny.generate_many(budgets, further=wide)
    for a, b in zip(plain, limited, strict=True):
        assert b.score >= a.score - 1e-9
        assert not b.kept[1].binds


def test_an_answer_does_not_depend_on_what_else_is_asked(tiny):
    budgets, limits = np.linspace(*tiny.range_ms, 7)[2:].tolist(), further(tiny, (0.5, 0.6, 0.7))
    together = tiny.generate_many(budgets, further=limits)
    alone = [tiny.generate(budget, further=limits) for budget in budgets]
    assert [found.architecture for found in together] == [found.architecture for found in alone]


@pytest.mark.parametrize("space", [TINY, TWO_SIDES], ids=lambda space: space.name + str(space.resolution_choices))
def test_crossings_are_made_of_the_units_of_their_parents(space, tiny):
    models = tuple(odd_costs(seed, space) for seed in range(2))
    rng = np.random.default_rng(3)
    parents = np.unique(space.sample(12, rng), axis=0)
    within = Bounds(models, np.full((2, 3), 1e9))
    predictor = fit_predictor(space, *(archive(tiny.costs, 100) if space is TINY else two_sided_archive(100)))
    answers = replace(tiny._answers, costs=models[0], evaluator=RuleEvaluator(predictor))
    crossed = answers._crossed(np.repeat(parents[None], 3, axis=0), within, seed=0)
    assert crossed.shape == (3, 8, space.length)
    np.testing.assert_array_equal(space.canonical(crossed[0]), crossed[0])
    of_parents = [{unit.tobytes() for unit in unit_tokens(space, parents)[:, place]} for place in range(space.units)]
    for child in crossed.reshape(-1, space.length):
        assert all(unit.tobytes() in of_parents[i] for i, unit in enumerate(unit_tokens(space, child[None])[0]))
    # The best of so many crossings is at least as good as the best parent, which may be crossed with itself.
    worth = predictor(crossed.reshape(-1, space.length)).reshape(3, 8)
    assert worth.max() >= predictor(parents).max() - 1e-9


def test_the_limit_that_stands_in_the_way_binds(tiny):
    low, high = tiny.range_ms
    tight = further(tiny, (1.0, 1.0, 0.3))
    found = tiny.generate(high, further=tight)
    assert [kept.binds for kept in found.kept] == [False, False, False, True]
    assert found.kept[3].share > 0.9
    found = tiny.generate(low + 0.3 * (high - low), further=further(tiny, (1.0, 1.0, 1.0)))
    assert [kept.binds for kept in found.kept] == [True, False, False, False]
    found = tiny.generate(2 * high, further=further(tiny, (2.0, 2.0, 2.0)))
    assert not any(kept.binds for kept in found.kept)


def test_networks_of_several_resolutions_keep_all_limits():
    costs = two_sided_costs()
    generator = train_generator(TWO_SIDES, costs, *two_sided_archive(200), method="random")
    odd = odd_costs(3, TWO_SIDES)
    tokens = all_tokens(TWO_SIDES)
    bound = float(np.quantile(odd(tokens), 0.3))
    found = generator.generate(costs.range_ms[1], further=[Limit("odd", odd, bound, "ms")])
    assert found.kept[1].cost <= bound


def test_limits_that_no_network_keeps_are_named_with_their_cheapest_networks(tiny):
    models = [odd_costs(0), odd_costs(1)]
    low = [model.range_ms[0] for model in models]
    limits = [Limit(name, model, ms + 0.001, "ms") for name, model, ms in zip("AB", models, low, strict=True)]
    with pytest.raises(InfeasibleBudgetError) as told:
        tiny.generate(100.0, further=limits)
    text = str(told.value)
    assert f"keeps {low[0] + 0.001:.4g} ms on A and {low[1] + 0.001:.4g} ms on B together" in text
    assert f"the cheapest by A has {low[0]:.4g} ms on A, " in text
    assert f"{low[1]:.4g} ms on B; raise one of them" in text
    assert told.value.exit_code == 4
    assert "\n" not in text


def test_a_limit_below_its_cheapest_network_is_told_with_a_range_that_is_accepted(tiny):
    parameters = TINY.sum_over_blocks(lambda block: float(block.params))
    limit = Limit("parameters", parameters, 1000.0, "parameters")
    with pytest.raises(InfeasibleBudgetError, match=r"0\.001M parameters is below the cheapest network of tiny"):
        tiny.generate(100.0, further=[limit])
    low = float(range_text(*parameters.range_ms, "parameters").split()[0]) * 1e6
    assert tiny.generate(100.0, further=[replace(limit, most=low)]).kept[1].cost <= low


def test_the_highest_cost_allows_for_rounding():
    for margin in (0.0, 0.031, 0.2, -0.05):
        for budget in np.random.default_rng(0).uniform(1, 100, 200):
            cost = highest_cost(budget, margin)
            assert cost * (1 + margin) <= budget < np.nextafter(np.nextafter(cost, 99e9), 99e9) * (1 + margin) * 1.00001


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(24.08, "ms", "24.08 ms"), (8.2e6, "parameters", "8.2M parameters"), (5e8, "MACs", "500M MACs"),
     (19.9e6, "bytes", "19.9 MB")],
)  # fmt: skip
def test_quantities_are_shown_with_their_units(value, unit, text):
    assert shown(value, unit) == text


def test_costs_of_another_device_are_drawn_for_too():
    """Budgets to draw networks for: the bound itself, unless another bound leaves less of it."""
    a, b = made_up_costs(TINY, seed=3), odd_costs(1)
    low, high = a.range_ms
    (one,) = Bounds.of(a, np.array([high]), []).budgets_told()
    assert one == high
    bound = sum(b.range_ms) / 2
    left, middle = Bounds.of(a, np.array([high]), [Limit("b", b, bound, "ms")]).budgets_told()
    assert left == pytest.approx((low + high) / 2)
    assert middle == pytest.approx((left + high) / 2)
