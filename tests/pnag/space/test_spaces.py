"""Spaces by name, and spaces of the user's own in a TOML file."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pnag.errors import SpaceError
from pnag.space.spaces import SPACES, load_space, read_space

HALF = """
name = "half-4"
width = 0.5
unit_channels = [24, 40, 80, 160]
unit_strides = [2, 2, 2, 2]
unit_activations = ["relu", "relu", "hswish", "hswish"]
unit_squeeze_excite = [false, true, false, true]
"""


def write(folder: Path, text: str) -> str:
    path = folder / "space.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_file_is_a_space_like_any_other(tmp_path: Path):
    space = load_space(write(tmp_path, HALF), resolution=64, classes=10)
    assert (space.name, space.width, space.units, space.length) == ("half-4", 0.5, 4, 36)
    assert (space.resolution, space.classes, space.depths) == (64, 10, (2, 3, 4))
    assert len(space.blocks()) == 3 + 4 * 2 * 9
    smallest, _ = space.extremes()
    assert space.decode(space.encode([smallest])) == [smallest]
    assert len(space.decompose(smallest)) == 3 + 4 * 2


def test_its_own_resolution_and_classes_hold_unless_others_are_asked_for(tmp_path: Path):
    name = write(tmp_path, HALF + "resolution = 96\nclasses = 5\n")
    assert (load_space(name).resolution, load_space(name).classes) == (96, 5)
    assert (load_space(name, resolution=64).resolution, load_space(name, classes=7).classes) == (64, 7)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name = "a"', "lacks width"),
        ("width = 1.0", "lacks name"),
        ('name = "a"\nwidth = "wide"', "width = 'wide'; give a number above 0"),
        ('name = "a"\nwidth = true', "width = 'True'; give a number above 0"),
        ('name = "a"\nwidth = nan', "give a number above 0"),
        ('name = "a"\nwidth = 1.0\ndepth = [2]', "unknown key 'depth'"),
        ('name = "a"\nwidth = 1.0\ndepths = 2', "depths = 2; give a list, whole numbers"),
        ('name = "a"\nwidth = 1.0\ndepths = []', "depths = []; give a list"),
        ('name = "a"\nwidth = 1.0\nkernels = [3, 4]', "even kernels have no centre"),
        ('name = "a"\nwidth = 1.0\nkernels = [3, 3]', "give different numbers"),
        ('name = "a"\nwidth = 1.0\nunit_strides = [2, 2, 2, 1, 3]', "give a list, 1 or 2 for each unit"),
        ('name = "a"\nwidth = 1.0\nunit_activations = ["swish"]', "each of relu or hswish"),
        ('name = "a"\nwidth = 1.0\nunit_squeeze_excite = [0]', "true or false"),
        ('name = "a"\nwidth = 1.0\nunit_channels = [24]', "describe each unit in all four"),
        ('name = "a"\nwidth = 1.0\nclasses = 99999999', "classes = '99999999'; give a whole number from 1 to"),
        ('name = "../a"\nwidth = 1.0', "name = '../a'; give letters"),
        ("name = 3\nwidth = 1.0", "name = 3; give letters"),
        ('name = "ofa-mbv3-w1.0"\nwidth = 1.0', "which a space of the program has"),
        ("name =", "not valid TOML"),
    ],
)
def test_what_is_no_space_is_refused_by_file_and_key(tmp_path: Path, text: str, said: str):
    path = write(tmp_path, text)
    with pytest.raises(SpaceError) as caught:
        load_space(path)
    assert path in str(caught.value)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(SpaceError, match=r"cannot read nowhere\.toml"):
        load_space("nowhere.toml")


def test_an_unknown_name_lists_the_known_ones_and_the_other_way():
    with pytest.raises(SpaceError, match=r"ofa-mbv3-w1\.2.*or give a \.toml file"):
        load_space("mobilenet")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=8,
)


@given(key=st.sampled_from(sorted(SPACES["ofa-mbv3-w1.2"].to_dict())), value=VALUES)
def test_any_value_is_a_space_or_one_line(tmp_path_factory: pytest.TempPathFactory, key: str, value: object):
    plain = {"name": "mine", "width": 1.0, key: value}
    text = "\n".join(f"{name} = {_toml(item)}" for name, item in plain.items() if item is not None)
    path = Path(write(tmp_path_factory.mktemp("spaces"), text))
    said = ""
    try:
        assert read_space(path).blocks()
    except SpaceError as error:
        said = str(error)
    assert "\n" not in said
    assert len(said) < 600


def _toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return '"' + "".join(f"\\U{ord(c):08X}" for c in value) + '"'
        case list():
            return "[" + ", ".join(_toml(item) for item in value if item is not None) + "]"
        case _:
            return str(value)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_of_windows_editors_are_read(tmp_path, encoding):
    path = tmp_path / "mine.toml"
    path.write_bytes('name = "mine"\r\nwidth = 1.0\r\n'.encode(encoding))
    assert read_space(path).name == "mine"


@pytest.mark.parametrize("classes", [10_000, 21_841])
def test_large_sets_of_classes_are_a_space(classes):
    space = load_space(classes=classes)
    assert type(space).from_dict(space.to_dict()) == space


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"classes": 100_001}, "100001 classes are more than 100000; give fewer"),
        ({"resolution": 9000}, "a resolution of 9000 pixels is more than 4096; give fewer"),
    ],
)
def test_what_no_file_could_hold_is_refused_before_it_is_measured(options, words):
    with pytest.raises(SpaceError, match=words):
        load_space(**options)


def test_all_mistakes_of_a_file_are_said_together(tmp_path: Path):
    text = 'name = "a/b"\nwidht = 1.0\ndepths = 2\nkernels = ["3"]\nclasses = 0\n'
    with pytest.raises(SpaceError) as caught:
        read_space(write(tmp_path, text))
    for fault in ("key 'widht'", "lacks width", "name = 'a/b'", "depths = 2", "kernels = ['3']", "classes = '0'"):
        assert fault in str(caught.value)
    assert str(caught.value).count("space.toml") == 1
