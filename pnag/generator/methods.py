"""The methods that `--method` names: PNAG, its source's own form, and the searches it is compared with.

Each makes a `Generator` from the same archive of accuracies, so that all spend the same number of accuracy
evaluations. Where `ask` can answer for further architectures, evolution asks it instead of the archive, as
often as the archive has entries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pnag.accuracy.nearby import MOST_ROWS, Nearby, doubt_near, fit_nearby
from pnag.accuracy.network import AccuracyNetwork
from pnag.accuracy.predictor import AccuracyPredictor, Predictor
from pnag.accuracy.predictor_fit import DUAL_ROWS, fit_predictor
from pnag.errors import PnagError
from pnag.generator.generate import Generator
from pnag.generator.policy import PolicySettings, train_policy
from pnag.generator.population import search_budgets
from pnag.search.additive import best_sums, fit_additive
from pnag.search.evaluator import Evaluator, RuleEvaluator
from pnag.search.evolution import Ask, Search, evolve, evolve_population
from pnag.search.frontier import behind_frontier
from pnag.search.known_networks import Pool
from pnag.search.memory import Memory
from pnag.search.ranking import train_ranking
from pnag.search.refine import Refiner
from pnag.space.budget import spaced_budgets
from pnag.space.cost import CostModel
from pnag.space.tokens import Tokens
from profiler.progress import Part, Share, Watch

Array = NDArray[np.float64]

SEARCHED_BUDGETS = 5
PREDICTOR_SHARE = 0.4  # of the time, with 2,000 architectures
_NO_REACH = 0.02  # layers: a network that differs in one has nothing of what is known
_SEARCH_SHARE = 0.7  # of the time that follows the predictor, where there is such a search


@dataclass(frozen=True)
class Problem:
    """What a method is given: the cost model, M architectures with their accuracies, and settings.

    `searched_ms` are the budgets of methods that search one by one; five over the middle of the range unless
    given. `report` takes the share of the work that is done. `learnt` is what the archive teaches, where that is
    known already. `watch` is told the figures of the generator's training.
    """

    costs: CostModel
    tokens: Tokens
    accuracy: Array
    seed: int
    policy: PolicySettings
    report: Share
    ask: Ask | None = None
    searched_ms: tuple[float, ...] = ()
    learnt: Predictor | None = None
    watch: Watch | None = None

    def predictor(self) -> Predictor:
        """Learnt from the whole archive: the first part of the work."""
        return self.learnt or fit_predictor(
            self.costs.space, self.tokens, self.accuracy, near=self.near_frontier(), seed=self.seed,
            report=lambda share: self.report(PREDICTOR_SHARE * share),
        )  # fmt: skip

    def near_frontier(self) -> NDArray[np.intp]:
        """The rows nearest the frontier, at most `MOST_ROWS`, nearest first."""
        behind = behind_frontier(self.costs(self.tokens), self.accuracy)
        return np.argsort(behind, kind="stable")[:MOST_ROWS]

    def memory(self, evaluator: RuleEvaluator) -> Memory:
        """An empty one over the whole range, for a generator that learns under this evaluator."""
        return Memory(Refiner(evaluator, self.costs, self.policy.example_exchanges), *self.costs.range_ms)

    def report_rest(self, share: float) -> None:
        """So much is done of the work that follows the predictor."""
        before = 0.0 if self.learnt else PREDICTOR_SHARE
        self.report(before + (1 - before) * share)

    def searched(self) -> tuple[float, ...]:
        """Budgets of methods that search for each budget anew."""
        low, high = self.costs.range_ms
        return self.searched_ms or tuple(spaced_budgets(low, high, SEARCHED_BUDGETS + 2)[1:-1].tolist())


@dataclass(frozen=True)
class Method:
    """A named way to train a generator.

    `answers_as_learnt` says whether the accuracies of its answers are predictions of `Problem.learnt`. They are not
    where they are rows of the archive, or of predictors of the method's own.
    """

    name: str
    summary: str
    train: Callable[[Problem], Generator]
    answers_as_learnt: bool = True


def _learnt(problem: Problem, rule: str, steps: int) -> Generator:
    """LSTM under a rule; `steps` exchanges of refinement for examples and answers, 0 for policy gradient alone.

    What is refined counts on known networks near it; the best known network is an answer to fall back on. Under a model
    of accuracies, which can be asked without end, all budgets are searched first: what is found is known too.
    """
    costs, predictor = problem.costs, problem.predictor()
    report: Share = problem.report_rest
    if not steps:
        evaluator = RuleEvaluator(predictor, rule)
        policy = train_policy(
            costs, evaluator, problem.policy, memory=None, seed=problem.seed, report=report, watch=problem.watch
        )
        return Generator(costs, evaluator, policy, steps=0)
    behind = behind_frontier(costs(problem.tokens), problem.accuracy)
    near = problem.near_frontier()
    evaluator = RuleEvaluator(
        predictor,
        rule,
        _known(predictor, problem.tokens[near], problem.accuracy[near], many=len(problem.tokens) > DUAL_ROWS),
    )
    memory, best = problem.memory(evaluator), problem.tokens[behind == 0]
    if isinstance(predictor, AccuracyNetwork):
        found = search_budgets(
            predictor, costs, np.random.default_rng([problem.seed, 19]), generations=problem.policy.generations,
            known=best, report=Part(report, 0, _SEARCH_SHARE),
        )  # fmt: skip
        best, report = np.concatenate([best, found]), Part(report, _SEARCH_SHARE, 1 - _SEARCH_SHARE)
    memory.offer(best)
    policy = train_policy(
        costs, evaluator, problem.policy, memory=memory, seed=problem.seed, report=report, watch=problem.watch
    )
    known = np.unique(np.concatenate([memory.networks, best]), axis=0)
    return Generator(costs, evaluator, policy.calibrated(costs, problem.seed), steps=steps, known=known)


def _known(predictor: Predictor, tokens: Tokens, accuracy: Array, *, many: bool) -> Nearby | None:
    """What known networks (m, length) say beyond the predictor, from their accuracies (m,).

    Beside a model of accuracies they are its source's own, without noise: they count with what is known, and all other
    networks with the prediction and its whole error.
    """
    if isinstance(predictor, AccuracyPredictor) and (predictor.local is not None or not many):
        return doubt_near(predictor)  # the rest has been learnt with it
    if not isinstance(predictor, AccuracyNetwork):
        return fit_nearby(predictor, tokens, accuracy)
    residual = accuracy - predictor(tokens)
    return Nearby(predictor.space, tokens, residual, reach=_NO_REACH, share=1.0, error=predictor.error)


def _pnag(problem: Problem) -> Generator:
    return _learnt(problem, "dominance", steps=30)


def _paper(problem: Problem) -> Generator:
    ranking = train_ranking(
        problem.costs, problem.predictor(), problem.tokens, problem.accuracy, k=problem.policy.k, seed=problem.seed,
        report=lambda share: problem.report_rest(share / 2),
    )  # fmt: skip
    settings = replace(problem.policy, examples=0, between=False, caution=0.0)
    evaluator: Evaluator = ranking
    policy = train_policy(
        problem.costs, evaluator, settings, memory=None, seed=problem.seed,
        report=lambda share: problem.report_rest(0.5 + share / 2), watch=problem.watch,
    )  # fmt: skip
    return Generator(problem.costs, evaluator, policy, steps=0)


def _random(problem: Problem) -> Generator:
    evaluator = RuleEvaluator(problem.predictor())
    return Generator(problem.costs, evaluator, Pool(problem.tokens, problem.costs(problem.tokens), problem.accuracy))


def _evolution(problem: Problem, search: Search, stream: int) -> Generator:
    """A search for each budget, with an equal share of the accuracies; `stream` numbers its random draws."""
    predictor, rng = problem.predictor(), np.random.default_rng([problem.seed, stream])
    budgets, found = problem.searched(), []
    for index, budget in enumerate(budgets):
        share = len(problem.tokens) // len(budgets)
        found.append(search(problem.costs, problem.ask or predictor, budget, share, rng))
        problem.report_rest((index + 1) / len(budgets))
    tokens, accuracy = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Generator(problem.costs, RuleEvaluator(predictor), Pool(tokens, problem.costs(tokens), accuracy))


def _additive(problem: Problem) -> Generator:
    scores = fit_additive(problem.costs.space, problem.tokens, problem.accuracy)
    tokens = best_sums(problem.costs, scores)
    return Generator(problem.costs, RuleEvaluator(scores), Pool(tokens, problem.costs(tokens), scores(tokens)))


def _independent(problem: Problem) -> Generator:
    """A search of its own for each budget, with its share of the accuracies and of the training."""
    of_all, rng = problem.predictor(), np.random.default_rng([problem.seed, 13])
    budgets = problem.searched()
    parts = np.array_split(rng.permutation(len(problem.tokens)), len(budgets))
    found, scores = [], []
    for index, (budget, rows) in enumerate(zip(budgets, parts, strict=True)):
        predictor = fit_predictor(problem.costs.space, problem.tokens[rows], problem.accuracy[rows], seed=problem.seed)
        evaluator = RuleEvaluator(predictor)
        memory = problem.memory(evaluator)
        settings = replace(
            problem.policy, k=1, between=False, steps=max(1, problem.policy.steps // len(budgets)),
            group=problem.policy.group * 2 * problem.policy.k,
        )  # fmt: skip
        policy = train_policy(
            problem.costs, evaluator, settings, memory=memory, seed=problem.seed + index,
            budgets_ms=np.array([budget]),
        )  # fmt: skip
        generator = Generator(problem.costs, evaluator, policy, known=memory.networks)
        single = generator.generate(budget)
        found.append(generator.space.encode([single.architecture]))
        scores.append(single.accuracy)
        problem.report_rest((index + 1) / len(budgets))
    tokens = np.concatenate(found)
    pool = Pool(tokens, problem.costs(tokens), np.array(scores))
    return Generator(problem.costs, RuleEvaluator(of_all), pool)


METHODS: Mapping[str, Method] = {
    method.name: method
    for method in (
        Method("pnag", "exact feasibility, learnt accuracy, LSTM trained over all budgets, refinement", _pnag),
        Method("pnag-paper", "the source's own form: evaluator by pairwise ranking, policy gradient alone", _paper),
        Method("random", "the best of the evaluated architectures", _random, answers_as_learnt=False),
        Method("evo", "regularised evolution, anew for each of five budgets", lambda p: _evolution(p, evolve, 11)),
        Method(
            "evo-ofa",
            "once-for-all's evolution of a population, anew for each of five budgets",
            lambda p: _evolution(p, evolve_population, 17),
        ),
        Method(
            "additive", "additive scores of layers' choices and an exact solver", _additive, answers_as_learnt=False
        ),
        Method("nas-mo", "the LSTM under MnasNet's reward acc · (T / T₀)^w", lambda p: _learnt(p, "mnas", steps=0)),
        Method("tunas", "the LSTM under TuNAS' absolute reward", lambda p: _learnt(p, "tunas", steps=0)),
        Method(
            "dominance-no-accuracy", "dominance without its accuracy constraint", lambda p: _learnt(p, "cheapest", 0)
        ),
        Method(
            "independent",
            "PNAG anew for each of five budgets, the accuracies shared out among them",
            _independent,
            answers_as_learnt=False,
        ),
    )
}


def find_method(name: str) -> Method:
    """The method of that name; raises `PnagError` which lists the known ones."""
    method = METHODS.get(name)
    if method is None:
        raise PnagError(f"unknown method '{name}'; known are {', '.join(METHODS)}")
    return method
