import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lut import LatencyTable
from lut.errors import MissingBlockError
from pnag.errors import SpaceError
from pnag.space.architecture import Architecture
from pnag.space.cost import CostModel
from pnag.space.spaces import SPACES, load_space
from tests.tables import TINY, made_up_table, with_entry

SPACE = load_space()
TABLE = made_up_table()
TINY_TABLE = made_up_table(TINY)


def slow(space, table, tokens):
    return np.array([table.cost_ms(space.decompose(architecture)) for architecture in space.decode(tokens)])


def all_of(space):
    """Every architecture of a small space."""
    layers = list(itertools.product(space.kernels, space.expands))
    units = [
        (depth, *zip(*(*chosen, *[(0, 0)] * (space.layers - depth)), strict=True))
        for depth in space.depths
        for chosen in itertools.product(layers, repeat=depth)
    ]
    for combination in itertools.product(units, repeat=space.units):
        depths, kernels, expands = zip(*combination, strict=True)
        yield Architecture(depths, tuple(itertools.chain(*kernels)), tuple(itertools.chain(*expands)))


@pytest.mark.parametrize("name", SPACES)
def test_costs_equal_the_sum_over_blocks(name):
    space = load_space(name, resolution=96)
    table = made_up_table(space)
    tokens = space.sample(300, np.random.default_rng(1))
    assert space.cost_model(table)(tokens) == pytest.approx(slow(space, table, tokens), rel=1e-12)


@given(st.integers(0, 2**32), st.integers(0, 9))
@settings(max_examples=30)
def test_costs_equal_the_sum_for_any_number_of_architectures(seed, n):
    tokens = TINY.sample(n, np.random.default_rng(seed))
    costs = TINY.cost_model(TINY_TABLE)(tokens)
    assert costs.shape == (n,)
    assert costs == pytest.approx(slow(TINY, TINY_TABLE, tokens), rel=1e-12)


def test_many_architectures_are_costed_piece_by_piece_alike():
    model = SPACE.cost_model(TABLE)
    tokens = SPACE.sample(20_000, np.random.default_rng(2))
    assert np.array_equal(model(tokens), np.concatenate([model(part) for part in np.array_split(tokens, 7)]))


def test_the_cost_is_the_tables_own_for_a_published_architecture():
    tokens = SPACE.encode(SPACE.extremes())
    expected = [TABLE.cost_ms(SPACE.decompose(architecture)) for architecture in SPACE.extremes()]
    assert SPACE.cost_model(TABLE)(tokens) == pytest.approx(expected, rel=1e-12)


def test_the_range_is_that_of_all_architectures():
    architectures = list(all_of(TINY))
    assert len(architectures) == (4 + 4**3) ** 2
    costs = TINY.cost_model(TINY_TABLE)(TINY.encode(architectures))
    assert TINY.cost_model(TINY_TABLE).range_ms == pytest.approx((costs.min(), costs.max()), rel=1e-12)


def test_the_range_holds_where_dearer_choices_are_cheaper():
    rng = np.random.default_rng(3)
    layer_ms = rng.random((TINY.units, 2, len(TINY.expands), len(TINY.kernels)))
    model = CostModel(TINY, 1.0, layer_ms)
    costs = model(TINY.encode(all_of(TINY)))
    assert model.range_ms == pytest.approx((costs.min(), costs.max()), rel=1e-12)


def test_the_tokens_are_not_changed():
    tokens = SPACE.sample(50, np.random.default_rng(4))
    before = tokens.copy()
    SPACE.cost_model(TABLE)(tokens)
    assert np.array_equal(tokens, before)


def test_a_table_of_another_width_is_refused():
    with pytest.raises(SpaceError, match=r"the table is of space ofa-mbv3-w1\.2 with width 1.2"):
        load_space("ofa-mbv3-w1.0").cost_model(TABLE)


def test_a_table_of_another_resolution_lacks_the_blocks():
    with pytest.raises(MissingBlockError, match="is not in the table"):
        load_space(resolution=128).cost_model(TABLE)


def test_a_table_with_a_failed_block_is_refused():
    key = SPACE.layer_block(2, 1, 5, 4).key
    broken = with_entry(TABLE, key, flags=("failed",), latency_ms=math.nan, reason="refused by the runtime")
    with pytest.raises(MissingBlockError, match="refused by the runtime"):
        SPACE.cost_model(broken)


def test_a_saved_table_gives_the_same_costs(tmp_path):
    TABLE.save(tmp_path / "t.parquet")
    tokens = SPACE.sample(100, np.random.default_rng(5))
    again = SPACE.cost_model(LatencyTable.load(tmp_path / "t.parquet"))
    assert np.array_equal(again(tokens), SPACE.cost_model(TABLE)(tokens))


# -- several resolutions ----------------------------------------------------------------------------------


SIDES = replace(TINY, resolution=64, resolutions=(32, 48, 64))
SIDES_TABLE = made_up_table(SIDES)


def test_with_a_choice_of_resolutions_costs_equal_the_sum_over_blocks():
    tokens = SIDES.sample(200, np.random.default_rng(3))
    costs = SIDES.cost_model(SIDES_TABLE)(tokens)
    assert costs == pytest.approx(slow(SIDES, SIDES_TABLE, tokens), rel=1e-12)


def test_each_resolution_costs_what_it_costs_alone():
    tokens = SIDES.sample(60, np.random.default_rng(4))
    costs = SIDES.cost_model(SIDES_TABLE)(tokens)
    for index, (side, alone) in enumerate(SIDES.by_resolution.items()):
        table = LatencyTable(SIDES_TABLE.entries, replace(SIDES_TABLE.metadata, space=alone.to_dict(), resolution=side))
        rows = tokens[:, -1] == index
        assert rows.any()
        assert costs[rows] == pytest.approx(alone.cost_model(table)(tokens[rows, :-1]), rel=1e-12)


def test_the_range_reaches_over_all_resolutions():
    costs = [SIDES.at(side).cost_model(SIDES_TABLE).range_ms for side in SIDES.sides]
    low, high = SIDES.cost_model(SIDES_TABLE).range_ms
    assert low == pytest.approx(min(low for low, _ in costs))
    assert high == pytest.approx(max(high for _, high in costs))
    smallest, largest = SIDES.encode(SIDES.extremes())
    model = SIDES.cost_model(SIDES_TABLE)
    assert model(smallest[None])[0] == pytest.approx(low)
    assert model(largest[None])[0] == pytest.approx(high)
