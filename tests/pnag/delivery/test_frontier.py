"""The frontier of a run as a table, and how budgets became networks."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest

from pnag.delivery.explain import explanation, explanation_text
from pnag.delivery.frontier import frontier_budgets, frontier_points, frontier_text, never_worse, save_csv
from pnag.delivery.rows import row_of
from pnag.errors import BudgetError
from pnag.generator.generate import Generator
from pnag.generator.learning import train_generator
from tests.pnag.search.learning_cases import QUICK, TINY, archive, tiny_costs

RESIDUALS = (0.01, -0.01, 0.02, -0.005)


@pytest.fixture(scope="module")
def generator() -> Generator:
    costs = tiny_costs()
    return train_generator(TINY, costs, *archive(costs, 120), residuals=RESIDUALS, settings=QUICK)


def test_budgets_go_from_the_cheapest_to_the_dearest_network(generator: Generator) -> None:
    budgets = frontier_budgets(generator, 7, 0.9)
    found = generator.generate_many(budgets, confidence=0.9)
    low, high = generator.range_ms
    assert found[0].cost_ms == pytest.approx(low)
    assert found[-1].limit_ms == pytest.approx(high)
    factors = np.array(budgets[1:]) / np.array(budgets[:-1])
    assert factors == pytest.approx(np.full(6, factors[0]))


@pytest.mark.parametrize(("words", "points"), [([], 12), (["20"], 20), (["20ms"], None), (["20", "30"], None)])
def test_a_whole_number_says_how_many_budgets(words: list[str], points: int | None) -> None:
    assert frontier_points(words) == points


@pytest.mark.parametrize("words", ["1", "0", "1001", "999999999", "9" * 5000])
def test_neither_one_budget_nor_more_than_can_be_listed_is_a_frontier(words: str) -> None:
    with pytest.raises(BudgetError, match="ask for 2 to 1000") as refused:
        frontier_points([words])
    assert len(str(refused.value)) < 200


def test_more_time_never_gives_a_worse_network(generator: Generator) -> None:
    budgets = frontier_budgets(generator, 5, 0.95)
    found = generator.generate_many(budgets)
    spoilt = [*found[:2], replace(found[2], score=found[0].score - 1.0), *found[3:]]
    better = never_worse(spoilt[::-1])[::-1]
    assert better[2].architecture == found[1].architecture
    assert (better[2].budget_ms, better[2].limit_ms) == (found[2].budget_ms, found[2].limit_ms)
    assert better[2].cost_ms <= better[2].limit_ms
    scores = [candidate.score for candidate in better]
    assert scores == sorted(scores)


def test_the_table_has_a_line_for_each_budget_and_no_empty_columns(generator: Generator, tmp_path) -> None:
    rows = [row_of(c, generator) for c in generator.generate_many(frontier_budgets(generator, 3, 0.95))]
    lines = frontier_text(rows).splitlines()
    assert lines[0].split() == ["budget", "predicted", "ranked", "by", "architecture"]
    assert [line.split()[-1] for line in lines[1:]] == [row["architecture"] for row in rows]
    measured = [{**row, "measured_ms": 1.5, "kept": index < 2} for index, row in enumerate(rows)]
    assert frontier_text(measured).splitlines()[3].split()[4:7] == ["1.5", "ms", "NO"]
    save_csv(tmp_path / "frontier.csv", measured)
    with (tmp_path / "frontier.csv").open(newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert [float(row["budget_ms"]) for row in read] == [row["budget_ms"] for row in rows]
    assert read[0]["architecture"] == rows[0]["architecture"]
    assert (read[0]["measured_ms"], read[2]["kept"], read[0]["accuracy"]) == ("1.5", "False", "")


def test_how_a_budget_became_a_network_adds_up(generator: Generator) -> None:
    low, high = generator.range_ms
    candidate = generator.generate((low + high) / 2)
    told = explanation(candidate, generator)
    assert told["shared_ms"] + sum(told["units_ms"]) == pytest.approx(candidate.cost_ms)
    assert told["drawn"] == 16
    assert 0 <= told["kept"] <= 16
    how, time = explanation_text(told, candidate.budget_ms, candidate.cost_ms)
    assert f"margin {generator.margin():.1%}, limit {candidate.limit_ms:.4g} ms; 16 drawn, {told['kept']} kept; " in how
    assert how.endswith(f"; {candidate.cost_ms:.4g} ms")
    assert time.count(" ms (") == 1 + TINY.units


def test_exchanges_are_counted(generator: Generator) -> None:
    """Refined again from the answer, nothing is left to exchange; without steps nothing is exchanged."""
    low, high = generator.range_ms
    budgets = np.linspace(low, high, 6)[1:].tolist()
    refined = [candidate.origin for candidate in generator.generate_many(budgets)]
    assert max(origin.exchanges for origin in refined if origin) > 0
    unrefined = [candidate.origin for candidate in replace(generator, steps=0).generate_many(budgets)]
    assert all(origin and origin.exchanges == 0 for origin in unrefined)
    one = [candidate.origin for candidate in replace(generator, steps=1).generate_many(budgets)]
    assert all(origin and origin.exchanges <= 1 for origin in one)


def test_a_method_that_picks_among_known_networks_says_so() -> None:
    costs = tiny_costs()
    picks = train_generator(TINY, costs, *archive(costs, 60), method="random")
    candidate = picks.generate(picks.range_ms[1])
    told = explanation(candidate, picks)
    assert told["drawn"] is told["start"] is None
    assert "the best of the networks whose accuracy is known" in explanation_text(told, 9.0, candidate.cost_ms)[0]
