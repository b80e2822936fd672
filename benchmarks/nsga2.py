"""NSGA-II over a space of networks: the multi-objective search that others are compared with.

Source: Deb et al., A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II, as pymoo has it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pnag.search.evolution import Ask
from pnag.space.cost import CostModel
from pnag.space.sampling import sample_tilted
from pnag.space.search_space import SearchSpace
from pnag.space.tokens import Tokens

Array = NDArray[np.float64]

_POPULATION = 200


def nsga2(
    costs: CostModel, ask: Ask, evaluations: int, seed: int = 0, *, population: int = _POPULATION
) -> tuple[Array, Array]:
    """Costs and accuracies of the last generation, each (n,), after so many evaluations by `ask`."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.mutation import Mutation
    from pymoo.core.problem import Problem
    from pymoo.operators.crossover.ux import UX
    from pymoo.optimize import minimize

    space = costs.space
    assert isinstance(space, SearchSpace)
    choices = np.array(space.token_choices)
    lowest = np.ones(space.length, dtype=np.int64)
    lowest[:: space.tokens_per_unit] = 0  # depths count from 0, expand ratios and kernels from 1

    class Tradeoff(Problem):  # type: ignore[misc]
        def _evaluate(self, x: Array, out: dict[str, Array], *_: Any, **__: Any) -> None:
            tokens: Tokens = space.canonical(np.asarray(x, dtype=np.int8))
            out["F"] = np.stack([costs(tokens), -ask(tokens)], axis=1)

    class DrawAgain(Mutation):  # type: ignore[misc]
        def _do(self, _: Problem, x: Array, random_state: Any = None, **__: Any) -> Array:
            fresh = lowest + (random_state.random(x.shape) * choices).astype(np.int64)
            return np.where(random_state.random(x.shape) < 2 / space.length, fresh, x)

    rng = np.random.default_rng(seed)
    start = np.concatenate([sample_tilted(space, population - 2, rng), space.encode(space.extremes())])
    start = np.maximum(start, lowest)  # layers that are absent need a value for when they appear
    algorithm = NSGA2(pop_size=population, sampling=start.astype(np.int64), crossover=UX(), mutation=DrawAgain())
    problem = Tradeoff(n_var=space.length, n_obj=2, xl=lowest, xu=lowest + choices - 1, vtype=int)
    found = minimize(problem, algorithm, ("n_eval", evaluations), seed=seed)
    return found.F[:, 0], -found.F[:, 1]
