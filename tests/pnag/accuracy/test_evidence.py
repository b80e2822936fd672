import numpy as np
import pytest

from pnag.accuracy.evidence import Evidence
from pnag.accuracy.features import FeatureMap
from pnag.space.spaces import load_space
from tests.pnag.search.learning_cases import TINY, all_tokens

GROUPS = np.repeat([0, 1, 2, 3, 4, 5], 12)
KINDS = np.array([-1, -1, -1, -1, 0, 0])


def features(n=150, seed=0):
    return np.random.default_rng(seed).standard_normal((n, len(GROUPS))).astype(np.float32)


def targets(x, variances, noise, rng):
    weights = np.sqrt(np.asarray(variances)[GROUPS]) * rng.standard_normal(x.shape[1])
    return x @ weights + np.sqrt(noise) * rng.standard_normal(len(x))


def test_the_gradient_is_that_of_the_value():
    rng = np.random.default_rng(0)
    x = features(40)
    evidence, y = Evidence(x, GROUPS, KINDS), rng.standard_normal(40)
    at, spread = rng.normal(-1, 0.5, 7), rng.uniform(0.5, 2, 40)
    _, gradient = evidence._negative_log_posterior(at, y, spread)
    for index in range(7):
        step = np.eye(7)[index] * 1e-5
        above, below = (evidence._negative_log_posterior(at + sign * step, y, spread)[0] for sign in (1, -1))
        assert gradient[index] == pytest.approx((above - below) / 2e-5, rel=1e-4, abs=1e-6)


def test_the_value_is_the_density_of_the_data():
    """Up to what groups of a kind cost by being unlike, which is nothing for one group alone."""
    from scipy.stats import multivariate_normal

    rng = np.random.default_rng(1)
    x, y, spread = features(30), rng.standard_normal(30), rng.uniform(0.5, 2, 30)
    evidence = Evidence(x, GROUPS, np.full(6, -1))
    values, densities = [], []
    for noise in (0.1, 0.4):
        log = np.log([0.3, 0.2, 0.1, 0.3, 0.2, 0.1, noise])
        values.append(evidence._negative_log_posterior(log, y, spread)[0])
        sizes = [np.square(x[:, group == GROUPS].astype(float)).sum() / 30 for group in range(6)]
        prior = (np.exp(log[:-1]) / sizes)[GROUPS]
        covariance = (x * prior) @ x.T.astype(float) + 1.0 + noise * np.diag(spread)
        densities.append(-multivariate_normal(np.zeros(30), covariance).logpdf(y))
    assert values[0] - values[1] == pytest.approx(densities[0] - densities[1], rel=1e-5)


def test_strengths_and_noise_are_found():
    variances, noise = np.array([1.0, 0.1, 0.0, 0.3, 0.02, 0.02]), 0.05
    found = []
    for seed in range(12):
        x = features(250, seed)
        y = targets(x, variances, noise, np.random.default_rng(100 + seed))
        strengths = Evidence(x, GROUPS, KINDS).maximise(y, np.ones(len(y)))
        found.append([*strengths.variances, strengths.noise])
    typical = np.median(found, axis=0)
    np.testing.assert_allclose(typical[[0, 1, 3, 4, 5, 6]], [1.0, 0.1, 0.3, 0.02, 0.02, 0.05], rtol=0.35)
    assert typical[2] < 0.005


def test_a_group_of_which_little_is_known_takes_the_strength_of_its_kind():
    rng = np.random.default_rng(3)
    x = features(60)
    x[:, GROUPS == 5] *= 0.02  # of no weight in these data
    y = targets(x, [0.5, 0.5, 0.5, 0.5, 0.5, 0.0], 0.1, rng)
    alone = Evidence(x, GROUPS, np.full(6, -1)).maximise(y, np.ones(60))
    together = Evidence(x, GROUPS, KINDS).maximise(y, np.ones(60))
    assert together.variances[5] / together.variances[4] == pytest.approx(1.0, abs=0.9)
    assert abs(np.log(alone.variances[5] / alone.variances[4])) > abs(
        np.log(together.variances[5] / together.variances[4])
    )


def test_rows_of_more_noise_count_for_less():
    rng = np.random.default_rng(4)
    x, spread = features(200), np.where(np.arange(200) < 100, 1.0, 9.0)
    y = targets(x, [0.3] * 6, 0.0, rng) + np.sqrt(0.1 * spread) * rng.standard_normal(200)
    strengths = Evidence(x, GROUPS, KINDS).maximise(y, spread)
    assert strengths.noise == pytest.approx(0.1, rel=0.4)


def test_a_search_goes_on_where_another_ended():
    x = features(100)
    y = targets(x, [1.0, 0.5, 0.1, 0.1, 0.1, 0.1], 0.1, np.random.default_rng(5))
    evidence = Evidence(x, GROUPS, KINDS)
    once = evidence.maximise(y, np.ones(100))
    again = evidence.maximise(y, np.ones(100), once)
    np.testing.assert_allclose(np.log(again.variances), np.log(once.variances), atol=0.2)


@pytest.mark.parametrize("space", [load_space(), TINY], ids=["full", "tiny"])
def test_pairs_of_a_space_are_of_two_kinds(space):
    features = FeatureMap(space)
    assert len(features.alike) == features.groups.max() + 1
    assert (features.alike[:4] == -1).all()
    assert set(features.alike.tolist()) == {-1, 0, 1}
    x = features(all_tokens()[:20] if space is TINY else space.sample(20, np.random.default_rng(0)))
    evidence = Evidence(x, features.groups, features.alike, features.mains)
    assert np.isfinite(evidence.maximise(np.linspace(-1, 1, 20), np.ones(20)).variances).all()
