"""Train the evaluator in the source's own form: pairs of architectures, dominance, hinge loss.

Source: PNAG, section 3.2: three fully connected layers over the encoding and the budget's vector, which see
neither c(a) nor the size of an accuracy difference. Kept to be compared with.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pnag.accuracy.predictor import LayerCodes, Predictor
from pnag.search.dominance import dominance
from pnag.search.evaluator import RankingEvaluator
from pnag.space.budget import interpolation, spaced_budgets
from pnag.space.cost import CostModel
from pnag.space.tokens import Tokens

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float64]

_HIDDEN = 128
_WIDTH = 16
_BATCH = 128
_RATE = 3e-3


def pairwise_hinge(scores: Tensor, signs: Tensor) -> Tensor:
    """Mean of max(0, 1 - d · (Rᵢ - Rⱼ)) over budgets and ordered pairs; pairs with d = 0 count for nothing.

    `scores` (k, n) and `signs` (k, n, n) with d in {1, 0, -1}; a number. 0 where no pair is decided.
    Source: PNAG, eq. 3.
    """
    differences = scores[:, :, None] - scores[:, None, :]
    decided = signs != 0
    loss = (1 - signs * differences).clamp(min=0) * decided
    return loss.sum() / decided.sum().clamp(min=1)


def train_ranking(
    costs: CostModel,
    predictor: Predictor,
    tokens: Tokens,
    accuracy: Array,
    *,
    k: int = 10,
    epochs: int = 60,
    seed: int = 0,
    report: Callable[[float], None] | None = None,
) -> RankingEvaluator:
    """Learn R(a | B) from all pairs of each mini-batch under K budgets drawn afresh, shapes (n, length), (n,)."""
    import torch

    rng, torch_rng = np.random.default_rng([seed, 5]), torch.Generator().manual_seed(seed)
    low, high = costs.range_ms
    anchors = spaced_budgets(low, high, k)
    codec = LayerCodes(costs.space)
    x, cost = torch.as_tensor(codec.one_hot(codec.of(tokens))), costs(tokens)
    sizes = (x.shape[1] + _WIDTH, _HIDDEN, _HIDDEN, 1)
    layers = [(torch.randn(a, b, generator=torch_rng) * (2 / a) ** 0.5, torch.zeros(b)) for a, b in pairwise(sizes)]
    vectors = torch.randn(k, _WIDTH, generator=torch_rng)
    parameters = [vectors, *(tensor for layer in layers for tensor in layer)]
    for parameter in parameters:
        parameter.requires_grad_()
    optimiser = torch.optim.Adam(parameters, lr=_RATE)
    batches = max(1, len(tokens) // _BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * batches, _RATE / 100)
    for epoch in range(epochs):
        for rows in np.array_split(rng.permutation(len(tokens)), batches):
            budgets = rng.uniform(low, high, k)
            signs = torch.as_tensor(dominance(cost[rows], accuracy[rows], budgets), dtype=torch.float32)
            weights = torch.as_tensor(interpolation(anchors, budgets), dtype=torch.float32)
            loss = pairwise_hinge(_scores(layers, x[torch.as_tensor(rows)], weights @ vectors), signs)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
        if report is not None:
            report((epoch + 1) / epochs)
    plain = tuple((weight.detach().numpy(), bias.detach().numpy()) for weight, bias in layers)
    return RankingEvaluator(predictor, anchors, vectors.detach().numpy(), plain)


def _scores(layers: list[tuple[Tensor, Tensor]], x: Tensor, budgets: Tensor) -> Tensor:
    """R for every budget and architecture, (k, n), without laying out their product before the first layer."""
    weight, bias = layers[0]
    size = x.shape[1]
    hidden = (x @ weight[:size])[None] + (budgets @ weight[size:])[:, None] + bias
    for weight, bias in layers[1:]:
        hidden = hidden.clamp(min=0) @ weight + bias
    return hidden[:, :, 0]
