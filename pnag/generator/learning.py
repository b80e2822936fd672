"""From a latency table's cost model and measured accuracies to a generator: one call, or in rounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from lut.calibration.threads import one_thread
from pnag.accuracy.predictor import Predictor
from pnag.errors import ArchiveError
from pnag.generator.generate import Generator
from pnag.generator.methods import Problem, find_method
from pnag.generator.policy import PolicySettings
from pnag.generator.rounds import Learnt, RoundsDone, ask_in_rounds
from pnag.search.evolution import Ask
from pnag.space.cost import CostModel
from pnag.space.search_space import SearchSpace
from pnag.space.tokens import Tokens
from profiler.progress import Part, Share, Watch

Array = NDArray[np.float64]

FIRST_EVALUATIONS = 500
ROUNDS = 48
EVALUATIONS_PER_ROUND = 31
_ROUNDS_SHARE = 0.8  # of the time, with 2,000 accuracies in all
_FIRST_SHARE, _FEWEST_FIRST = 0.25, 10  # of all evaluations, drawn at random before the rounds


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
    progress: Share | None = None,
    ask: Ask | None = None,
    searched_ms: Sequence[float] = (),
    settings: PolicySettings | None = None,
    learnt: Predictor | None = None,
    watch: Watch | None = None,
) -> Generator:
    """Train on M architectures, tokens (M, length), with accuracies (M,) as fractions.

    `residuals` are the table's on unseen networks (measured / predicted - 1); they become the margin at the
    asked confidence. `progress` is called with the share done, between 0 and 1. `ask` measures accuracies of
    further architectures, for methods that search; `searched_ms` are the budgets these search for. `learnt` is the
    predictor of these accuracies, where it is known already. `watch` is told the curve of the generator's training, for
    methods that train one for all budgets. Raises `PnagError` for an unknown method, `SpaceError`
    for a cost model of another space, `ArchiveError` for accuracies that cannot be learnt from.
    """
    space.require_same_family(cast(SearchSpace, cost_model.space), "the cost model")
    chosen = find_method(method)
    accuracy = np.asarray(accuracy, dtype=float)
    _check_archive(space, tokens, accuracy)
    report = progress or (lambda share: None)
    policy = settings or PolicySettings(k=k)
    with one_thread() as before:
        asked = None if ask is None else before.given(ask)
        problem = Problem(cost_model, tokens, accuracy, seed, policy, report, asked, tuple(searched_ms), learnt, watch)
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


def rounds_of(evaluations: int, rounds: int = ROUNDS) -> tuple[int, int]:
    """Of so many evaluations, how many are drawn at random at first, and how many are asked for in each round.

    What cannot be shared out among the rounds is drawn at random too.
    """
    first = max(_FEWEST_FIRST, round(_FIRST_SHARE * evaluations))
    per_round = max(1, (evaluations - first) // rounds)
    return max(first, evaluations - rounds * per_round), per_round


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
    progress: Share | None = None,
    done: RoundsDone | None = None,
    remember: Callable[[Tokens, RoundsDone], None] | None = None,
    **options: Any,
) -> tuple[Generator, Tokens, Array]:
    """Spend accuracy evaluations where the answers are (`pnag.generator.rounds`), then train the generator once.

    Starts from an archive if one is given, else from `first` random architectures that `ask` answers. Returns
    the generator with the grown archive, (M, length) and (M,). `options` go to `train_generator`.

    `remember` is told what a round proposes, before it is asked, and how far the rounds have come then. Given the
    last of these as `done`, and an archive that has grown by all proposals until then, the call goes on from there
    to the same result.
    """
    report = progress or (lambda share: None)
    learnt = learn_in_rounds(
        space, cost_model, ask, tokens=tokens, accuracy=accuracy, first=first, rounds=rounds, per_round=per_round,
        seed=seed, progress=Part(report, 0, _ROUNDS_SHARE), done=done, remember=remember,
    )  # fmt: skip
    generator = train_generator(
        space, cost_model, learnt.tokens, learnt.accuracy, seed=seed, learnt=learnt.posterior.predictor,
        progress=Part(report, _ROUNDS_SHARE, 1 - _ROUNDS_SHARE), **options,
    )  # fmt: skip
    return generator, learnt.tokens, learnt.accuracy


def learn_in_rounds(
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
    progress: Share | None = None,
    done: RoundsDone | None = None,
    remember: Callable[[Tokens, RoundsDone], None] | None = None,
) -> Learnt:
    """The rounds of `train_in_rounds` alone: the grown archive and what it taught."""
    if tokens is None or accuracy is None:
        tokens = space.sample(first, np.random.default_rng([seed, 7]))
        accuracy = ask(tokens)
    _check_archive(space, tokens, accuracy)
    with one_thread() as before:
        return ask_in_rounds(
            cost_model, before.given(ask), tokens, accuracy, rounds=rounds, per_round=per_round, seed=seed,
            report=progress or (lambda share: None), done=done, remember=remember,
        )  # fmt: skip


def _check_archive(space: SearchSpace, tokens: Tokens, accuracy: Array) -> None:
    if tokens.shape != (len(accuracy), space.length):
        raise ArchiveError(
            f"architectures of shape {tokens.shape} and {len(accuracy)} accuracies do not fit; "
            f"give (M, {space.length}) and M"
        )
    if not (np.isfinite(accuracy).all() and (accuracy >= 0).all() and (accuracy <= 1).all()):
        bad = accuracy[~(np.isfinite(accuracy) & (accuracy >= 0) & (accuracy <= 1))][0]
        raise ArchiveError(f"an accuracy of {bad} is not a fraction between 0 and 1; percentages are divided by 100")
