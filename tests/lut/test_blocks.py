import pytest
from hypothesis import given
from hypothesis import strategies as st

from lut import ConvSpec, HeadSpec, LutError, MBConvSpec, divisible, parse_block
from lut.blocks import output_side

number = st.integers(1, 4096)
activation = st.sampled_from(["relu", "hswish"])
specs = st.one_of(
    st.builds(ConvSpec, number, number, number, number, activation, number),
    st.builds(MBConvSpec, number, number, number, number, number, activation, st.booleans(), number),
    st.builds(HeadSpec, number, number, number, number, activation, number),
)


@given(specs)
def test_a_key_reads_back_as_the_same_block(spec):
    assert parse_block(spec.key) == spec
    assert str(spec) == spec.key


@given(specs, specs)
def test_keys_are_equal_only_for_equal_blocks(a, b):
    assert (a.key == b.key) == (a == b)


@pytest.mark.parametrize(
    "text",
    [
        "", "conv", "head", "pool-i3@7", "conv-i3-o24-k3-s2-hswish@0", "conv-i03-o24-k3-s2-hswish@224",
        "conv-i3-o24-k3-s2-hswish@224 ", "conv-i3-o24-k3-s2-hswish@224\n", "conv-i3-o24-k3-s2-gelu@224",
        "mbconv-i24-o32-k5-e4-s2-relu-se2@112", "mbconv-i٣-o32-k5-e4-s2-relu-se0@112", "CONV-i3-o24-k3-s2-relu@8",
    ],
)  # fmt: skip
def test_what_is_not_a_canonical_key_is_refused_in_one_line(text):
    with pytest.raises(LutError, match="not a block key") as caught:
        parse_block(text)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("value", "expected"), [(3, 8), (12, 16), (11.9, 16), (19.2, 24), (28.8, 32), (48, 48), (134.4, 136), (1152, 1152)]
)
def test_channels_are_multiples_of_eight_and_at_least_nine_tenths(value, expected):
    assert divisible(value) == expected


@given(st.floats(1, 1e4))
def test_divisible_never_falls_below_nine_tenths(value):
    assert divisible(value) % 8 == 0
    assert divisible(value) >= 0.9 * value


@pytest.mark.parametrize(
    ("side", "kernel", "stride", "out"), [(224, 3, 2, 112), (7, 7, 1, 7), (7, 3, 2, 4), (1, 7, 2, 1), (5, 5, 2, 3)]
)
def test_output_side_for_padding_of_half_the_kernel(side, kernel, stride, out):
    assert output_side(side, kernel, stride) == out


def test_stem_counted_by_hand():
    stem = ConvSpec(3, 24, 3, 2, "hswish", 224)
    assert stem.input_shape == (3, 224, 224)
    assert stem.output_shape == (24, 112, 112)
    assert stem.macs == 3 * 24 * 9 * 112 * 112
    assert stem.params == 648 + 48


def test_unit_block_counted_by_hand():
    block = MBConvSpec(32, 48, 5, 4, 2, "relu", True, 56)
    assert (block.inner_channels, block.squeeze_channels, block.residual) == (128, 32, False)
    assert block.output_shape == (48, 28, 28)
    assert block.macs == 32 * 128 * 56 * 56 + 128 * 25 * 28 * 28 + 2 * 128 * 32 + 128 * 48 * 28 * 28
    weights = 32 * 128 + 128 * 25 + 2 * 128 * 32 + 128 * 48
    assert block.params == weights + 2 * (128 + 128 + 48) + (32 + 128)


def test_first_block_has_no_expanding_convolution():
    block = MBConvSpec(24, 24, 3, 1, 1, "relu", False, 112)
    assert block.residual
    assert block.inner_channels == 24
    assert block.macs == (24 * 9 + 24 * 24) * 112 * 112
    assert block.params == 24 * 9 + 24 * 24 + 4 * 24


def test_head_counted_by_hand():
    head = HeadSpec(192, 1152, 1536, 1000, "hswish", 7)
    assert head.output_shape == (1000,)
    assert head.macs == 192 * 1152 * 49 + 1152 * 1536 + 1536 * 1000
    assert head.params == 192 * 1152 + 2 * 1152 + 1152 * 1536 + 1536 * 1000 + 1000
