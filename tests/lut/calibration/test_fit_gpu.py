"""The calibration on laws like a GPU's: a gap before each kernel, cold weights, caches that hold small blocks only.

Blocks are measured back to back; a network has a launch of its own and runs each block amid others.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lut.blocks import BlockSpec, HeadSpec, MBConvSpec
from lut.calibration.fit import Fidelity, NetworkMeasurement, fit_calibration, judge
from lut.calibration.traits import shared_columns
from pnag.space.search_space import SearchSpace
from pnag.space.spaces import load_space
from profiler.cli_networks import sample_units

LAUNCH_MS = 0.012
NOISE = 0.002


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return load_space()


def kernels(spec: BlockSpec) -> int:
    if isinstance(spec, MBConvSpec):
        return 3 + 2 * (spec.expand > 1) + 6 * spec.squeeze_excite + spec.residual
    return 5 if isinstance(spec, HeadSpec) else 2


def alone_ms(spec: BlockSpec, batch: int) -> float:
    """A roofline with a least time for each kernel."""
    channels, side, _ = spec.input_shape
    moved = 4 * batch * channels * side**2 * (2 + 4 * getattr(spec, "expand", 1)) + 4 * spec.params
    per_kernel = max(2 * batch * spec.macs / 30e9, moved / 800e6) / kernels(spec)
    return kernels(spec) * max(per_kernel, 0.002)


def fidelity(space: SearchSpace, batch: int, in_network: Callable[[BlockSpec], float], seed: int) -> Fidelity:
    """How well networks are predicted whose blocks cost `in_network` ms, from blocks measured alone."""
    rng = np.random.default_rng(seed)
    latency = {spec.key: alone_ms(spec, batch) * (1 + NOISE * rng.standard_normal()) for spec in space.blocks()}
    cost = {spec.key: in_network(spec) for spec in space.blocks()}
    rows: dict[str, list[NetworkMeasurement]] = {"calibration": [], "holdout": []}
    for unit in sample_units(space, 40, 20, seed):
        total = (LAUNCH_MS + sum(cost[key] for key in unit.blocks)) * (1 + NOISE * rng.standard_normal())
        rows[unit.role].append(NetworkMeasurement(unit.name, unit.blocks, total))
    calibration, fitted = fit_calibration(latency, rows["calibration"])
    predicted = [calibration.intercept_ms + sum(fitted[key] for key in row.blocks) for row in rows["holdout"]]
    found = judge(predicted, [row.latency_ms for row in rows["holdout"]])
    assert found is not None
    return found


@pytest.mark.parametrize("batch", [1, 64])
def test_a_gap_before_each_block_is_recovered(space: SearchSpace, batch: int) -> None:
    found = fidelity(space, batch, lambda spec: alone_ms(spec, batch) + 0.003, seed=0)
    assert found.mape <= 0.004
    assert found.within_3 == 1
    assert found.rank_correlation >= 0.99


@pytest.mark.parametrize("batch", [1, 64])
@pytest.mark.parametrize("seed", range(3))
def test_gaps_of_kernels_cold_weights_and_caches_are_predicted(space: SearchSpace, batch: int, seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    by_side = {side: 1 + 0.08 * rng.standard_normal() for side in (224, 112, 56, 28, 14, 7)}
    by_block = {spec.key: 1 + 0.03 * rng.standard_normal() for spec in space.blocks()}

    def in_network(spec: BlockSpec) -> float:
        shift = by_side[spec.input_shape[1]] * by_block[spec.key]
        return alone_ms(spec, batch) * shift + 0.001 * kernels(spec) + 0.5 * 4 * spec.params / 800e6

    found = fidelity(space, batch, in_network, seed)
    assert found.mape <= 0.008
    assert found.within_5 == 1
    assert found.rank_correlation >= 0.98


def test_shared_corrections_are_one_per_resolution_kernel_and_expansion_and_one_of_squeeze_excites(
    space: SearchSpace,
) -> None:
    keys = [spec.key for spec in space.blocks()]
    latency = np.arange(1.0, len(keys) + 1)
    columns = shared_columns(keys, latency)
    assert columns.shape == (93, 6 + 3 + 4 + 1)  # sides 224 to 7, kernels 3 to 7, expansions 1 to 6
    assert np.array_equal(columns[:, :6].sum(axis=1), latency)  # every block has one resolution
    assert set(np.unique(columns[:, -1])) == {0.0, float(np.median(latency))}


def test_blocks_of_others_share_nothing() -> None:
    assert shared_columns(["a", "b"], np.ones(2)).shape == (2, 0)
