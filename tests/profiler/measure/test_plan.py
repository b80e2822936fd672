import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lut.blocks import parse_block
from pnag.space.spaces import load_space
from profiler.cli_networks import sample_units
from profiler.measure.plan import Unit, block_units, reference_unit, spread


def test_a_block_is_named_by_its_key():
    block = parse_block("mbconv-i24-o32-k5-e4-s2-relu-se0@112")
    (unit,) = block_units([block])
    assert unit == Unit("block", block.key, (block,))
    assert unit.blocks == ()
    assert unit.macs == block.macs


def test_the_reference_has_the_median_size():
    keys = ("mbconv-i24-o32-k3-e3-s2-relu-se0@112", "conv-i3-o8-k3-s2-relu@8", "mbconv-i24-o32-k5-e4-s2-relu-se0@112")
    units = block_units(map(parse_block, keys))
    assert reference_unit(units).name == keys[0]


def test_spread_takes_the_ends_and_even_steps_between():
    assert spread([0, 1, 2, 3, 4, 5, 6, 7, 8], 3) == [0, 4, 8]
    assert spread([5, 0, 10, 5.1], 3) == [1, 0, 2]


@given(st.lists(st.floats(0, 1e9), max_size=40), st.integers(0, 50))
def test_spread_gives_distinct_indices_in_order_of_size(sizes, n):
    chosen = spread(sizes, n)
    assert len(chosen) == len(set(chosen)) == min(n, len(sizes))
    if 2 <= n < len(sizes):
        values = [sizes[i] for i in chosen]
        assert values == sorted(values)
        assert (values[0], values[-1]) == (min(sizes), max(sizes))


@pytest.fixture(scope="module")
def units():
    return sample_units(load_space(resolution=32, classes=10), 12, 8, seed=3)


def test_calibration_spans_the_space_and_holdout_lies_within(units):
    space = load_space(resolution=32, classes=10)
    calibration = [unit for unit in units if unit.role == "calibration"]
    holdout = [unit for unit in units if unit.role == "holdout"]
    assert (len(calibration), len(holdout)) == (12, 8)
    smallest, largest = map(str, space.extremes())
    assert (calibration[0].name, calibration[-1].name) == (smallest, largest)
    assert not {smallest, largest} & {unit.name for unit in holdout}
    assert len({unit.name for unit in units}) == 20
    assert all(calibration[0].macs < unit.macs < calibration[-1].macs for unit in holdout)


def test_networks_are_spread_evenly_over_the_range(units):
    macs = np.array([unit.macs for unit in units if unit.role == "calibration"])
    steps = np.diff(macs) / (macs[-1] - macs[0])
    assert steps.max() < 2 / 11


def test_the_choice_depends_on_the_seed_only():
    space = load_space(resolution=32, classes=10)
    assert sample_units(space, 3, 2, seed=1) == sample_units(space, 3, 2, seed=1)
    assert sample_units(space, 3, 2, seed=1) != sample_units(space, 3, 2, seed=2)


def test_no_networks_are_no_units():
    assert sample_units(load_space(), 0, 0, seed=0) == ()
