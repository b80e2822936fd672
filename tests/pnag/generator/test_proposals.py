"""Which architectures are asked about next, against the same in closed form on few features."""

import numpy as np
import pytest

from pnag.accuracy.predictor_fit import fit_posterior
from pnag.generator.proposals import answers, most_informative, propose, rival_answers, spread_budgets
from tests.pnag.search.learning_cases import TINY, all_tokens, archive, tiny_costs

TOKENS, ACCURACY = archive(tiny_costs(), 40)


@pytest.fixture(scope="module")
def posterior():
    return fit_posterior(TINY, TOKENS, ACCURACY)


def pairs_and_candidates():
    """Pairs of architectures that differ, and others to ask about."""
    rng = np.random.default_rng(0)
    guesses, rivals = all_tokens()[rng.integers(0, 200, 12)], all_tokens()[rng.integers(200, len(all_tokens()), 12)]
    return guesses, rivals, all_tokens()[5::9]


def left_open(posterior, guesses, rivals, asked):
    """Summed variances of the rivals' accuracies less the guesses', once `asked` are known: by the normal equations."""
    features, prior = posterior.learner.features, posterior.strengths.variances[posterior.learner.features.groups]

    def rows(tokens):
        return np.concatenate([features(tokens).astype(float), np.ones((len(tokens), 1))], axis=1)

    known = rows(TOKENS) * posterior.target.weight[:, None]
    precision = np.diag(1 / np.append(prior, 1.0)) + known.T @ known / posterior.strengths.noise
    new = rows(asked) * posterior.slope(asked)[:, None]
    precision += new.T @ new / posterior.strengths.noise
    differences = posterior.slope(guesses)[:, None] * (rows(rivals) - rows(guesses))
    return np.einsum("df,fd->", differences, np.linalg.solve(precision, differences.T))


def test_each_is_the_one_that_leaves_least_open(posterior):
    guesses, rivals, candidates = pairs_and_candidates()
    chosen = most_informative(posterior, guesses, rivals, candidates, 6)
    for step in range(6):
        before = list(chosen[:step])
        left = {
            other: left_open(posterior, guesses, rivals, candidates[[*before, other]])
            for other in range(len(candidates))
            if other not in before
        }
        assert left[chosen[step]] == pytest.approx(min(left.values()), rel=1e-3)
        assert left[chosen[step]] < np.median(list(left.values()))


def test_they_say_more_than_rivals_or_random_networks_do(posterior):
    guesses, rivals, others = pairs_and_candidates()
    candidates = np.concatenate([rivals, others])
    chosen = candidates[most_informative(posterior, guesses, rivals, candidates, 12)]
    left = left_open(posterior, guesses, rivals, chosen)
    assert left < left_open(posterior, guesses, rivals, rivals)
    assert left < left_open(posterior, guesses, rivals, TINY.sample(12, np.random.default_rng(1)))


def test_candidates_are_chosen_once_and_all_if_so_many_are_wanted(posterior):
    guesses, rivals, candidates = pairs_and_candidates()
    chosen = most_informative(posterior, guesses, rivals, candidates[:20], 50)
    assert sorted(chosen) == list(range(20))


def test_where_nothing_is_open_there_still_is_a_choice(posterior):
    guesses, _, candidates = pairs_and_candidates()
    assert len(set(most_informative(posterior, guesses, guesses, candidates, 5))) == 5


def propose_for(posterior, known_tokens, n, **options):
    known = (known_tokens, posterior.predictor(known_tokens))
    return propose(tiny_costs(), posterior, known, n, np.random.default_rng(0), **options)


def test_proposals_are_new(posterior):
    proposed = propose_for(posterior, TOKENS, 30)
    known = {row.tobytes() for row in TOKENS}
    assert not any(row.tobytes() in known for row in proposed)
    assert len(np.unique(proposed, axis=0)) == len(proposed) == 30
    TINY.decode(proposed)


def test_answers_come_first_among_proposals(posterior):
    proposed = propose_for(posterior, TOKENS, 10, answers_share=0.5)
    predicted = posterior.predictor(proposed)
    # An answer to a budget is better than nearly all networks of its cost, in the predictor's own eyes.
    cost, every = tiny_costs()(proposed), all_tokens()
    cheaper = tiny_costs()(every)[None] <= cost[:, None]
    rank = ((posterior.predictor(every)[None] > predicted[:, None]) & cheaper).sum(axis=1) / cheaper.sum(axis=1)
    assert np.median(rank[:5]) < 0.1


def test_a_space_that_is_nearly_known_has_few_proposals_left(posterior):
    proposed = propose_for(posterior, all_tokens()[7:], 30)
    assert {row.tobytes() for row in proposed} <= {row.tobytes() for row in all_tokens()[:7]}
    assert propose_for(posterior, all_tokens(), 30).shape == (0, TINY.length)


def test_budgets_are_spread_along_the_frontier():
    known = (all_tokens(), tiny_costs()(all_tokens()) / 100)
    budgets = np.sort(spread_budgets(tiny_costs(), known, 60, np.random.default_rng(0)))
    low, high = tiny_costs().range_ms
    assert low <= budgets[0] <= budgets[-1] <= high
    flat = (all_tokens(), np.full(len(all_tokens()), 0.5))
    logs = np.log(np.sort(spread_budgets(tiny_costs(), flat, 60, np.random.default_rng(0))) / low) / np.log(high / low)
    assert np.abs(logs - (np.arange(60) + 0.5) / 60).max() <= 0.6 / 60  # nothing to gain: evenly in the logarithm


def test_accuracy_that_rises_late_draws_budgets_there():
    cost = tiny_costs()(all_tokens())
    middle = np.median(cost)
    known = (all_tokens(), np.where(cost > middle, 0.9, 0.1))
    budgets = spread_budgets(tiny_costs(), known, 200, np.random.default_rng(0))
    step = np.ptp(cost) / 50
    assert (np.abs(budgets - middle) < step).mean() > 0.3


def test_rivals_keep_their_budgets_and_differ_where_little_is_known(posterior):
    budgets = np.linspace(*tiny_costs().range_ms, 60)
    rivals = rival_answers(tiny_costs(), posterior, TOKENS, budgets, np.random.default_rng(1))
    assert (tiny_costs()(rivals)[1:] <= budgets[1:]).all()
    guesses = answers(tiny_costs(), posterior.predictor, TOKENS, budgets)
    assert (rivals != guesses).any(axis=1).sum() > 5
