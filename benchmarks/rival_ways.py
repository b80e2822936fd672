"""The ways to answer budgets that `benchmarks.rivals` compares: searches, PNAG, and PNAG without parts of itself.

Rivals are as their authors describe them, with one thing changed at a time. What ways share under a seed, random
accuracies and those of rounds with what they teach, is asked for and learnt once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchmarks.nsga2 import nsga2
from benchmarks.rival_truths import Truth
from lut.calibration.threads import one_thread
from pnag.accuracy.predictor import Predictor
from pnag.accuracy.predictor_fit import fit_predictor
from pnag.generator.generate import Generator
from pnag.generator.learning import ROUNDS, learn_in_rounds, rounds_of, train_generator
from pnag.generator.policy import PolicySettings
from pnag.search.evaluator import RuleEvaluator
from pnag.search.evolution import evolve_population
from pnag.search.known_networks import Pool
from pnag.space.cost import CostModel
from pnag.space.search_space import SearchSpace
from pnag.space.tokens import Tokens

Array = NDArray[np.float64]

QUESTIONS, OFA_QUESTIONS = 2000, 50_100
OURS = "PNAG in rounds"
_EVEN_ODDS, _SURE = 0.5, 0.95
_NSGA2_POPULATION = 100
_SOFT = PolicySettings(penalty=0.0, caution=0.0)  # a budget counts by the reward alone
_LONG = PolicySettings(steps=1600, rate=1e-3)


@dataclass
class Asked:
    """The truth, which remembers what it was asked."""

    truth: Callable[[Tokens], Array]
    tokens: list[Tokens] = field(default_factory=list)
    accuracy: list[Array] = field(default_factory=list)

    def __call__(self, tokens: Tokens) -> Array:
        """Accuracies of architectures (n, length), (n,)."""
        accuracy = self.truth(tokens)
        self.tokens.append(tokens.copy())
        self.accuracy.append(accuracy)
        return accuracy

    def pool(self, costs: CostModel) -> Pool:
        """All that was asked about."""
        tokens = np.concatenate(self.tokens)
        return Pool(tokens, costs(tokens), np.concatenate(self.accuracy))


@dataclass(frozen=True)
class Lesson:
    """Networks (n, length), their accuracies (n,), what they taught, and how long asking and learning took."""

    tokens: Tokens
    accuracy: Array
    predictor: Predictor
    seconds: float

    def pool(self, costs: CostModel) -> Pool:
        """The networks, to choose the best from."""
        return Pool(self.tokens, costs(self.tokens), self.accuracy)


@dataclass
class Lessons:
    """What ways share under one seed: the accuracies of random networks, and those asked for in rounds."""

    truth: Truth
    seed: int
    questions: int = QUESTIONS

    @property
    def space(self) -> SearchSpace:
        """The networks."""
        space = self.truth.costs.space
        assert isinstance(space, SearchSpace)
        return space

    @cached_property
    def at_random(self) -> Lesson:
        """Random networks, all at once."""
        started = time.perf_counter()
        tokens = self.space.sample(self.questions, np.random.default_rng([self.seed, 61]))
        accuracy = self.truth.ask(tokens)
        with one_thread():
            predictor = fit_predictor(self.space, tokens, accuracy, seed=self.seed)
        return Lesson(tokens, accuracy, predictor, time.perf_counter() - started)

    @cached_property
    def in_rounds(self) -> Lesson:
        """Most of them asked for in rounds, as PNAG does."""
        started = time.perf_counter()
        first, per_round = rounds_of(self.questions)
        learnt = learn_in_rounds(
            self.space, self.truth.costs, self.truth.ask, first=first, rounds=ROUNDS, per_round=per_round,
            seed=self.seed,
        )  # fmt: skip
        return Lesson(learnt.tokens, learnt.accuracy, learnt.posterior.predictor, time.perf_counter() - started)


@dataclass(frozen=True)
class Trained:
    """What a way learnt, from how many questions, and how long the whole of it took."""

    generator: Generator
    questions: int
    seconds: float
    best_asked: Pool


@dataclass(frozen=True)
class Way:
    """A way to answer budgets: its name, how it learns, and at which confidence its answers keep a budget."""

    name: str
    learn: Callable[[Lessons], Trained]
    confidence: float = _EVEN_ODDS


def taught(
    lesson: str,
    method: str = "pnag",
    *,
    settings: PolicySettings | None = None,
    costs: Callable[[Lessons, Lesson], tuple[CostModel, list[float]]] | None = None,
    then: Callable[[Generator], Generator] = lambda generator: generator,
) -> Callable[[Lessons], Trained]:
    """A method on the accuracies of a lesson; under `costs` of its own, with their residuals, if given."""

    def learn(lessons: Lessons) -> Trained:
        known: Lesson = getattr(lessons, lesson)
        started = time.perf_counter()
        model, residuals = (lessons.truth.costs, []) if costs is None else costs(lessons, known)
        generator = train_generator(
            lessons.space, model, known.tokens, known.accuracy, method=method, seed=lessons.seed,
            learnt=known.predictor, settings=settings, searched_ms=lessons.truth.budgets_ms, residuals=residuals,
        )  # fmt: skip
        generator = then(generator)
        seconds = known.seconds + time.perf_counter() - started
        return Trained(generator, len(known.tokens), seconds, known.pool(lessons.truth.costs))

    return learn


def searching(method: str) -> Callable[[Lessons], Trained]:
    """A method that asks as it goes, as often as others do; it sees no other accuracy."""

    def learn(lessons: Lessons) -> Trained:
        asked, unseen = Asked(lessons.truth.ask), lessons.at_random
        started = time.perf_counter()
        generator = train_generator(
            lessons.space, lessons.truth.costs, unseen.tokens, unseen.accuracy, method=method, seed=lessons.seed,
            learnt=unseen.predictor, ask=asked, searched_ms=lessons.truth.budgets_ms,
        )  # fmt: skip
        return _found(lessons, asked, generator, time.perf_counter() - started)

    return learn


def evolution(questions: int, *, predicted: bool = False) -> Callable[[Lessons], Trained]:
    """Once-for-all's evolution with so many questions a budget; `predicted`: to a predictor of random accuracies."""

    def learn(lessons: Lessons) -> Trained:
        asked, known = Asked(lessons.at_random.predictor if predicted else lessons.truth.ask), lessons.at_random
        started, rng = time.perf_counter(), np.random.default_rng([lessons.seed, 17])
        for budget_ms in lessons.truth.budgets_ms:
            evolve_population(lessons.truth.costs, asked, budget_ms, questions, rng)
        trained = _found(lessons, asked, None, time.perf_counter() - started)
        if not predicted:
            return trained
        seconds = known.seconds + trained.seconds
        return Trained(trained.generator, len(known.tokens), seconds, known.pool(lessons.truth.costs))

    return learn


def genetic(lessons: Lessons) -> Trained:
    """NSGA-II; the answers are the best of all networks that it asked about."""
    asked, started = Asked(lessons.truth.ask), time.perf_counter()
    nsga2(lessons.truth.costs, asked, lessons.questions, lessons.seed, population=_NSGA2_POPULATION)
    return _found(lessons, asked, None, time.perf_counter() - started)


def _found(lessons: Lessons, asked: Asked, generator: Generator | None, seconds: float) -> Trained:
    """A search that ends with what it asked about; without a generator the best of that is the answer."""
    costs = lessons.truth.costs
    pool = asked.pool(costs)
    evaluator = RuleEvaluator(lessons.at_random.predictor)
    return Trained(generator or Generator(costs, evaluator, pool), len(pool.tokens), seconds, pool)


def by_macs(lessons: Lessons, known: Lesson) -> tuple[CostModel, list[float]]:
    """Milliseconds from multiply-accumulates by a straight line through the first networks asked about, and residuals.

    This is what is left where no table says what blocks cost on the device.
    """
    first = rounds_of(lessons.questions)[0]
    model, true = lessons.space.macs_model(), lessons.truth.costs(known.tokens[:first])
    macs = model(known.tokens[:first])
    slope, intercept = np.polyfit(macs, true, 1).tolist()
    straight = CostModel(model.space, intercept + slope * model.constant_ms, slope * model.layer_ms)
    return straight, (true / straight(known.tokens[:first]) - 1).tolist()


WAYS = (
    Way("random search", taught("at_random", "random")),
    Way("regularised evolution, 250 a budget", searching("evo")),
    Way("once-for-all's evolution, 250 a budget", searching("evo-ofa")),
    Way("once-for-all's evolution on a predictor of 2,000", evolution(OFA_QUESTIONS, predicted=True)),
    Way("NSGA-II", genetic),
    Way("additive scores, exact solver", taught("at_random", "additive")),
    Way("MnasNet's reward, its own soft constraint", taught("at_random", "nas-mo", settings=_SOFT)),
    Way("MnasNet's reward, our hard constraint too", taught("at_random", "nas-mo")),
    Way("TuNAS' reward, its own soft constraint", taught("at_random", "tunas", settings=_SOFT)),
    Way("TuNAS' reward, our hard constraint too", taught("at_random", "tunas")),
    Way("the paper's form of PNAG", taught("at_random", "pnag-paper")),
    Way("the paper's form of PNAG, ten times as long", taught("at_random", "pnag-paper", settings=_LONG)),
    Way("independent searches", taught("at_random", "independent")),
    Way("PNAG at once", taught("at_random")),
    Way(OURS, taught("in_rounds")),
    Way("PNAG in rounds, without refinement",
        taught("in_rounds", settings=PolicySettings(example_exchanges=0), then=lambda g: replace(g, steps=0))),
    Way("PNAG in rounds, without memory",
        taught("in_rounds", settings=PolicySettings(examples=0), then=lambda g: replace(g, known=None))),
    Way("PNAG in rounds, without both",
        taught("in_rounds", settings=PolicySettings(examples=0), then=lambda g: replace(g, steps=0, known=None))),
    Way("PNAG in rounds, ranking that does not see c(a), without both", taught("in_rounds", "pnag-paper")),
    Way("PNAG in rounds, multiply-accumulates in place of c(a)", taught("in_rounds", costs=by_macs), _SURE),
    Way("once-for-all's evolution, 50,100 a budget", evolution(OFA_QUESTIONS)),
)  # fmt: skip
