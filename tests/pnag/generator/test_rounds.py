"""Rounds: strengths are searched anew once there is enough more to learn from, and a cut does not change the end."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pnag.accuracy.predictor_fit import fit_posterior
from pnag.generator import rounds
from pnag.generator.learning import rounds_of
from pnag.generator.rounds import RoundsDone, ask_in_rounds
from tests.pnag.search.learning_cases import TINY, archive, tiny_costs, truth

FIRST, ROUNDS, A_ROUND = 60, 7, 3


@pytest.fixture(scope="module")
def asked_in_rounds():
    """All that rounds gave, what they were told to remember, and how often strengths were searched."""
    costs, known = tiny_costs(), truth(tiny_costs())
    tokens, accuracy = archive(costs, FIRST)
    remembered, searched = [], []

    def counted(*arguments, **options):
        searched.append(len(arguments[1]))
        return fit_posterior(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounds, "fit_posterior", counted)
        learnt = ask_in_rounds(
            costs, known.accuracy, tokens, accuracy, rounds=ROUNDS, per_round=A_ROUND,
            remember=lambda proposed, done: remembered.append((proposed, done)),
        )  # fmt: skip
    return learnt, remembered, searched


def test_strengths_are_searched_anew_after_enough_more_accuracies_and_at_the_end(asked_in_rounds):
    learnt, _, searched = asked_in_rounds
    assert len(learnt.tokens) == FIRST + ROUNDS * A_ROUND
    assert searched == [60, 60, 69, 69, 81, 81]  # both forms each time; 60 · 1.15 = 69, 69 · 1.15 = 79.4


@pytest.mark.parametrize("after", [2, 5, 7])
def test_rounds_that_were_cut_off_go_on_to_the_same_end(asked_in_rounds, after):
    learnt, remembered, _ = asked_in_rounds
    costs, known = tiny_costs(), truth(tiny_costs())
    tokens, accuracy = archive(costs, FIRST)
    proposed = np.concatenate([tokens for tokens, _ in remembered[:after]])
    state = json.loads(json.dumps(remembered[after - 1][1].random_state))
    again = ask_in_rounds(
        costs, known.accuracy, np.concatenate([tokens, proposed]), np.append(accuracy, known.accuracy(proposed)),
        rounds=ROUNDS, per_round=A_ROUND, done=RoundsDone(after, state),
    )  # fmt: skip
    np.testing.assert_array_equal(again.tokens, learnt.tokens)
    np.testing.assert_array_equal(again.posterior.predictor.main, learnt.posterior.predictor.main)


def test_a_posterior_that_grows_is_that_of_the_same_strengths():
    costs = tiny_costs()
    tokens, accuracy = archive(costs, 150)
    first = fit_posterior(TINY, tokens[:120], accuracy[:120])
    grown = first.grown(tokens, accuracy)
    assert grown.strengths is first.strengths
    anew = fit_posterior(TINY, tokens, accuracy).predictor
    unseen = TINY.sample(200, np.random.default_rng(5))
    error = [np.abs(p(unseen) - truth(costs).accuracy(unseen)).mean() for p in (first.predictor, grown.predictor, anew)]
    assert error[1] < error[0]
    assert error[1] == pytest.approx(error[2], rel=0.2)


@pytest.mark.parametrize(
    ("evaluations", "rounds_", "first", "per_round"), [(2000, 48, 512, 31), (500, 48, 164, 7), (22, 3, 10, 4)]
)
def test_all_evaluations_are_shared_out(evaluations, rounds_, first, per_round):
    assert rounds_of(evaluations, rounds_) == (first, per_round)
    assert first + rounds_ * per_round == evaluations
