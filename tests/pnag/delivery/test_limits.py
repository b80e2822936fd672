"""Limits as they are typed, and what is said of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lut.blocks import parse_block
from lut.errors import TableFormatError
from pnag.delivery.files.sizes import file_sizes, weights_of
from pnag.delivery.limits import (
    counted,
    limit_rows,
    limits_of,
    limits_text,
    other_tables,
    parse_count,
    parse_size,
    too_large,
)
from pnag.errors import BudgetError, SpaceError
from pnag.generator.learning import train_generator
from pnag.space.search_space import SearchSpace
from pnag.space.spaces import load_space
from tests.tables import TINY, made_up_table

ROOT = Path(__file__).parents[3]
SPACE = load_space("ofa-mbv3-w0.25", resolution=32, classes=10)


@pytest.mark.parametrize(
    ("text", "value"), [("8M", 8e6), ("500m", 5e8), ("1.2G", 1.2e9), ("8000000", 8e6), ("750k", 7.5e5), (" .5 B ", 5e8)]
)
def test_numbers_are_read_with_their_units(text: str, value: float) -> None:
    assert parse_count(text, "--max-params") == value


@pytest.mark.parametrize(
    ("text", "value"), [("20MB", 2e7), ("19.5MiB", 19.5 * 2**20), ("500 kB", 5e5), ("1GB", 1e9), ("100B", 100.0)]
)
def test_sizes_are_read_with_their_units(text: str, value: float) -> None:
    assert parse_size(text) == value


@pytest.mark.parametrize("text", ["", "0", "-5M", "8 millions", "nan", "1e999", "8MB"])
def test_what_is_no_number_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(BudgetError, match=r"^--max-params .* is no number above zero; write it as 8M or 8000000$"):
        parse_count(text, "--max-params")


@pytest.mark.parametrize("text", ["20", "0MB", "20M", "-1kB", "MB"])
def test_what_is_no_size_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(BudgetError, match=r"^--max-size .* is no size above zero; write it as 20MB or 19.5MiB$"):
        parse_size(text)


def saved(folder: Path, space: SearchSpace, name: str = "pixel.parquet", **how: float) -> Path:
    made_up_table(space, **how).save(folder / name)
    return folder / name


def test_another_table_has_its_own_costs_and_margin(tmp_path: Path) -> None:
    path = saved(tmp_path, SPACE, noise=0.02)
    table = made_up_table(SPACE, noise=0.02)
    (limit,) = other_tables([f"{path}=45ms"], SPACE, 0.95)
    assert (limit.name, limit.most, limit.unit, limit.confidence) == ("pixel", 45.0, "ms", 0.95)
    assert limit.margin == table.upper_margin(0.95) > 0.01
    (architecture,) = SPACE.decode(SPACE.sample(1, np.random.default_rng(0)))
    cost = limit.costs(SPACE.encode([architecture]))[0]
    assert cost == pytest.approx(table.cost_ms(SPACE.decompose(architecture)))


def test_a_table_without_unseen_networks_gives_no_confidence(tmp_path: Path) -> None:
    (limit,) = other_tables([f"{saved(tmp_path, TINY, holdout=0)}=45"], TINY, 0.95)
    assert (limit.margin, limit.confidence) == (0.0, None)


def test_tables_of_one_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    (tmp_path / "a=b").mkdir()
    paths = [saved(tmp_path, TINY), saved(tmp_path / "a=b", TINY)]
    assert [limit.name for limit in other_tables([f"{path}=9ms" for path in paths], TINY, 0.95)] == [*map(str, paths)]


@pytest.mark.parametrize("option", ["pixel.parquet", "=45ms", "45ms"])
def test_an_option_without_table_or_budget_is_refused(option: str) -> None:
    with pytest.raises(BudgetError, match=r"lacks a table or a budget; write it as lut/pixel\.parquet=45ms"):
        other_tables([option], TINY, 0.95)


def test_tables_of_other_networks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TableFormatError, match="no latency table at"):
        other_tables([f"{tmp_path}/none.parquet=45ms"], TINY, 0.95)
    with pytest.raises(SpaceError, match=r"--also .*small\.parquet is of 24 pixels and 3 classes.*--resolution 32"):
        other_tables([f"{saved(tmp_path, replace(TINY, resolution=24), 'small.parquet')}=45ms"], TINY, 0.95)
    with pytest.raises(SpaceError, match="use the two of one space"):
        other_tables([f"{saved(tmp_path, replace(TINY, width=1.0), 'wide.parquet')}=45ms"], TINY, 0.95)
    with pytest.raises(BudgetError, match="'45km' is not a budget"):
        other_tables([f"{saved(tmp_path, TINY)}=45km"], TINY, 0.95)


def test_counts_are_those_of_the_blocks() -> None:
    asked = {"max_params": "1M", "max_macs": "2M", "max_size": "3MB", "files": [(".onnx", "float32")]}
    parameters, macs, size = counted(TINY, **asked)
    (architecture,) = TINY.decode(TINY.sample(1, np.random.default_rng(1)))
    tokens, blocks = TINY.encode([architecture]), TINY.decompose(architecture)
    assert parameters.costs(tokens)[0] == sum(block.params for block in blocks)
    assert macs.costs(tokens)[0] == sum(block.macs for block in blocks)
    assert size.costs(tokens)[0] == pytest.approx(file_sizes(TINY, ".onnx", "float32")(tokens)[0])
    assert (parameters.most, macs.most, size.most) == (1e6, 2e6, 3e6)


@pytest.mark.parametrize(
    ("key", "weights", "channels"),
    [
        ("conv-i3-o24-k3-s2-hswish@224", 3 * 24 * 9, 24),
        ("mbconv-i24-o24-k3-e1-s1-relu-se0@112", 24 * 9 + 24 * 24, 24 + 24),
        ("mbconv-i24-o32-k5-e4-s2-relu-se1@112", 24 * 96 + 96 * 25 + 2 * 96 * 24 + 96 * 32, 96 + 96 + 96 + 24 + 32),
        ("head-i192-m1152-f1536-o10-hswish@7", 192 * 1152 + 1152 * 1536 + 1536 * 10, 1152 + 1536 + 10),
    ],
)
def test_weights_and_channels_of_blocks(key: str, weights: int, channels: int) -> None:
    assert weights_of(parse_block(key)) == (weights, channels)


def test_a_size_is_of_the_files_that_are_exported_or_that_the_runtime_takes() -> None:
    table = made_up_table(TINY)
    tokens = TINY.sample(40, np.random.default_rng(0))
    costs = TINY.cost_model(table)
    about = {"runtime": "onnxruntime", "precision": "int8"}
    generator = train_generator(TINY, costs, tokens, 0.7 + costs(tokens) / 1e3, method="random", metadata=about)
    nothing = {"also": (), "max_params": None, "max_macs": None}
    (limit,) = limits_of(generator, 0.95, max_size="1GB", suffixes=[], **nothing)
    assert limit.name == "size of .onnx"
    assert limit.costs.range_ms == file_sizes(TINY, ".onnx", "int8").range_ms
    both = limits_of(generator, 0.95, max_size="1GB", suffixes=[".tflite", ".json", ".pt2", ".tflite"], **nothing)
    assert [limit.name for limit in both] == ["size of .tflite", "size of .pt2"]
    assert both[1].costs.range_ms == file_sizes(TINY, ".pt2", "float32").range_ms
    found = generator.generate(1e3, further=[limit, *both])
    assert [row["unit"] for row in limit_rows(found)] == ["ms", "bytes", "bytes", "bytes"]
    lines = limits_text(limit_rows(found))
    assert lines[1].strip().startswith("size of .onnx: ")
    assert lines[1].endswith("of 1000 MB")
    assert lines[-1].strip() == "none of them binds: no better network is near"


def test_files_that_were_exported_are_a_little_smaller_than_predicted() -> None:
    space = load_space()
    networks = dict(zip(("smallest", "largest"), space.extremes(), strict=True))
    compared = 0
    for line in (ROOT / "benchmarks" / "results" / "export_parity.md").read_text(encoding="utf-8").splitlines():
        what, suffix, precision, _, _, megabytes, *_ = (cell.strip() for cell in f"{line[1:]}|||||||".split("|"))
        which = what.removesuffix(" @224")
        if which in networks and megabytes:
            predicted = file_sizes(space, f".{suffix}", precision)(space.encode([networks[which]]))[0]
            assert 0 < predicted / (float(megabytes) * 1e6) - 1 < (0.02 if precision == "float32" else 0.07), line
            compared += 1
    assert compared == 8


def test_a_file_that_is_larger_than_its_limit_is_named() -> None:
    limit = {"name": "size of .onnx", "most": 2e7}
    exports = [
        {"path": "a.onnx", "format": "onnx", "bytes": 20_400_000},
        {"path": "a.json", "format": "json", "bytes": 3e7},
    ]
    row = {"limits": [{"name": "abacus", "most": 30.0}, limit], "exports": exports}
    (told,) = too_large([row])
    assert told == "a.onnx has 20.4 MB, more than the 20 MB that were asked for; ask for less"
    assert too_large([row | {"exports": [exports[0] | {"bytes": 20_000_000}]}]) == []
