from dataclasses import replace

import numpy as np
import pytest

from pnag.accuracy.features import FeatureMap
from pnag.accuracy.predictor import AccuracyPredictor, LayerCodes
from pnag.accuracy.predictor_fit import _solve_dual, _solve_primal, fit_posterior, fit_predictor, rank_correlation
from pnag.errors import ArchiveError
from pnag.search.evaluator import RuleEvaluator
from pnag.search.prices import cheapest_tokens
from pnag.search.refine import Refiner
from pnag.space.spaces import load_space
from tests.pnag.search.learning_cases import TINY, all_tokens, archive, full_costs, tiny_costs, truth

SPACE = load_space()


@pytest.fixture(scope="module")
def predictor():
    return fit_predictor(SPACE, *archive(full_costs(), 500))


@pytest.mark.parametrize("space", [SPACE, TINY], ids=["full", "tiny"])
def test_codes_and_tokens_are_two_writings_of_the_same(space):
    tokens = space.sample(200, np.random.default_rng(0))
    codec = LayerCodes(space)
    codes = codec.of(tokens)
    assert codes.min() == 0
    assert codes.max() == codec.codes - 1
    np.testing.assert_array_equal(codec.tokens(codes), tokens)


def test_a_code_names_expand_ratio_and_kernel():
    architecture = SPACE.extremes()[1]  # kernel 7, expand 6: the last choices of both
    codes = LayerCodes(SPACE).of(SPACE.encode([architecture]))
    assert (codes == 9).all()


def test_a_space_without_choice_of_expand_ratio_is_learnt():
    space = replace(TINY, expands=(4,))
    tokens = all_tokens(space)
    accuracy = np.linspace(0.7, 0.8, len(tokens))
    learnt = fit_predictor(space, tokens, accuracy)
    assert np.isfinite(learnt(tokens)).all()
    assert learnt.rank_correlation > 0.5


def test_changes_are_the_differences_of_predictions(predictor):
    codec = LayerCodes(SPACE)
    tokens = SPACE.sample(5, np.random.default_rng(1))
    codes = codec.of(tokens)
    changes = predictor.changes(codes)
    before = predictor.merit(tokens)
    for layer in (0, 5, 12):
        for code in (1, 4, 9):
            changed = codes.copy()
            changed[:, layer] = np.where(codes[:, layer] > 0, code, 0)
            expected = predictor.merit(codec.tokens(changed)) - before
            present = codes[:, layer] > 0
            np.testing.assert_allclose(changes[present, layer, code], expected[present], atol=2e-6)


def test_the_quadratic_form_says_what_the_features_say():
    features = FeatureMap(TINY)
    tokens = all_tokens()
    weights = np.random.default_rng(2).normal(size=len(features.groups))
    main, pairs = features.quadratic_form(weights)
    predictor = AccuracyPredictor(TINY, 0.5, main.astype(np.float32), pairs.astype(np.float32), 0.0, 1.0, 0.0)
    np.testing.assert_allclose(predictor(tokens), 0.5 + features(tokens) @ weights, atol=1e-4)


def test_both_ways_to_solve_give_the_same_weights_and_leave_one_out_errors():
    features = FeatureMap(TINY)
    tokens, y = archive(tiny_costs(), 120)
    x, y = features(tokens), (y - y.mean()) / y.std()
    prior, ones = np.full(x.shape[1], 0.05), np.linspace(0.5, 1.5, len(x))
    ways = (solve(x, y, ones, prior, 0.1)[:3] for solve in (_solve_dual, _solve_primal))
    for got, expected in zip(*ways, strict=True):
        np.testing.assert_allclose(got, expected, atol=2e-3)


def test_leave_one_out_errors_are_those_of_leaving_one_out():
    features = FeatureMap(TINY)
    tokens, y = archive(tiny_costs(), 40)
    x, y = features(tokens), (y - y.mean()) / y.std()
    prior, ones = np.full(x.shape[1], 0.05), np.linspace(0.5, 1.5, len(x))
    _, _, residual, _ = _solve_dual(x, y, ones, prior, 0.1)
    for left_out in (0, 17, 39):
        rest = np.arange(40) != left_out
        weights, offset, _, _ = _solve_dual(x[rest], y[rest], ones[rest], prior, 0.1)
        predicted = x[left_out] @ weights + offset * ones[left_out]
        assert residual[left_out] == pytest.approx(y[left_out] - predicted, abs=1e-4)


def test_the_stated_error_is_the_error_on_architectures_never_seen(predictor):
    unseen, measured = archive(full_costs(), 1500, seed=99)
    error = np.sqrt(np.mean((predictor(unseen) - measured) ** 2))
    assert predictor.error == pytest.approx(error, rel=0.12)
    assert rank_correlation(predictor(unseen), measured) == pytest.approx(predictor.rank_correlation, abs=0.04)


def test_prediction_is_nearer_the_truth_than_one_measurement_is(predictor):
    tokens = SPACE.sample(1000, np.random.default_rng(5))
    known = truth(full_costs())
    assert np.sqrt(np.mean((predictor(tokens) - known.accuracy(tokens)) ** 2)) < known.noise


def test_accuracies_that_level_off_are_learnt_with_a_ceiling_and_the_best_networks_are_not_overrated(predictor):
    costs = full_costs()
    assert archive(costs, 500)[1].max() < predictor.ceiling < 0.85
    budgets = np.linspace(*costs.range_ms, 9)[2:-1]
    starts = np.repeat(cheapest_tokens(costs), len(budgets), axis=0)
    found = Refiner(RuleEvaluator(predictor), costs)(starts, budgets)
    overrated = predictor(found) - truth(costs).accuracy(found)
    assert np.abs(overrated).mean() < 2 * truth(costs).noise


def test_without_a_ceiling_merit_and_accuracy_are_the_same(predictor):
    merit = np.array([[-3.0, 0.1], [0.5, 4.0]])
    np.testing.assert_array_equal(replace(predictor, ceiling=np.inf).accuracy(merit), merit)
    np.testing.assert_allclose(replace(predictor, ceiling=0.8).accuracy(merit), 0.8 - np.exp(-merit))


def test_arrays_bring_the_predictor_back(predictor):
    again = AccuracyPredictor.from_arrays(SPACE, predictor.arrays())
    tokens = SPACE.sample(10, np.random.default_rng(1))
    np.testing.assert_array_equal(again(tokens), predictor(tokens))
    assert again.error == predictor.error
    with pytest.raises(ValueError, match="does not fit"):
        AccuracyPredictor.from_arrays(TINY, predictor.arrays())


def test_constant_accuracies_predict_that_constant():
    tokens = SPACE.sample(30, np.random.default_rng(1))
    predictor = fit_predictor(SPACE, tokens, np.full(30, 0.7))
    np.testing.assert_allclose(predictor(tokens), 0.7, atol=1e-6)
    assert np.isnan(predictor.rank_correlation)


def test_too_few_accuracies_are_refused():
    with pytest.raises(ArchiveError, match="7 accuracies are too few"):
        fit_predictor(SPACE, SPACE.sample(7, np.random.default_rng(0)), np.linspace(0.6, 0.7, 7))


def test_single_precision_that_is_too_coarse_is_followed_by_double():
    """Features that are nearly the same, under a prior far wider than the noise."""
    rng = np.random.default_rng(0)
    base = rng.standard_normal((300, 1))
    x = (base + 1e-4 * rng.standard_normal((300, 20))).astype(np.float32)
    y, ones = base[:, 0] + 1e-3 * rng.standard_normal(300), np.ones(300)
    prior, noise = np.full(20, 1e3), 1e-6
    design = np.concatenate([x * np.float32(np.sqrt(1e9)), np.full((300, 1), 1e3, np.float32)], axis=1)
    with pytest.raises(np.linalg.LinAlgError):
        np.linalg.cholesky(design.T @ design + np.eye(21, dtype=np.float32))
    weights, offset, residual = _solve_primal(x, y, ones, prior, noise)
    exact = np.concatenate([x * np.sqrt(1e9), np.full((300, 1), 1e3)], axis=1)
    precision = exact.T @ exact + np.eye(21)
    fitted = exact @ np.linalg.solve(precision, exact.T @ y)
    leverage = np.einsum("nf,fn->n", exact, np.linalg.solve(precision, exact.T))
    np.testing.assert_allclose(x @ weights + offset, fitted, atol=1e-4)
    np.testing.assert_allclose(residual, (y - fitted) / (1 - leverage), atol=1e-4)


def test_draws_scatter_around_the_predictor_as_the_accuracies_leave_it_open():
    """Against the posterior of the weights in closed form, on few enough features to write it out."""
    tokens, accuracy = archive(tiny_costs(), 60)
    posterior = fit_posterior(TINY, tokens, accuracy)
    asked, rng = all_tokens()[::37], np.random.default_rng(0)
    drawn = np.stack([posterior.draw(rng).merit(asked) for _ in range(1500)])
    target, strengths, features = posterior.target, posterior.strengths, posterior.learner.features
    x, new = (
        np.concatenate([features(rows).astype(float), np.ones((len(rows), 1))], axis=1) for rows in (tokens, asked)
    )
    prior = np.append(strengths.variances[features.groups], 1.0)
    weighted = x * target.weight[:, None]
    precision = weighted.T @ weighted / strengths.noise + np.diag(1 / prior)
    expected = target.scale * np.sqrt(np.einsum("nf,fn->n", new, np.linalg.solve(precision, new.T)))
    np.testing.assert_allclose(drawn.std(axis=0), expected, rtol=0.1)
    error = np.abs(drawn.mean(axis=0) - posterior.predictor.merit(asked)) / expected
    assert error.max() < 5 / np.sqrt(len(drawn))


def test_many_accuracies_are_learnt_from_in_the_end_though_some_decide_the_ceiling(monkeypatch):
    tokens, accuracy = archive(full_costs(), 400)
    everything = fit_predictor(SPACE, tokens, accuracy)
    monkeypatch.setattr("pnag.accuracy.predictor_fit.DUAL_ROWS", 300)
    posterior = fit_posterior(SPACE, tokens, accuracy)
    assert len(posterior.learner.tokens) == 300
    unseen, _ = archive(full_costs(), 500, seed=7)
    known = truth(full_costs()).accuracy(unseen)
    some = posterior.learner.learn(posterior.target, posterior.strengths)
    error = {name: np.std(p(unseen) - known) for name, p in {"all": posterior.predictor, "some": some}.items()}
    assert error["all"] < error["some"]
    assert error["all"] == pytest.approx(np.std(everything(unseen) - known), rel=0.25)
    assert posterior.draw(np.random.default_rng(0)).ceiling == posterior.predictor.ceiling


def test_many_accuracies_that_do_not_level_off_are_learnt_without_a_ceiling(monkeypatch):
    monkeypatch.setattr("pnag.accuracy.predictor_fit.DUAL_ROWS", 100)
    tokens = SPACE.sample(160, np.random.default_rng(3))
    depth = tokens[:, :: SPACE.tokens_per_unit].sum(axis=1)
    accuracy = 0.5 + np.expm1(0.2 * depth) / 40  # steeper and steeper
    learnt = fit_predictor(SPACE, tokens, accuracy)
    assert np.isinf(learnt.ceiling)
    assert learnt.rank_correlation > 0.95
