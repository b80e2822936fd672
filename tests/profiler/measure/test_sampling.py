"""A spec may say how its device wants to be measured."""

import pytest

from devices import DeviceSpec, list_specs, load_spec
from devices.errors import UnknownDeviceError
from profiler.measure.sampling import sampling_for
from profiler.measure.session import Sampling


@pytest.mark.parametrize("name", list_specs())
def test_every_spec_can_be_sampled(name):
    sampling = sampling_for(load_spec(name), seed=3)
    assert sampling.seed == 3
    assert sampling.block.min_time_s > 0


def test_without_a_word_it_is_as_usual():
    assert sampling_for(DeviceSpec("x", "x", "fake")) == Sampling()


def test_what_the_spec_says_goes_first():
    sampling = sampling_for(DeviceSpec("x", "x", "fake", sampling={"block_s": 0.3, "max_wait_s": 9, "min_rounds": 2}))
    assert (sampling.block.min_time_s, sampling.max_wait_s, sampling.stop.min_rounds) == (0.3, 9.0, 2)
    assert sampling.block.min_runs == Sampling().block.min_runs
    assert sampling.network == Sampling().network


@pytest.mark.parametrize(("key", "value"), [("blocks", 1), ("block_s", "long"), ("block_s", -1), ("block_s", True)])
def test_a_word_that_makes_no_sense_is_an_error(key, value):
    with pytest.raises(UnknownDeviceError, match=key):
        sampling_for(DeviceSpec("x", "x", "fake", sampling={key: value}))


@pytest.mark.parametrize("sampling", [{"min_rounds": 5, "max_rounds": 2}, {"max_rounds": 1, "min_rounds": 2}])
def test_fewer_rounds_at_most_than_at_least_are_refused(sampling):
    with pytest.raises(UnknownDeviceError, match=r"max_rounds is \d, below min_rounds"):
        sampling_for(DeviceSpec("x", "x", "fake", sampling=sampling))


def test_more_rounds_at_least_raise_the_usual_most():
    usual = Sampling().stop.max_rounds
    assert sampling_for(DeviceSpec("x", "x", "fake", sampling={"min_rounds": usual + 7})).stop.max_rounds == usual + 7


def test_all_words_that_make_no_sense_are_said_together():
    wrong = {"blocks": 1, "block_s": "long", "min_rounds": 1.5, "stop": "soon"}
    with pytest.raises(UnknownDeviceError) as caught:
        sampling_for(DeviceSpec("x", "x", "fake", sampling=wrong))
    for fault in (
        "'blocks'",
        "block_s is 'long'",
        "min_rounds is 1.5; give a whole number",
        "unknown stop rule 'soon'",
    ):
        assert fault in str(caught.value)
