from dataclasses import replace

import numpy as np
import pytest
import torch

from pnag.accuracy.predictor_fit import fit_predictor
from pnag.generator.policy import PolicyNetwork, PolicySettings, train_policy
from pnag.generator.sampler import Policy, lstm_cell
from pnag.search.evaluator import RuleEvaluator
from pnag.search.memory import Memory
from pnag.search.refine import Refiner
from pnag.space.spaces import load_space
from tests.pnag.search.learning_cases import TINY, TWO_SIDES, all_tokens, archive, tiny_costs

SETTINGS = PolicySettings(k=4, hidden=16, width=8)


def network(space, anchors=(20.0, 40.0, 60.0, 80.0)):
    made = PolicyNetwork(space, np.array(anchors), SETTINGS, torch.Generator().manual_seed(1))
    with torch.no_grad():
        for parameter in made.parameters:
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)) * 0.3)
    return made


@pytest.mark.parametrize("space", [TINY, TWO_SIDES])
def test_the_probabilities_of_all_architectures_sum_to_one(space):
    tokens = all_tokens(space)
    log_p, _ = network(space).log_probability(tokens, np.full(len(tokens), 33.0))
    assert float(log_p.exp().sum().detach()) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("space", [TINY, TWO_SIDES])
def test_numpy_draws_each_architecture_as_often_as_torch_says(space):
    made, tokens = network(space), all_tokens(space)
    log_p, _ = made.log_probability(tokens, np.full(len(tokens), 33.0))
    drawn = made.policy().sample(np.full(40_000, 33.0), np.random.default_rng(0).random((40_000, space.length)))
    index = {row.tobytes(): i for i, row in enumerate(tokens)}
    counts = np.bincount([index[row.tobytes()] for row in drawn], minlength=len(tokens))
    expected = log_p.exp().detach().numpy() * len(drawn)
    common = expected > 20
    assert common.sum() > 20
    assert (np.abs(counts - expected)[common] < 5 * np.sqrt(expected[common])).all()


def test_entropy_is_the_mean_of_minus_log_probability():
    made, tokens = network(TINY), all_tokens()
    log_p, along = made.log_probability(tokens, np.full(len(tokens), 50.0))
    p = log_p.exp()
    assert float((p * along).sum().detach()) == pytest.approx(float(-(p * log_p).sum().detach()), rel=1e-4)


def test_layers_beyond_the_depth_carry_neither_probability_nor_gradient():
    made = network(TINY)
    shallow = all_tokens()[(all_tokens()[:, 0] == 0) & (all_tokens()[:, 5] == 0)][:3]
    log_p, entropy = made.log_probability(shallow, np.full(3, 50.0))
    (log_p.sum() + entropy.sum()).backward()
    head_gradient = made.parameters[-1].grad
    absent = [3, 4, 8, 9]  # second layer of each unit: expand and kernel
    assert not head_gradient[absent].any()
    assert head_gradient[[0, 1, 2]].any()


def test_sampled_architectures_are_canonical_and_of_the_space():
    space = load_space()
    policy = network(space).policy()
    drawn = policy.sample(np.linspace(20, 80, 500), np.random.default_rng(0).random((500, space.length)))
    np.testing.assert_array_equal(space.canonical(drawn), drawn)
    assert len(np.unique(drawn, axis=0)) > 400


@pytest.mark.parametrize("space", [load_space(), TWO_SIDES])
def test_networks_drawn_together_are_those_drawn_one_by_one(space):
    policy, uniforms = network(space).policy(), np.random.default_rng(3).random((60, space.length))
    uniforms[20:40] = uniforms[:20]  # alike to the end, or until the budgets part them
    budgets = np.repeat([25.0, 55.0, 55.0], 20)[np.random.default_rng(4).permutation(60)]
    alone = [policy.sample(budgets[[row]], uniforms[[row]]) for row in range(60)]
    np.testing.assert_array_equal(policy.sample(budgets, uniforms), np.concatenate(alone))


def test_the_cell_is_torchs():
    cell = torch.nn.LSTMCell(3, 5)
    x, h, c = (torch.randn(4, n) for n in (3, 5, 5))
    expected = cell(x, (h, c))
    gates = (x @ cell.weight_ih.T + cell.bias_ih + h @ cell.weight_hh.T + cell.bias_hh).detach().numpy()
    for got, want in zip(lstm_cell(gates, c.numpy()), expected, strict=True):
        np.testing.assert_allclose(got, want.detach().numpy(), atol=1e-6)


def test_arrays_bring_the_policy_back():
    policy = network(TINY).policy()
    again = Policy.from_arrays(TINY, policy.arrays())
    uniforms = np.random.default_rng(0).random((20, TINY.length))
    budgets = np.full(20, 40.0)
    np.testing.assert_array_equal(again.sample(budgets, uniforms), policy.sample(budgets, uniforms))
    with pytest.raises(ValueError, match="does not fit"):
        Policy.from_arrays(load_space(), policy.arrays())


@pytest.mark.parametrize("examples", [0, 32], ids=["policy gradient alone", "with examples"])
def test_training_learns_good_networks_for_each_budget(examples):
    costs = tiny_costs()
    evaluator = RuleEvaluator(fit_predictor(TINY, *archive(costs, 150)))
    settings = PolicySettings(k=4, steps=120, hidden=24, width=8, examples=examples)
    shares, told = [], []
    memory = Memory(Refiner(evaluator, costs, 3), *costs.range_ms)
    policy = train_policy(
        costs, evaluator, settings, memory=memory, seed=1, report=shares.append, watch=lambda *one: told.append(one)
    )
    tokens = all_tokens()
    cost, accuracy = costs(tokens), evaluator.predictor(tokens)
    kept, rank = [], []
    for budget in np.linspace(*costs.range_ms, 8)[2:-1]:
        drawn = policy.sample(np.full(200, budget), np.random.default_rng(0).random((200, TINY.length)))
        kept.append((costs(drawn) <= budget).mean())
        rank.append((accuracy[cost <= budget] < np.median(evaluator.predictor(drawn))).mean())
    assert np.mean(kept) > 0.9
    assert np.mean(rank) > 0.6
    assert shares[-1] == 1.0
    assert [step for step, _ in told] == list(range(1, 121))
    first, last = told[0][1], told[-1][1]
    assert last["kept"] > max(0.85, first["kept"])
    assert last["entropy"] < first["entropy"]
    assert 0.5 < last["used"] < 1.05


def test_the_same_seed_gives_the_same_generator():
    costs = tiny_costs()
    evaluator = RuleEvaluator(fit_predictor(TINY, *archive(costs, 60)))
    settings = PolicySettings(k=3, steps=4, hidden=8, width=4)
    first, second = (
        train_policy(costs, evaluator, settings, memory=Memory(Refiner(evaluator, costs, 2), *costs.range_ms), seed=5)
        for _ in range(2)
    )
    np.testing.assert_array_equal(first.weights.heads, second.weights.heads)


def test_a_calibrated_generator_is_conditioned_on_what_its_samples_keep():
    policy = replace(
        network(TINY).policy(), aims_ms=np.array([20.0, 40.0, 60.0, 80.0]), levels_ms=np.array([30.0, 35.0, 70.0, 75.0])
    )
    budgets = np.array([10.0, 30.0, 34.9, 40.0, 69.0, 72.0, 76.0, 99.0])
    np.testing.assert_array_equal(policy.aim(budgets), [20.0, 20.0, 20.0, 40.0, 40.0, 60.0, 60.0, 80.0])
    uncalibrated = replace(policy, aims_ms=None, levels_ms=None)
    uniforms = np.random.default_rng(0).random((8, TINY.length))
    np.testing.assert_array_equal(policy.sample(budgets, uniforms), uncalibrated.sample(policy.aim(budgets), uniforms))
    np.testing.assert_array_equal(uncalibrated.aim(budgets), budgets)


def test_calibration_makes_samples_keep_their_budgets():
    costs, policy = tiny_costs(), network(TINY, np.linspace(*tiny_costs().range_ms, 4)).policy()
    low, high = costs.range_ms
    calibrated = policy.calibrated(costs)
    again = Policy.from_arrays(TINY, calibrated.arrays())
    reachable = calibrated.levels_ms.min()
    for budget in np.linspace(reachable, high, 9):
        uniforms = np.random.default_rng(7).random((2000, TINY.length))
        assert (costs(again.sample(np.full(2000, budget), uniforms)) <= budget).mean() >= 0.95
    loose = policy.sample(np.full(2000, (low + high) / 2), np.random.default_rng(7).random((2000, TINY.length)))
    assert (costs(loose) <= (low + high) / 2).mean() < 0.9


def test_the_best_networks_that_were_met_are_left_in_the_memory():
    costs = tiny_costs()
    evaluator = RuleEvaluator(fit_predictor(TINY, *archive(costs, 150)))
    memory = Memory(Refiner(evaluator, costs, 3), *costs.range_ms)
    train_policy(costs, evaluator, PolicySettings(k=3, steps=30, hidden=8, width=4), memory=memory)
    assert len(np.unique(memory.networks, axis=0)) == len(memory.networks)
    cost, accuracy = costs(all_tokens()), evaluator.predictor(all_tokens())
    for budget in np.linspace(*costs.range_ms, 7)[1:]:
        known = memory.networks[costs(memory.networks) <= budget]
        assert evaluator.predictor(known).max() >= accuracy[cost <= budget].max() - 1e-3
