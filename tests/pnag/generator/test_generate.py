import json
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from pnag.accuracy.predictor_fit import fit_predictor
from pnag.errors import BudgetError, InfeasibleBudgetError, PnagError, RunError
from pnag.generator.generate import FILE_NAME, Generator
from pnag.generator.learning import train_generator, train_in_rounds
from pnag.generator.policy import PolicySettings
from pnag.search.limits import range_text
from pnag.search.refine import Refiner
from pnag.space.architecture import Architecture
from tests.pnag.search.learning_cases import (
    QUICK,
    TINY,
    TWO_SIDES,
    all_tokens,
    archive,
    full_costs,
    tiny_costs,
    two_sided_archive,
    two_sided_costs,
)

RESIDUALS = tuple(np.random.default_rng(1).normal(0, 0.01, 20))


@pytest.fixture(scope="module")
def generator():
    costs = full_costs()
    return train_generator(
        costs.space, costs, *archive(costs, 300), residuals=RESIDUALS, metadata={"table_sha256": "abc"},
        settings=PolicySettings(steps=12, group=8, hidden=24),
    )  # fmt: skip


@pytest.fixture(scope="module")
def tiny():
    costs = tiny_costs()
    return train_generator(TINY, costs, *archive(costs, 200), settings=PolicySettings(k=4, steps=40, hidden=16))


def allowed(generator, confidence=0.95):
    low, high = generator.range_ms
    margin = 1 + generator.margin(confidence)
    return low * margin, high * margin


def test_every_budget_is_kept_with_the_margin(generator):
    budgets = np.linspace(*allowed(generator), 60)
    budgets[0], budgets[-1] = np.nextafter(budgets[0], np.inf), np.nextafter(budgets[-1], 0)
    margin = generator.margin()
    assert margin > 0.01
    for candidate, budget in zip(generator.generate_many(budgets.tolist()), budgets, strict=True):
        assert candidate.budget_ms == budget
        assert candidate.cost_ms * (1 + margin) <= budget
        assert candidate.cost_ms <= candidate.limit_ms
        tokens = generator.space.encode([candidate.architecture])
        assert generator.costs(tokens)[0] == pytest.approx(candidate.cost_ms)


def test_a_higher_confidence_leaves_more_room(generator):
    margins = [generator.generate(80.0, confidence=c).margin for c in (0.6, 0.9, 0.95, 0.99)]
    assert margins == sorted(margins)
    costs = [generator.generate(80.0, confidence=c).cost_ms for c in (0.6, 0.99)]
    assert costs[0] > costs[1]


@pytest.mark.parametrize("factor", [0.5, 0.999])
def test_a_budget_below_the_range_is_answered_with_the_range(generator, factor):
    low, high = allowed(generator)
    budget = low * factor
    with pytest.raises(InfeasibleBudgetError) as caught:
        generator.generate(budget)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.exit_code == 4
    assert f"{high:.0f}"[:2] in message
    assert "cheapest" in message


@pytest.mark.parametrize("factor", [1.001, 1.5, 20.0])
def test_a_budget_above_the_range_is_answered_with_the_best_network_of_all(generator, factor):
    _, high = allowed(generator)
    best, found = generator.generate(high), generator.generate(high * factor)
    assert found.budget_ms == high * factor
    assert found.limit_ms == generator.range_ms[1]
    assert found.cost_ms <= found.limit_ms
    assert found.accuracy == pytest.approx(best.accuracy, abs=1e-3)


def test_without_unseen_networks_there_is_no_confidence(generator):
    assert replace(generator, residuals=()).generate(80.0, confidence=0.99).confidence is None
    assert replace(generator, residuals=(0.01,)).generate(80.0).confidence is None
    assert generator.generate(80.0, confidence=0.9).confidence == 0.9


def test_the_range_that_is_named_can_be_asked_for(generator):
    with pytest.raises(InfeasibleBudgetError) as caught:
        generator.generate(1.0)
    words = str(caught.value).split("choose from ")[1].split()
    for word in (words[0], words[2]):
        generator.generate(float(word))


@pytest.mark.parametrize(("low", "high"), [(0.01234, 0.01987), (0.3472, 0.5366), (9.996, 30.0), (141.237, 480.119)])
def test_a_range_is_shown_within_itself_and_finely_enough(low, high):
    shown_low, _, shown_high, _ = range_text(low, high, "ms").split()
    assert low <= float(shown_low) < low + 0.02 * (high - low)
    assert high - 0.02 * (high - low) < float(shown_high) <= high


@pytest.mark.parametrize("budget", [0.0, -5.0, float("nan"), float("inf")])
def test_what_is_no_budget_is_refused(generator, budget):
    with pytest.raises(BudgetError):
        generator.generate(budget)


def test_one_budget_is_answered_as_many_are(generator):
    budgets = [50.0, 71.5, 100.0]
    together = generator.generate_many(budgets, seed=3)
    for one, of_many in zip([generator.generate(budget, seed=3) for budget in budgets], together, strict=True):
        assert replace(one, score=0.0, accuracy=0.0) == replace(of_many, score=0.0, accuracy=0.0)
        assert (one.score, one.accuracy) == pytest.approx((of_many.score, of_many.accuracy), rel=1e-6)
    assert generator.generate_many([]) == []


def test_the_predicted_accuracy_comes_with_its_error(generator):
    candidate = generator.generate(80.0)
    tokens = generator.space.encode([candidate.architecture])
    assert candidate.accuracy == pytest.approx(float(generator.evaluator.predictor(tokens)[0]))
    assert 0.0005 < candidate.accuracy_error < 0.005


def test_a_larger_budget_gives_a_network_at_least_as_good(generator):
    accuracy = [c.accuracy for c in generator.generate_many(np.linspace(45, 110, 12).tolist())]
    assert (np.diff(accuracy) > -2e-4).all()


def test_in_a_small_space_the_best_network_there_is_is_found(tiny):
    tokens = all_tokens()
    cost, accuracy = tiny.costs(tokens), tiny.evaluator.predictor(tokens)
    budgets = np.linspace(*tiny.range_ms, 20)[1:-1]
    for candidate, budget in zip(tiny.generate_many(budgets.tolist()), budgets, strict=True):
        assert candidate.accuracy >= accuracy[cost <= budget].max() - 2e-4


def test_refinement_starts_from_networks_known_from_the_training_too(generator):
    hasty = replace(generator, steps=1, known=None)
    alone = hasty.generate(80.0)
    refiner = Refiner(generator.evaluator, generator.costs)
    starts = generator.space.sample(30, np.random.default_rng(4))
    refined = refiner(starts, np.full(30, alone.limit_ms))
    keeping = refined[generator.costs(refined) <= alone.limit_ms]
    best = keeping[generator.evaluator.predictor(keeping).argmax()]
    dearest = generator.space.encode([generator.space.extremes()[1]])[0]
    informed = replace(hasty, known=np.stack([dearest, best])).generate(80.0)
    assert informed.accuracy >= float(generator.evaluator.predictor(best[None])[0]) > alone.accuracy
    assert informed.cost_ms <= informed.limit_ms


def test_bare_samples_are_neither_filtered_nor_refined(generator):
    drawn = generator.sample(80.0, 300, seed=2)
    assert drawn.shape == (300, generator.space.length)
    np.testing.assert_array_equal(drawn, generator.sample(80.0, 300, seed=2))
    np.testing.assert_array_equal(generator.space.canonical(drawn), drawn)


def test_a_written_generator_answers_as_before(generator, tmp_path):
    path = generator.save(tmp_path / "run")
    assert path.name == FILE_NAME
    assert [p.name for p in path.parent.iterdir()] == [FILE_NAME]
    again = Generator.load(tmp_path / "run")
    assert again.generate_many([60.0, 90.0]) == generator.generate_many([60.0, 90.0])
    assert again.metadata["table_sha256"] == "abc"
    assert again.metadata["evaluations"] == 300
    assert again.space == generator.space
    assert again.method == "pnag"
    assert again.residuals == generator.residuals
    np.testing.assert_array_equal(again.known, generator.known)
    np.testing.assert_array_equal(again.sample(70.0, 50), generator.sample(70.0, 50))


def test_an_absent_generator_is_one_clear_line(tmp_path):
    with pytest.raises(RunError, match=r"no generator in .*; train one"):
        Generator.load(tmp_path)


def test_damage_anywhere_is_noticed(generator, tmp_path):
    content = generator.save(tmp_path).read_bytes()
    rng = np.random.default_rng(0)
    for length in (0, 10, len(content) // 2, len(content) - 1):
        (tmp_path / FILE_NAME).write_bytes(content[:length])
        with pytest.raises(RunError, match="damaged"):
            Generator.load(tmp_path)
    before = generator.generate(80.0)
    for position in rng.integers(0, len(content), 40).tolist():
        flipped = bytearray(content)
        flipped[position] ^= 0xFF
        (tmp_path / FILE_NAME).write_bytes(bytes(flipped))
        with suppress(RunError):  # a flipped byte of the archive's own time stamps changes nothing
            assert Generator.load(tmp_path).generate(80.0) == before


def test_another_version_is_refused(generator, tmp_path):
    path = generator.save(tmp_path)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    header = json.loads(arrays["header"].tobytes()) | {"format_version": 99}
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    np.savez(path, **arrays)
    with pytest.raises(RunError, match="version 99"):
        Generator.load(tmp_path)


def run_python(code):
    """What a Python of its own prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


def test_generating_imports_neither_torch_nor_pandas_nor_scipy(generator, tmp_path):
    generator.save(tmp_path)
    code = (
        "import sys; from pnag import Generator;"
        f"candidate = Generator.load({str(tmp_path)!r}).generate(80.0);"
        "print(candidate.architecture);"
        "print([m for m in ('torch', 'pandas', 'pyarrow', 'scipy', 'sklearn', 'onnx') if m in sys.modules])"
    )
    done = run_python(code)
    architecture, loaded = done.stdout.splitlines()
    assert Architecture.parse(architecture) == generator.generate(80.0).architecture
    assert loaded == "[]"


def test_the_command_answers_without_what_it_does_not_need(generator, tmp_path):
    generator.save(tmp_path)
    code = (
        "import sys; from pnag.cli_generate import main\n"
        f"sys.argv = ['pnag-generate', '80ms', '--from', {str(tmp_path)!r}, '--max-params', '90M']\n"
        "try: main()\n"
        "finally: print(*sys.modules, file=sys.stderr)"
    )
    done = run_python(code)
    assert "budget 80 ms" in done.stdout
    heavy = "torch pandas pyarrow scipy sklearn onnx yaml matplotlib bokeh PIL rich pydantic"  # libraries
    heavy += " devices importlib.metadata email.message tomllib"  # each a thirtieth of the time or more
    assert set(done.stderr.split()) & set(heavy.split()) == set()


def test_a_pool_has_no_network_to_draw_from():
    costs = tiny_costs()
    pool = train_generator(TINY, costs, *archive(costs, 40), method="random")
    with pytest.raises(PnagError, match="method random"):
        pool.sample(0.4, 3)


# -- several resolutions ----------------------------------------------------------------------------------


def test_a_choice_of_resolutions_is_answered_saved_and_asked_for_in_rounds(tmp_path):
    costs, asked = two_sided_costs(), []

    def ask(tokens):
        asked.append(tokens)
        known = dict(zip(map(bytes, every), accuracy, strict=True))
        return np.array([known[bytes(row)] for row in tokens])

    every = all_tokens(TWO_SIDES)
    accuracy = 0.7 + 0.002 * every[:, 1:].sum(axis=1) + 0.01 * every[:, -1]
    generator, tokens, _ = train_in_rounds(
        TWO_SIDES, costs, ask, first=40, rounds=2, per_round=20, settings=QUICK, residuals=RESIDUALS
    )
    assert [len(tokens) for tokens in asked] == [40, 20, 20]
    assert len(np.unique(tokens, axis=0)) == len(np.unique(asked[0], axis=0)) + 40
    low, high = allowed(generator)
    budgets = np.linspace(low * 1.001, high * 0.999, 12)
    found = generator.generate_many(budgets.tolist())
    assert {candidate.architecture.resolution for candidate in found} == {32, 48}
    for candidate in found:
        assert candidate.cost_ms <= candidate.limit_ms
        assert candidate.cost_ms == pytest.approx(costs(TWO_SIDES.encode([candidate.architecture]))[0])
    generator.save(tmp_path)
    again = Generator.load(tmp_path)
    assert again.space == TWO_SIDES
    assert [c.architecture for c in again.generate_many(budgets.tolist())] == [c.architecture for c in found]


def test_learning_tells_resolutions_apart():
    tokens, accuracy = two_sided_archive(300, seed=1)
    predictor = fit_predictor(TWO_SIDES, *two_sided_archive(300))
    gain = accuracy[tokens[:, -1] == 1].mean() - accuracy[tokens[:, -1] == 0].mean()
    assert gain > 0.005
    error = np.sqrt(np.mean((predictor(tokens) - accuracy) ** 2))
    assert error < 0.4 * accuracy.std()
    assert error == pytest.approx(predictor.error, rel=0.5)


def test_without_exchanges_the_best_known_or_drawn_network_is_the_answer_as_it_is():
    costs = tiny_costs()
    networks = all_tokens()
    generator = replace(
        train_generator(TINY, costs, *archive(costs, 200), settings=replace(QUICK, example_exchanges=0)),
        steps=0, known=networks,
    )  # fmt: skip
    budget = float(np.median(costs(networks)))
    answer = generator.generate(budget, confidence=0.5)
    within = networks[costs(networks) <= budget]
    assert answer.score == pytest.approx(generator.evaluator.worth(within).max())
    assert answer.origin.exchanges == 0
