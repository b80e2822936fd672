"""What each choice of each layer costs by a cost model, and the network that these make the cheapest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pnag.accuracy.predictor import LayerCodes
from pnag.space.cost import CostModel
from pnag.space.tokens import Tokens

Array = NDArray[np.float64]


def layer_prices(costs: CostModel) -> Array:
    """Cost in ms of every code of every layer, shape (resolutions, layers, codes); 0 for an absent layer."""
    space, codec = costs.space, LayerCodes(costs.space)
    position = [min(layer, 1) for layer in range(space.layers)]
    table = costs.of_layers[:, :, position].reshape(len(costs.resolution_ms), codec.in_units, -1)
    prices = np.zeros((*table.shape[:2], codec.codes))
    prices[:, :, 1 : 1 + table.shape[2]] = table
    return prices


def cheapest_tokens(costs: CostModel) -> Tokens:
    """The cheapest network of the space, shape (1, length)."""
    space, codec = costs.space, LayerCodes(costs.space)
    depths, found = np.array(space.depths), []
    for side, of_side in enumerate(costs.of_layers):
        flat = of_side.reshape(space.units, 2, -1)
        codes = np.zeros((space.units, space.layers), dtype=np.int64)
        for unit in range(space.units):
            depth = int(depths[(depths * flat[unit, 1].min()).argmin()])
            codes[unit, 0] = flat[unit, 0].argmin() + 1
            codes[unit, 1:depth] = flat[unit, 1].argmin() + 1
        found.append([*codes.reshape(-1).tolist(), *([side] if codec.layers > codec.in_units else [])])
    each = codec.tokens(np.array(found))
    return each[[int(costs(each).argmin())]]


def costs_by_unit(costs: CostModel, tokens: Tokens) -> Array:
    """What all networks share, then what the layers of each unit cost, (n, 1 + units); rows add up to the cost."""
    codec = LayerCodes(costs.space)
    codes = codec.of(tokens)
    side = codes[:, -1] if codec.layers > codec.in_units else np.zeros(len(codes), dtype=np.int64)
    layers = np.arange(codec.in_units)
    each = layer_prices(costs)[side[:, None], layers, codes[:, : codec.in_units]]  # (n, layers)
    shared = costs.constant_ms + costs.resolution_ms[side]
    return np.concatenate([shared[:, None], each.reshape(len(codes), costs.space.units, -1).sum(axis=2)], axis=1)
