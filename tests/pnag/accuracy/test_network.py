"""A model of accuracies: the same written out layer by layer, its changes one by one, and the one that ships."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pnag.accuracy.archive import DEFAULT, SHIPPED, AccuracyArchive
from pnag.accuracy.network import AccuracyNetwork
from pnag.accuracy.predictor import LayerCodes
from pnag.accuracy.shipped import model_of
from pnag.errors import ArchiveError
from pnag.generator.generate import Generator
from pnag.generator.learning import train_generator
from pnag.space.spaces import load_space
from tests.pnag.search.learning_cases import QUICK, TINY, all_tokens, archive, tiny_costs


def small_network(resolution=160):
    rng = np.random.default_rng(0)
    inputs = TINY.units * TINY.layers * (len(TINY.kernels) + len(TINY.expands)) + 2
    sizes = (inputs, 7, 5, 1)
    layers = tuple(
        (rng.normal(0, 0.3, pair).astype(np.float32), rng.normal(0, 0.1, pair[1]).astype(np.float32))
        for pair in pairwise(sizes)
    )
    weight, bias = layers[-1]
    layers = (*layers[:-1], (weight / 20, bias + 0.5))  # accuracies are between 0 and 1
    return AccuracyNetwork(TINY, layers, (128, 160), (resolution,), 0.001, 0.99)


def by_hand(network, architecture):
    kernels, expands = [], []
    for kernel, expand in zip(architecture.kernels, architecture.expands, strict=True):
        kernels += [float(kernel == choice) for choice in TINY.kernels]
        expands += [float(expand == choice) for choice in TINY.expands]
    x = np.array([*kernels, *expands, *(float(side in network.sides) for side in network.resolutions)])
    for weight, bias in network.layers[:-1]:
        x = np.maximum(x @ weight + bias, 0)
    return (x @ network.layers[-1][0] + network.layers[-1][1])[0]


@pytest.mark.parametrize("resolution", [128, 160])
def test_predictions_are_those_of_its_layers(resolution):
    network, some = small_network(resolution), all_tokens()[::37]
    wanted = [by_hand(network, architecture) for architecture in TINY.decode(some)]
    assert network(some) == pytest.approx(wanted, abs=1e-5)
    assert network.at(resolution)(some) == pytest.approx(wanted, abs=1e-5)


def test_a_resolution_to_choose_is_one_more_layer():
    space = replace(TINY, resolution=160, resolutions=(128, 160))
    free = replace(small_network(), space=space, sides=(128, 160))
    some = all_tokens()[::37]
    for index, side in enumerate(free.resolutions):
        chosen = np.concatenate([some, np.full((len(some), 1), index, dtype=np.int8)], axis=1)
        assert free(chosen) == pytest.approx(small_network(side)(some), abs=1e-5)
        other = np.concatenate([some, np.full((len(some), 1), 1 - index, dtype=np.int8)], axis=1)
        changes = free.changes(LayerCodes(space).of(chosen))
        assert changes[:, -1, 1 - index] == pytest.approx(free(other) - free(chosen), abs=1e-5)


def test_changes_are_differences_of_predictions():
    network, codec = small_network(), LayerCodes(TINY)
    codes = codec.of(all_tokens()[::50])
    changes = network.changes(codes)
    for row in range(len(codes)):
        for layer in range(codec.layers):
            assert changes[row, layer, codes[row, layer]] == 0
            for code in range(1, codec.codes) if codes[row, layer] else ():
                other = codes[row].copy()
                other[layer] = code
                difference = network(codec.tokens(other[None])) - network(codec.tokens(codes[row][None]))
                assert changes[row, layer, code] == pytest.approx(difference[0], abs=1e-5)


def test_a_resolution_that_was_not_learnt_is_refused():
    with pytest.raises(ArchiveError, match="200; the model knows 128, 160"):
        small_network().at(200)


def test_a_file_that_is_none_is_refused(tmp_path: Path):
    (tmp_path / "x.npz").write_bytes(b"PK nothing")
    for path in (tmp_path / "x.npz", tmp_path / "absent.npz"):
        with pytest.raises(ArchiveError, match="no model of accuracies"):
            AccuracyNetwork.load(path, TINY)
    np.savez(tmp_path / "other.npz", **small_network().arrays())
    assert AccuracyNetwork.load(tmp_path / "other.npz", TINY)(all_tokens()[:5]) == pytest.approx(
        small_network()(all_tokens()[:5])
    )
    with pytest.raises(ArchiveError, match="ofa-mbv3"):
        AccuracyNetwork.load(tmp_path / "other.npz", load_space())


def test_a_generator_predicts_with_it_after_it_was_read_back(tmp_path: Path):
    costs, network = tiny_costs(), small_network()
    tokens, _ = archive(costs, 40)
    generator = train_generator(TINY, costs, tokens, network(tokens), settings=QUICK, learnt=network)
    generator.save(tmp_path)
    budgets = np.linspace(*costs.range_ms, 8)[1:-1]
    found = Generator.load(tmp_path).generate_many(budgets.tolist())
    assert [c.architecture for c in found] == [c.architecture for c in generator.generate_many(budgets.tolist())]
    every, best = all_tokens(), []
    for candidate in found:
        assert candidate.accuracy == pytest.approx(np.clip(network(TINY.encode([candidate.architecture])), 0, 1)[0])
        within = costs(every) <= candidate.limit_ms
        best.append(network(every[within]).max() - candidate.accuracy)
    assert max(best) <= network.error  # an unknown network must promise more than its error to replace a known one


def test_the_model_that_ships_predicts_what_the_archive_beside_it_holds():
    space = load_space()
    for side in (160, 224):
        shipped = AccuracyArchive.load(SHIPPED[DEFAULT], replace(space, resolution=side))
        model = model_of(SHIPPED[DEFAULT], shipped)
        assert model is not None
        assert model.sides == (side,)
        errors = model(shipped.tokens) - shipped.accuracy
        assert np.sqrt(np.mean(errors**2)) < 0.002  # these rows took no part in the distillation
        assert 0 < model.error < 0.0015
        assert np.corrcoef(model(shipped.tokens), shipped.accuracy)[0, 1] > 0.99


def test_other_archives_have_no_model():
    space = load_space()
    shipped = AccuracyArchive.load(SHIPPED[DEFAULT], space)
    assert model_of(SHIPPED["cifar10"], shipped) is None
    assert model_of(None, shipped) is None
