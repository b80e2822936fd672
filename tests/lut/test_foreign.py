"""Tables of others that are not quite ours: another size, width, space or device, patched, or made to hurt."""

import json
import math
import os
from pathlib import Path

import pytest

from lut.blocks import parse_block
from lut.calibration.plausible import odd_blocks
from lut.compare import find_problems
from lut.errors import ExchangeError
from lut.exchange import import_table
from lut.formats.once_for_all import ofa_parts
from lut.table import LatencyTable
from lut.views.summary import describe_problems
from pnag.space.spaces import load_space
from tests.tables import made_up_table

ROOT = Path(__file__).parents[2]

SPACE = load_space("ofa-mbv3-w1.2")


def keys(side=224, space="ofa-mbv3-w1.2"):
    """Made-up times in proportion to the work, by once-for-all's keys."""
    blocks = load_space(space, resolution=side).blocks()
    return {part.key: {"mean": block.macs * part.share / 1e6} for block in blocks for part in ofa_parts(block)}


def read(path, text):
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    return import_table(path, SPACE.blocks(), made_up_table().metadata)


def refused(path, text):
    with pytest.raises(ExchangeError) as error:
        read(path, text)
    line = str(error.value)
    assert line.isprintable()
    assert len(line) < 500
    return line


def test_json_is_read_as_yaml_is(tmp_path):
    from_json = read(tmp_path / "t.json", keys())
    assert len(from_json.table.blocks) == 93
    assert from_json.missing == ()
    text = "".join(f"{key}:\n  mean: {value['mean']!r}\n" for key, value in keys().items())
    assert read(tmp_path / "t.yaml", text).table.costs_ms == from_json.table.costs_ms


@pytest.mark.parametrize("side", [220, 192, 32])
def test_keys_of_other_images_are_refused_with_their_size(tmp_path, side):
    assert f"keys are of {side} pixels, not 224; give --resolution {side}" in refused(tmp_path / "t.json", keys(side))


def test_a_file_of_several_sizes_gives_ours(tmp_path):
    assert len(read(tmp_path / "t.json", keys(192) | keys(224)).table.blocks) == 93


def test_keys_of_another_width_are_refused(tmp_path):
    line = refused(tmp_path / "t.json", keys(space="ofa-mbv3-w1.0"))
    assert "their stem has 16 channels, not 24; give the --space of that width" in line


def test_keys_of_another_space_are_known(tmp_path):
    block = "expanded_conv-input:112x112x24-output:56x56x32-expand:6-kernel:5-stride:2-idskip:0"
    line = refused(tmp_path / "t.json", {block: {"mean": 1.0}, "Conv-input:224x224x3-output:112x112x32": {"mean": 1.0}})
    assert "are of ProxylessNAS' space ('expand:' is a ratio there" in line


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("t.yaml", "a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]", "line 2: an alias stands here"),
        ("t.yaml", "a: &a {mean: 1}\nb:\n  <<: *a", "line 3: an alias stands here"),
        ("t.yaml", "[" * 2000, "nest"),
        ("t.yaml", "? [a, b]\n: {mean: 1}", "unhashable key"),
        ("t.yaml", "a: {mean: 2001-99-99}", "not valid YAML"),
        ("t.yaml", "a: {mean: 0o9, b: 0b}", "a latency of '0o9'"),
        ("t.yaml", "a: {mean: \x01}", "t.yaml: "),
        ("t.yaml", f"a: {{mean: {'9' * 5000}}}", "not valid YAML"),
        ("t.yaml", f"{'k' * 900}: 3", "a int is not of the form"),
        ("t.json", "[" * 100_000, "not valid JSON"),
        ("t.json", '{"a": {"mean": 1}, "a": {"mean": 2}}', "a occurs twice"),
        ("t.json", '{"a": {"mean": NaN}}', "a latency of 'nan'"),
        ("t.json", '{"a": {"mean": 1e999}}', "a latency of 'inf'"),
        ("t.json", '{"a": {"mean": [1]}}', "a latency of 'list'"),
        ("t.json", '{"a": {"mean": "\\ud800"}}', "a latency of '\\ud800'"),
        ("t.json", "{", "line 1: "),
        ("t.json", "3", "not a mapping"),
    ],
)
def test_what_is_no_table_is_refused_in_a_line(tmp_path, name, text, words):
    assert words in refused(tmp_path / name, text)


def test_a_marked_utf8_file_is_read(tmp_path):
    (tmp_path / "t.csv").write_text("\ufeffblock,latency_ms\n" + f"{SPACE.blocks()[0].key},1.0\n", encoding="utf-8")
    assert len(import_table(tmp_path / "t.csv", SPACE.blocks(), made_up_table().metadata).table.blocks) == 1


def test_a_table_whose_name_is_not_text_is_kept(tmp_path):
    path = tmp_path / os.fsdecode(b"wei\xdf.parquet")
    made_up_table().save(path)
    assert LatencyTable.load(path) == made_up_table()


# -- is it plausible? ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1 / 40, 40])
@pytest.mark.parametrize("index", [1, 2, 30, 92])
def test_a_block_of_another_device_is_named(tmp_path, index, factor):
    block = SPACE.blocks()[index]
    times = {b.key: b.macs / 1e6 for b in SPACE.blocks()}
    times[block.key] *= factor * (3 if factor > 1 else 1)
    assert [odd.block for odd in odd_blocks(SPACE.blocks(), times)] == [block.key]


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_devices_on_which_time_follows_the_work_or_does_not_have_no_odd_block(power):
    assert odd_blocks(SPACE.blocks(), {b.key: b.macs**power for b in SPACE.blocks()}) == ()


@pytest.mark.parametrize("path", sorted((ROOT / "lut" / "tables").glob("*.parquet")), ids=lambda path: path.stem)
def test_tables_that_ship_have_no_odd_block(path):
    table = LatencyTable.load(path)
    times = {key: entry.latency_ms for key, entry in table.blocks.items()}
    assert odd_blocks([parse_block(key) for key in table.blocks], times) == ()


def test_nothing_is_said_of_how_well_what_has_no_samples_was_measured(tmp_path):
    table = read(tmp_path / "t.json", keys()).table
    problems = find_problems(table, SPACE.blocks())
    assert problems == ()
    assert all(math.isnan(entry.ci_low_ms) for entry in table.blocks.values())
    text = describe_problems(problems, SPACE.blocks(), unknown=93)
    assert text == "all 93 blocks are there; 93 have no samples, so how well they were measured is not known"
