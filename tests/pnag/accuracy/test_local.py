"""The local part of the predictor, learnt with the quadratic form, against Gaussian conditioning written out."""

from dataclasses import replace

import numpy as np
import pytest

import pnag.accuracy.predictor_fit as fitting
from pnag.accuracy.nearby import doubt_near
from pnag.accuracy.predictor import AccuracyPredictor, LayerCodes, LocalPart
from pnag.accuracy.predictor_fit import fit_posterior, fit_predictor
from tests.pnag.search.learning_cases import TINY, all_tokens, archive, tiny_costs

CODEC = LayerCodes(TINY)


def differing(a, b):
    return (CODEC.of(a)[:, None] != CODEC.of(b)[None]).sum(axis=2)


def bumps(noise=0.0):
    """Accuracies that networks near each other share and a quadratic form cannot have."""
    every = all_tokens()
    rng = np.random.default_rng(1)
    root = np.linalg.cholesky(np.exp(-differing(every, every) / 2.0) + 1e-9 * np.eye(len(every)))
    return 0.7 + 0.01 * root @ rng.standard_normal(len(every)) + noise * rng.standard_normal(len(every))


@pytest.fixture(scope="module")
def learnt():
    every, accuracy = all_tokens(), bumps()
    rows = np.random.default_rng(2).permutation(len(every))[: len(every) // 3]
    return every, accuracy, rows, fit_posterior(TINY, every[rows], accuracy[rows])


def test_both_parts_together_are_gaussian_conditioning(learnt):
    every, _, rows, posterior = learnt
    target, strengths, features = posterior.target, posterior.strengths, posterior.learner.features
    x = np.concatenate([features(every).astype(float), np.ones((len(every), 1))], axis=1)
    prior = np.append(strengths.variances[features.groups], 1.0)
    shared = (x * prior) @ x.T + strengths.variances[-1] * np.exp(-differing(every, every) / posterior.learner.reach)
    known = shared[np.ix_(rows, rows)] * np.outer(target.weight, target.weight) + strengths.noise * np.eye(len(rows))
    alpha = np.linalg.solve(known, target.weight * target.standard)
    expected = target.mean + target.scale * (shared[:, rows] * target.weight) @ alpha
    np.testing.assert_allclose(posterior.predictor.merit(every), expected, atol=2e-4)


def test_what_near_networks_share_is_found_and_predicts_better(learnt):
    every, accuracy, rows, posterior = learnt
    rest = np.setdiff1d(np.arange(len(every)), rows)
    plain = replace(posterior.learner, reach=0.0).learn(posterior.target, posterior.strengths)
    missed = {
        name: np.std(p(every[rest]) - accuracy[rest]) for name, p in (("with", posterior.predictor), ("without", plain))
    }
    assert posterior.predictor.local is not None
    assert missed["with"] < 0.95 * missed["without"]
    assert posterior.predictor.error == pytest.approx(missed["with"], rel=0.25)


def test_a_quadratic_truth_with_noise_has_no_local_part():
    tokens, accuracy = archive(tiny_costs(), 200)
    assert fit_predictor(TINY, tokens, accuracy).local is None


def test_noise_alone_has_no_local_part():
    tokens, _ = archive(tiny_costs(), 200)
    noise = np.random.default_rng(5).standard_normal(len(tokens))
    assert fit_predictor(TINY, tokens, 0.7 + 0.01 * noise).local is None


def test_changes_of_one_layer_are_those_of_the_merit(learnt):
    every, _, _, posterior = learnt
    codes, merit = CODEC.of(every), posterior.predictor.merit(every)
    place = {row.tobytes(): index for index, row in enumerate(codes)}
    changes, seen = posterior.predictor.changes(codes[:20]), 0
    for first, layer, code in np.ndindex(*changes.shape):
        other = codes[first].copy()
        other[layer] = code
        index = place.get(other.tobytes())
        if index is not None:
            assert changes[first, layer, code] == pytest.approx(merit[index] - merit[first], abs=1e-5)
            seen += 1
    assert seen > 100


def test_draws_agree_where_accuracies_are_known_and_differ_elsewhere(learnt):
    every, _, rows, posterior = learnt
    rest = np.setdiff1d(np.arange(len(every)), rows)
    rng = np.random.default_rng(0)
    spread = np.std([posterior.draw(rng).merit(every) for _ in range(40)], axis=0)
    assert np.median(spread[rows]) < 0.8 * np.median(spread[rest])


def test_of_many_accuracies_those_named_have_a_local_part(learnt, monkeypatch):
    every, accuracy, rows, _ = learnt
    monkeypatch.setattr(fitting, "DUAL_ROWS", len(rows) - 20)
    near = np.arange(60)
    found = fit_predictor(TINY, every[rows], accuracy[rows], near=near)
    assert found.local is not None
    assert (found.local.tokens == every[rows][near]).all()
    without = replace(found, local=None)
    error, plain = (np.std(p(every[rows[near]]) - accuracy[rows[near]]) for p in (found, without))
    assert error < 0.9 * plain


def test_doubt_is_less_near_what_is_known(learnt):
    every, _, rows, posterior = learnt
    correction, doubt = doubt_near(posterior.predictor)(every)
    rest = np.setdiff1d(np.arange(len(every)), rows)
    assert (correction == 0).all()
    assert doubt[rows].max() < doubt[rest].min() + 1e-9 <= posterior.predictor.error + 1e-9
    assert doubt_near(replace(posterior.predictor, local=None)) is None


def test_it_is_written_and_read(learnt):
    every, *_, posterior = learnt
    again = AccuracyPredictor.from_arrays(TINY, posterior.predictor.arrays())
    assert (again(every) == posterior.predictor(every)).all()
    with pytest.raises(ValueError, match="do not fit"):
        LocalPart.from_arrays(TINY, {**again.local.arrays(), "tokens": every[:3, :4]})
