import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pnag.errors import ArchitectureError
from pnag.space.architecture import Architecture
from pnag.space.spaces import load_space
from tests.published import PUBLISHED, SMALLEST


@given(st.integers(0, 2**32))
def test_the_public_string_reads_back(seed):
    space = load_space()
    (architecture,) = space.decode(space.sample(1, np.random.default_rng(seed)))
    assert Architecture.parse(str(architecture)) == architecture


@given(st.text(max_size=60))
def test_any_text_is_an_architecture_or_an_error_of_ours(text):
    try:
        architecture = Architecture.parse(text)
    except ArchitectureError:
        return
    assert str(architecture) == text.strip()


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: row["name"])
def test_published_strings_are_architectures_of_the_space(row):
    architecture = Architecture.parse(row["architecture"])
    load_space().check(architecture)
    assert str(architecture) == row["architecture"]


def test_numbers_are_found_by_unit_and_layer():
    architecture = Architecture.parse("1,2:3,0,5,7:4,0,6,3")
    assert architecture.layers_per_unit == 2
    assert architecture.layer(0, 0) == (3, 4)
    assert architecture.layer(1, 1) == (7, 3)


def test_space_around_the_string_does_not_matter():
    assert str(Architecture.parse(f" {SMALLEST}\n")) == SMALLEST


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "1 parts"),
        ("2,2", "1 parts"),
        ("2:3,3:3,3:", "4 parts"),
        ("1:3,a:3,0", "'a' in"),
        ("1:3,:3,0", "'' in"),
        ("1:3,-1:3,0", "'-1' in"),
        ("1:3,0.0:3,0", "'0.0' in"),
        ("01:3,0:3,0", "'01' in"),
        ("1:3, 0:3,0", "' 0' in"),
        ("1:٣,0:3,0", "is not a number"),
        (f"1:{'9' * 5000},0:3,0", "is not a number"),
        ("1,1:3,0,3:3,0,3", "2 depths, 3 kernels and 3 expands"),
        ("1:3,0:3", "1 depths, 2 kernels and 1 expands"),
        ("3:3,3:3,3", "a depth of 3 in units of 2 layers"),
        ("2:3,0:3,3", "unit 1 has depth 2 but layer 2 has kernel 0 and expand 3"),
        ("1:3,5:3,4", "unit 1 has depth 1 but layer 2 has kernel 5 and expand 4"),
    ],
)
def test_what_is_no_architecture_is_refused_with_the_reason(text, says):
    with pytest.raises(ArchitectureError) as caught:
        Architecture.parse(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_architectures_compare_and_hash_by_value():
    assert len({Architecture.parse(SMALLEST), Architecture.parse(SMALLEST)}) == 1
    assert Architecture.parse(SMALLEST) < Architecture.parse(PUBLISHED[4]["architecture"])
