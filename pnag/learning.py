"""From a latency table's cost model and measured accuracies to a generator: one call, or in rounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pnag.cost import CostModel
from pnag.errors import ArchiveError
from pnag.evaluator import RuleEvaluator
from pnag.evolution import Ask
from pnag.generate import Generator
from pnag.methods import Problem, find_method
from pnag.policy import PolicySettings
from pnag.refine import Refiner
from pnag.space import SearchSpace, Tokens

Array = NDArray[np.float64]
Progress = Callable[[float], None]

FIRST_EVALUATIONS = 1100
ROUNDS = 3
EVALUATIONS_PER_ROUND = 300
_USED = 0.97  # of a budget: a network that costs less leaves some of it unused


def train_generator(
    space: SearchSpace,
    cost_model: CostModel,
    tokens: Tokens,
    accuracy: Array,
    *,
    method: str = "pnag",
    k: int = 10,
    seed: int = 0,
    residuals: Sequence[float] = (),
    metadata: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    ask: Ask | None = None,
    searched_ms: Sequence[float] = (),
    settings: PolicySettings | None = None,
) -> Generator:
    """Train on M architectures, tokens (M, length), with accuracies (M,) as fractions.

    `residuals` are the table's on unseen networks (measured / predicted - 1); they become the margin at the
    asked confidence. `progress` is called with the share done, between 0 and 1. `ask` measures accuracies of
    further architectures, for methods that search; `searched_ms` are the budgets these search for. Raises
    `PnagError` for an unknown method, `SpaceError` for a cost model of another space, `ArchiveError` for
    accuracies that cannot be learnt from.
    """
    space.require_same_family(cost_model.space, "the cost model")
    chosen = find_method(method)
    accuracy = np.asarray(accuracy, dtype=float)
    _check_archive(space, tokens, accuracy)
    report = progress or (lambda share: None)
    policy = settings or PolicySettings(k=k)
    problem = Problem(cost_model, tokens, accuracy, seed, policy, report, ask, tuple(searched_ms))
    generator = chosen.train(problem)
    report(1.0)
    return Generator(
        costs=generator.costs,
        evaluator=generator.evaluator,
        proposer=generator.proposer,
        method=method,
        steps=generator.steps,
        known=generator.known,
        residuals=tuple(float(value) for value in residuals),
        metadata={"evaluations": len(tokens), "k": policy.k, "seed": seed, **(metadata or {})},
    )


def train_in_rounds(
    space: SearchSpace,
    cost_model: CostModel,
    ask: Ask,
    *,
    tokens: Tokens | None = None,
    accuracy: Array | None = None,
    first: int = FIRST_EVALUATIONS,
    rounds: int = ROUNDS,
    per_round: int = EVALUATIONS_PER_ROUND,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> tuple[Generator, Tokens, Array]:
    """Spend accuracy evaluations near the frontier: train, let the generator propose, ask, train again.

    Starts from an archive if one is given, else from `first` random architectures that `ask` answers. Returns
    the generator with the grown archive, (M, length) and (M,). `options` go to `train_generator`.
    """
    rng = np.random.default_rng([seed, 7])
    if tokens is None or accuracy is None:
        tokens = space.sample(first, rng)
        accuracy = ask(tokens)
    report = progress or (lambda share: None)
    for number in range(rounds + 1):
        generator = train_generator(
            space, cost_model, tokens, accuracy, seed=seed + number,
            progress=lambda share, number=number: report((number + share) / (rounds + 1)),  # type: ignore[misc]
            **options,
        )  # fmt: skip
        if number < rounds:
            proposed = propose(generator, tokens, per_round, rng)
            tokens = np.concatenate([tokens, proposed])
            accuracy = np.concatenate([accuracy, ask(proposed)])
    return generator, tokens, accuracy


def propose(generator: Generator, known: Tokens, n: int, rng: np.random.Generator) -> Tokens:
    """`n` architectures near the frontier that are not known yet, shape (n, length), over the whole range.

    Where the predictor sees nothing to gain and a budget is not used up, the best network that does use it is proposed:
    no accuracy of a large network would be asked for otherwise, and the predictor could not learn that it errs there.
    """
    low, high = generator.range_ms
    budgets = low + (high - low) * (np.arange(n) + rng.random(n)) / n
    seen = {row.tobytes() for row in known}
    best = generator.generate_many(budgets.tolist(), confidence=0.5, seed=int(rng.integers(2**31)))
    rows = generator.space.encode([candidate.architecture for candidate in best])
    unused = generator.costs(rows) < _USED * budgets
    refiner = Refiner(RuleEvaluator(generator.evaluator.predictor, "tunas"), generator.costs)
    rows[unused] = refiner(rows[unused], budgets[unused])
    out: list[Tokens] = []
    for budget, row in zip(budgets.tolist(), rows, strict=True):
        drawn = generator.sample(budget, 16, seed=int(rng.integers(2**31)))
        for candidate in (row, *drawn):
            if candidate.tobytes() not in seen:
                seen.add(candidate.tobytes())
                out.append(candidate)
                break
    return np.array(out, dtype=np.int8).reshape(len(out), generator.space.length)


def _check_archive(space: SearchSpace, tokens: Tokens, accuracy: Array) -> None:
    if tokens.shape != (len(accuracy), space.length):
        raise ArchiveError(
            f"architectures of shape {tokens.shape} and {len(accuracy)} accuracies do not fit; "
            f"give (M, {space.length}) and M"
        )
    if not (np.isfinite(accuracy).all() and (accuracy >= 0).all() and (accuracy <= 1).all()):
        bad = accuracy[~(np.isfinite(accuracy) & (accuracy >= 0) & (accuracy <= 1))][0]
        raise ArchiveError(f"an accuracy of {bad} is not a fraction between 0 and 1; percentages are divided by 100")
