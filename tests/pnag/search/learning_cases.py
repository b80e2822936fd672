"""What the tests of the learning side share: a space small enough to go through, and made-up archives."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np

from benchmarks.known_optimum import KnownOptimum, made_up_costs
from pnag.generator.policy import PolicySettings
from pnag.space.cost import CostModel
from pnag.space.search_space import SearchSpace
from pnag.space.spaces import load_space
from pnag.space.tokens import Tokens

TINY = SearchSpace(
    "tiny",
    0.25,
    resolution=32,
    classes=10,
    depths=(1, 2),
    kernels=(3, 5),
    expands=(3, 4),
    unit_channels=(24, 40),
    unit_strides=(2, 2),
    unit_activations=("relu", "hswish"),
    unit_squeeze_excite=(False, True),
)

TWO_SIDES = replace(TINY, resolution=48, resolutions=(32, 48))

QUICK = PolicySettings(k=3, steps=15, group=8, hidden=12, width=6, examples=16, generations=4)


@cache
def all_tokens(space: SearchSpace = TINY) -> Tokens:
    """Every architecture of a small space, shape (n, length)."""
    values = [
        range(choices) if position % space.tokens_per_unit == 0 else range(1, choices + 1)
        for position, choices in enumerate(space.token_choices)
    ]
    return np.unique(space.canonical(np.array(list(product(*values)), dtype=np.int8)), axis=0)


@cache
def tiny_costs() -> CostModel:
    return made_up_costs(TINY, seed=3, constant_ms=0.2)


@cache
def two_sided_costs() -> CostModel:
    """The tiny space at two resolutions; the larger costs twice as much."""
    one = made_up_costs(TINY, seed=3, constant_ms=0.2)
    return CostModel(TWO_SIDES, 0.2, np.stack([one.layer_ms, 2 * one.layer_ms]), np.array([0.0, 0.15]))


def two_sided_archive(n: int, seed: int = 0) -> tuple[Tokens, np.ndarray]:
    """Networks of both resolutions; the larger is better, by more the deeper the network is."""
    rng = np.random.default_rng(seed)
    tokens = TWO_SIDES.sample(n, rng)
    depth = tokens[:, : -1 : TINY.tokens_per_unit].sum(axis=1)
    accuracy = truth(tiny_costs()).ask(tokens[:, :-1], rng)
    return tokens, accuracy + tokens[:, -1] * (0.004 + 0.003 * depth)


@cache
def full_costs() -> CostModel:
    return made_up_costs(load_space(), seed=3)


def truth(costs: CostModel, seed: int = 0) -> KnownOptimum:
    return KnownOptimum(costs, seed=seed, top=0.775, bottom=0.73)


def archive(costs: CostModel, n: int, seed: int = 0) -> tuple[Tokens, np.ndarray]:
    rng = np.random.default_rng(seed)
    tokens = costs.space.sample(n, rng)
    return tokens, truth(costs).ask(tokens, rng)
