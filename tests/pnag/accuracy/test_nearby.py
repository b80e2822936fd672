"""What known accuracies say of networks near them, against Gaussian conditioning written out."""

from dataclasses import replace

import numpy as np
import pytest

from pnag.accuracy.nearby import Nearby, fit_nearby
from pnag.accuracy.predictor import LayerCodes
from pnag.accuracy.predictor_fit import fit_predictor
from tests.pnag.search.learning_cases import TINY, all_tokens, archive, tiny_costs


def differing(a, b):
    codec = LayerCodes(TINY)
    return (codec.of(a)[:, None] != codec.of(b)[None]).sum(axis=2)


def bumps(scale):
    """Accuracies that networks near each other share and a quadratic form cannot have."""
    every = all_tokens()
    factor = np.linalg.cholesky(np.exp(-differing(every, every) / 2.0) + 1e-9 * np.eye(len(every)))
    return 0.7 + scale * factor @ np.random.default_rng(1).standard_normal(len(every))


@pytest.fixture(scope="module")
def learnt():
    every, accuracy = all_tokens(), bumps(0.01)
    rows = np.random.default_rng(2).permutation(len(every))[: len(every) // 3]
    plain = fit_predictor(TINY, every[rows], accuracy[rows])
    # One that knows no layer: all that networks have in common is left to what is near.
    predictor = replace(plain, bias=0.7, main=0 * plain.main, pairs=0 * plain.pairs, ceiling=np.inf, error=0.01)
    return every, accuracy, rows, predictor, fit_nearby(predictor, every[rows], accuracy[rows])


def test_correction_and_deviation_are_those_of_conditioning(learnt):
    every, accuracy, rows, predictor, nearby = learnt
    correction, deviation = nearby(every[:50])
    known = np.exp(-differing(every[rows], every[rows]) / nearby.reach) * nearby.share
    known[np.diag_indices_from(known)] = 1.0
    shared = np.exp(-differing(every[:50], every[rows]) / nearby.reach) * nearby.share
    residual = accuracy[rows] - predictor(every[rows])
    residual -= residual.mean()
    assert correction == pytest.approx(shared @ np.linalg.solve(known, residual), abs=1e-6)
    left = nearby.share - np.einsum("nm,nm->n", shared, np.linalg.solve(known, shared.T).T)
    exact = nearby.error * np.sqrt(np.maximum(left, 0))
    assert (deviation >= exact - 1e-9).all()  # the nearest alone never says more than all of them
    assert deviation.max() <= nearby.error


def test_what_is_known_without_noise_is_worth_what_was_measured(learnt):
    every, accuracy, rows, predictor, nearby = learnt
    correction, deviation = nearby(every[rows])
    error = np.abs(predictor(every[rows]) + correction - accuracy[rows])
    assert np.median(error) < 0.25 * np.median(np.abs(predictor(every[rows]) - accuracy[rows]))
    rest = np.setdiff1d(np.arange(len(every)), rows)
    assert np.median(deviation) < np.median(nearby(every[rest])[1])


def test_predictions_near_known_networks_become_better(learnt):
    every, accuracy, rows, predictor, nearby = learnt
    rest = np.setdiff1d(np.arange(len(every)), rows)
    plain = predictor(every[rest]) - accuracy[rest]
    corrected = plain + nearby(every[rest])[0]
    assert np.sqrt(np.mean(corrected**2)) < 0.95 * np.sqrt(np.mean(plain**2))


def test_noise_alone_is_not_taken_for_knowledge():
    tokens, _ = archive(tiny_costs(), 150)
    accuracy = 0.7 + 0.01 * np.random.default_rng(5).standard_normal(len(tokens))
    nearby = fit_nearby(fit_predictor(TINY, tokens, accuracy), tokens, accuracy)
    assert nearby is None or np.abs(nearby(tokens)[0]).mean() < 0.5 * accuracy.std()


def test_too_few_say_nothing():
    tokens, accuracy = archive(tiny_costs(), 12)
    assert fit_nearby(fit_predictor(TINY, tokens, accuracy), tokens, accuracy) is None


def test_it_is_written_and_read(learnt):
    every, *_, nearby = learnt
    again = Nearby.from_arrays(TINY, nearby.arrays())
    for mine, theirs in zip(nearby(every[:9]), again(every[:9]), strict=True):
        assert (mine == theirs).all()
    with pytest.raises(ValueError, match="do not fit"):
        Nearby.from_arrays(TINY, {**nearby.arrays(), "tokens": every[:3, :4]})
