from dataclasses import replace

import numpy as np
import pytest
import torch

from pnag.accuracy.predictor_fit import fit_predictor
from pnag.errors import ArchiveError, PnagError, SpaceError
from pnag.generator.generate import Generator
from pnag.generator.learning import train_generator, train_in_rounds
from pnag.generator.methods import METHODS
from pnag.generator.policy import PolicySettings
from pnag.search.evolution import evolve, mutate
from pnag.space.spaces import load_space
from tests.pnag.search.learning_cases import QUICK, TINY, all_tokens, archive, full_costs, tiny_costs, truth


@pytest.fixture(scope="module", params=METHODS)
def trained(request):
    costs = tiny_costs()
    return train_generator(TINY, costs, *archive(costs, 80), method=request.param, settings=QUICK, seed=2)


def test_every_method_keeps_every_budget(trained):
    budgets = np.linspace(*trained.range_ms, 15)[1:-1]
    for candidate in trained.generate_many(budgets.tolist()):
        assert candidate.cost_ms <= candidate.budget_ms
        TINY.check(candidate.architecture)


def test_every_method_is_written_and_read(trained, tmp_path):
    trained.save(tmp_path)
    again = Generator.load(tmp_path)
    budget = sum(trained.range_ms) / 2
    assert again.method == trained.method
    assert again.generate(budget) == trained.generate(budget)


def test_an_unknown_method_names_the_known_ones():
    costs = tiny_costs()
    with pytest.raises(PnagError, match="unknown method 'magic'; known are pnag, pnag-paper, random"):
        train_generator(TINY, costs, *archive(costs, 20), method="magic")


def test_random_search_answers_with_its_best_measured_network():
    costs = tiny_costs()
    tokens, accuracy = archive(costs, 60)
    generator = train_generator(TINY, costs, tokens, accuracy, method="random")
    cost = costs(tokens)
    budget = float(np.median(cost))
    candidate = generator.generate(budget)
    assert candidate.accuracy == accuracy[cost <= budget].max()


def test_evolution_asks_as_often_as_the_archive_has_entries():
    costs, asked = tiny_costs(), []

    def ask(tokens):
        asked.append(len(tokens))
        return truth(costs).accuracy(tokens)

    train_generator(TINY, costs, *archive(costs, 100), method="evo", ask=ask, searched_ms=(0.38, 0.45))
    assert sum(asked) == 100


def test_evolution_improves_within_its_budget():
    costs, known = full_costs(), truth(full_costs())
    tokens, accuracy = evolve(costs, known.accuracy, 70.0, 400, np.random.default_rng(0))
    assert tokens.shape == (400, costs.space.length)
    assert (costs(tokens) <= 70.0).all()
    assert accuracy.max() > accuracy[:50].max() + 0.001


def test_evolution_starts_even_where_random_networks_never_are():
    costs = full_costs()
    budget = costs.range_ms[0] * 1.03
    tokens, _ = evolve(costs, truth(costs).accuracy, budget, 20, np.random.default_rng(0))
    assert (costs(tokens) <= budget).all()


def test_a_mutation_is_an_architecture_of_the_space():
    space, rng = load_space(), np.random.default_rng(0)
    tokens = space.sample(1, rng)[0]
    for _ in range(200):
        tokens = mutate(space, tokens, rng)
        np.testing.assert_array_equal(space.canonical(tokens[None])[0], tokens)
        space.check(space.decode(tokens[None])[0])


def test_a_single_training_budget_is_enough_to_run():
    costs = tiny_costs()
    settings = PolicySettings(k=1, steps=10, hidden=8, width=4)
    generator = train_generator(TINY, costs, *archive(costs, 50), settings=settings)
    assert generator.generate(0.42).cost_ms <= 0.42


def test_rounds_ask_for_what_is_not_known_and_keep_what_was_asked():
    costs, known = tiny_costs(), truth(tiny_costs())
    rng = np.random.default_rng(0)
    shares = []
    generator, tokens, accuracy = train_in_rounds(
        TINY, costs, lambda t: known.ask(t, rng), first=40, rounds=2, per_round=10, settings=QUICK,
        progress=shares.append,
    )  # fmt: skip
    assert len(tokens) == len(accuracy)
    assert 40 < len(tokens) <= 60
    assert len(np.unique(tokens[40:], axis=0)) == len(tokens) - 40
    assert generator.metadata["evaluations"] == len(tokens)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_rounds_end_when_the_whole_space_is_known():
    costs, known, shares = tiny_costs(), truth(tiny_costs()), []
    _, tokens, accuracy = train_in_rounds(
        TINY, costs, known.accuracy, tokens=all_tokens(), accuracy=known.accuracy(all_tokens()), rounds=2, per_round=10,
        settings=QUICK, progress=shares.append,
    )  # fmt: skip
    assert len(tokens) == len(accuracy) == len(all_tokens())
    assert shares[-1] == 1.0


def test_learning_is_on_one_thread_and_what_it_asks_on_all():
    costs, known = tiny_costs(), truth(tiny_costs())
    before, asked, learning = torch.get_num_threads(), [], []
    torch.set_num_threads(2)

    def ask(tokens):
        asked.append(torch.get_num_threads())
        return known.accuracy(tokens)

    try:
        train_in_rounds(
            TINY, costs, ask, first=40, rounds=1, per_round=10, settings=QUICK,
            progress=lambda share: learning.append(torch.get_num_threads()),
        )  # fmt: skip
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(asked) == {2}
    assert learning.count(1) > learning.count(2)  # what is told at the end of all is told outside


def test_a_predictor_that_is_known_already_is_not_learnt_again():
    costs = tiny_costs()
    tokens, accuracy = archive(costs, 40)
    known = fit_predictor(TINY, tokens, accuracy)
    assert train_generator(TINY, costs, tokens, accuracy, settings=QUICK, learnt=known).evaluator.predictor is known


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_whether_its_answers_have_the_accuracies_that_were_learnt(name):
    costs = tiny_costs()
    tokens, accuracy = archive(costs, 80)
    known = fit_predictor(TINY, tokens, accuracy)
    higher = {"bias": known.bias + 0.2} if np.isinf(known.ceiling) else {"ceiling": known.ceiling + 0.2}
    generator = train_generator(
        TINY, costs, tokens, accuracy, method=name, settings=QUICK, learnt=replace(known, **higher)
    )
    found = generator.generate(sum(generator.range_ms) / 2)
    assert (found.accuracy > accuracy.max() + 0.1) == METHODS[name].answers_as_learnt


@pytest.mark.parametrize("bad", [74.2, -0.1, float("nan")])
def test_accuracies_that_are_no_fractions_are_refused(bad):
    costs = tiny_costs()
    tokens, accuracy = archive(costs, 20)
    accuracy[3] = bad
    with pytest.raises(ArchiveError, match=str(bad)):
        train_generator(TINY, costs, tokens, accuracy)


def test_architectures_and_accuracies_must_be_as_many():
    costs = tiny_costs()
    tokens, accuracy = archive(costs, 20)
    with pytest.raises(ArchiveError, match="do not fit"):
        train_generator(TINY, costs, tokens[:-1], accuracy)


def test_a_cost_model_of_another_space_is_refused():
    with pytest.raises(SpaceError):
        train_generator(load_space(), tiny_costs(), *archive(tiny_costs(), 20))
