"""The generator's network, run with numpy: an LSTM that writes architectures token by token for a budget.

At each of the encoding's positions the network sees the previous token and the budget's vector, and gives
a distribution over the choices of that position. Tokens of layers beyond a unit's depth are 0 and are not
drawn. `pnag.generator.policy` trains the same arrays with torch; importing that takes longer than all of this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pnag.space.budget import interpolation
from pnag.space.cost import CostModel
from pnag.space.tokens import Tokens, TokenSpace

Array = NDArray[np.float64]
Weights = NDArray[np.float32]

_CHUNK = 16384
_AIMS, _DRAWN = 96, 192  # budgets that a calibration looks at, and samples for each
_KEPT = 0.98  # of the samples shall keep the budget
_BESIDE = ("anchors_ms", "aims_ms", "levels_ms")


@dataclass(frozen=True)
class PolicyWeights:
    """The arrays of the network, float32, gates in the order input, forget, cell, output.

    `tokens` (length, choices + 1, width): vector of each value of the token *before* a position.
    `vectors` (k, width): the budgets' vectors at the anchors. `w_tokens` and `w_budget` (width, 4 · hidden),
    `w_hidden` (hidden, 4 · hidden), `bias` (4 · hidden,). `heads` (length, hidden, choices) and
    `head_bias` (length, choices) give the logits.
    """

    tokens: Weights
    vectors: Weights
    w_tokens: Weights
    w_budget: Weights
    w_hidden: Weights
    bias: Weights
    heads: Weights
    head_bias: Weights

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All of them by name."""
        return dict(vars(self))


@dataclass(frozen=True)
class Policy:
    """Sampling from the network. `anchors_ms` has shape (k,): the budgets whose vectors were learnt.

    A calibrated one is conditioned, for a budget, on the highest of `aims_ms` that is not above it and whose samples
    keep it: all but a few of them cost `levels_ms` at most, which has the same shape (m,). Where there is none, on
    the one with the lowest level. See `calibrated`.
    """

    space: TokenSpace
    anchors_ms: Array
    weights: PolicyWeights
    aims_ms: Array | None = None
    levels_ms: Array | None = None

    @cached_property
    def _inputs(self) -> Weights:
        """Gates' input from the previous token, (length, choices + 1, 4 · hidden)."""
        return self.weights.tokens @ self.weights.w_tokens + self.weights.bias

    @cached_property
    def _closed(self) -> Weights:
        """-inf for choices that a position does not have, else 0; shape (length, choices)."""
        choices = np.array(self.space.token_choices)
        return np.where(np.arange(choices.max()) < choices[:, None], 0, -np.inf).astype(np.float32)

    def sample(self, budgets_ms: Array, uniforms: Array) -> Tokens:
        """One architecture per budget, shape (n, length), from numbers uniform in [0, 1) of the same shape."""
        parts, aimed_ms = range(0, len(budgets_ms), _CHUNK), self.aim(budgets_ms)
        drawn = [self._sample(aimed_ms[i : i + _CHUNK], uniforms[i : i + _CHUNK]) for i in parts]
        return np.concatenate(drawn) if drawn else np.zeros((0, self.space.length), dtype=np.int8)

    def _sample(self, budgets_ms: Array, uniforms: Array) -> Tokens:
        """Networks of one budget that are alike so far share their state: a trained generator draws few of them."""
        space, weights, n = self.space, self.weights, len(budgets_ms)
        depths, per_unit, values = np.array(space.depths), space.tokens_per_unit, max(space.token_choices) + 1
        asked, state = np.unique(budgets_ms, return_inverse=True)  # (states,), the state of each network (n,)
        budget = (interpolation(self.anchors_ms, asked).astype(np.float32) @ weights.vectors) @ weights.w_budget
        hidden = np.zeros((len(asked), weights.w_hidden.shape[0]), dtype=np.float32)
        cell = np.zeros_like(hidden)
        out = np.zeros((n, space.length), dtype=np.int8)
        previous, depth = np.zeros(len(asked), dtype=np.int64), np.zeros(len(asked), dtype=np.int64)
        for position in range(space.length):
            gates = self._inputs[position].take(previous, axis=0)
            gates += budget
            gates += hidden @ weights.w_hidden
            hidden, cell = lstm_cell(gates, cell)
            logits = hidden @ weights.heads[position] + (weights.head_bias[position] + self._closed[position])
            token = _draw(logits, state, uniforms[:, position])
            in_unit = position % per_unit
            of_layer = in_unit > 0 and position < space.units * per_unit  # else it is a depth, or the resolution
            if of_layer:
                token = np.where((in_unit - 1) // 2 < depth[state], token + 1, 0)
            out[:, position] = token
            apart, state = np.unique(state * values + token, return_inverse=True)
            before, previous = apart // values, apart % values
            hidden, cell, budget = hidden[before], cell[before], budget[before]
            depth = depth[before] if of_layer else depths[np.minimum(previous, len(depths) - 1)]
        return out

    def aim(self, budgets_ms: Array) -> Array:
        """What the network is conditioned on for budgets, both (n,): the budgets themselves unless calibrated."""
        if self.aims_ms is None or self.levels_ms is None:
            return budgets_ms
        fits = np.maximum(self.aims_ms, self.levels_ms) <= np.asarray(budgets_ms)[:, None]  # (n, m)
        highest = fits.shape[1] - 1 - fits[:, ::-1].argmax(axis=1)
        aims: Array = self.aims_ms[np.where(fits.any(axis=1), highest, self.levels_ms.argmin())]
        return aims

    def calibrated(self, costs: CostModel, seed: int = 0) -> Policy:
        """The same network, conditioned on a little less than the budget where its samples would not keep it otherwise.

        What its samples cost is looked at for budgets evenly over the range of `costs`.
        """
        aims = np.linspace(*costs.range_ms, _AIMS)
        uniforms = np.random.default_rng([seed, 5]).random((_AIMS * _DRAWN, self.space.length))
        drawn = replace(self, aims_ms=None, levels_ms=None).sample(np.repeat(aims, _DRAWN), uniforms)
        levels = np.quantile(costs(drawn).reshape(_AIMS, _DRAWN), _KEPT, axis=1, method="higher")
        return replace(self, aims_ms=aims, levels_ms=levels)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything but the space, for a file."""
        out = {"anchors_ms": self.anchors_ms, **self.weights.arrays()}
        if self.aims_ms is not None and self.levels_ms is not None:
            out |= {"aims_ms": self.aims_ms, "levels_ms": self.levels_ms}
        return out

    @classmethod
    def from_arrays(cls, space: TokenSpace, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The inverse of `arrays`. Raises `KeyError`, `TypeError` or `ValueError` if they do not fit the space."""
        weights = PolicyWeights(**{name: array for name, array in arrays.items() if name not in _BESIDE})
        if len(weights.heads) != space.length or len(weights.vectors) != len(arrays["anchors_ms"]):
            raise ValueError(f"a generator of {len(weights.heads)} tokens does not fit {space.name}")
        return cls(space, arrays["anchors_ms"], weights, arrays.get("aims_ms"), arrays.get("levels_ms"))


def lstm_cell(gates: Weights, cell: Weights) -> tuple[Weights, Weights]:
    """New hidden and cell state, (n, hidden) each, from gates before their nonlinearities, (n, 4 · hidden)."""
    size = cell.shape[1]
    # σ(x) = (1 + tanh(x / 2)) / 2, and numpy's tanh is faster than its exp and a division.
    scaled = gates * np.float32(0.5)
    scaled[:, 2 * size : 3 * size] = gates[:, 2 * size : 3 * size]
    np.tanh(scaled, out=scaled)
    opened = scaled * np.float32(0.5) + np.float32(0.5)
    cell = opened[:, size : 2 * size] * cell + opened[:, :size] * scaled[:, 2 * size : 3 * size]
    return opened[:, 3 * size :] * np.tanh(cell), cell


def _draw(logits: Weights, state: NDArray[np.intp], uniforms: Array) -> NDArray[np.int64]:
    """One choice for each network (n,), from logits of their states (states, choices), by inversion of the cumulative
    distribution."""
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    cumulative, last = weights.cumsum(axis=1), (weights > 0).sum(axis=1) - 1
    threshold = uniforms.astype(np.float32)[:, None] * cumulative[state, -1:]
    drawn: NDArray[np.int64] = np.minimum((cumulative[state] <= threshold).sum(axis=1), last[state])
    return drawn
