from dataclasses import replace

import pytest

from lut.errors import TableFormatError
from lut.table import LatencyTable
from profiler.saving import NothingMeasuredError, WorseTableError, save_unless_worse
from tests.tables import TINY, made_up_table

NOTES = ("the time was up",)


def failing(table, n, reason="the time was up before its turn"):
    """The table without the latencies of its first `n` blocks."""
    rows = [
        replace(entry, flags=("failed",), reason=reason, latency_ms=float("nan"), cost_ms=float("nan"))
        if i < n
        else entry
        for i, entry in enumerate(table.entries)
    ]
    return LatencyTable(tuple(rows), replace(table.metadata, notes=NOTES))


def short(table, networks):
    """The table with that many networks, as if the time had been up."""
    blocks = tuple(table.blocks.values())
    rows = (*blocks, *(entry for entry in table.entries if entry.role != "block"))[: len(blocks) + networks]
    return LatencyTable(rows, replace(table.metadata, notes=NOTES))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "t.parquet"


@pytest.fixture
def whole():
    return made_up_table(TINY, calibration=4, holdout=2)


@pytest.mark.parametrize("n", [1, 3])
def test_a_whole_table_is_not_replaced_by_one_with_failed_blocks(path, whole, n):
    whole.save(path)
    before = path.read_bytes()
    with pytest.raises(WorseTableError, match=rf"stays as it is.*{n} of {len(whole.blocks)} blocks.*before its turn"):
        save_unless_worse(failing(whole, n), path)
    assert path.read_bytes() == before


def test_nor_by_one_whose_networks_the_time_left_out(path, whole):
    whole.save(path)
    before = path.read_bytes()
    with pytest.raises(WorseTableError, match="only 3 networks were measured, not 6"):
        save_unless_worse(short(whole, 3), path)
    assert path.read_bytes() == before


def test_fewer_networks_are_taken_where_fewer_were_asked_for(path, whole):
    whole.save(path)
    fewer = replace(short(whole, 3), metadata=whole.metadata)
    save_unless_worse(fewer, path)
    assert LatencyTable.load(path) == fewer


@pytest.mark.parametrize("there", [3, 2])
def test_a_better_one_or_an_equal_one_takes_its_place(path, whole, there):
    failing(whole, there).save(path)
    better = failing(whole, 2)
    save_unless_worse(better, path)
    assert LatencyTable.load(path).content_sha256 == better.content_sha256


@pytest.mark.parametrize("there", [None, b"no table"])
def test_where_there_is_no_table_any_is_better(path, whole, there):
    if there is not None:
        path.write_bytes(there)
        with pytest.raises(TableFormatError):
            LatencyTable.load(path)
    save_unless_worse(failing(whole, 3), path)
    assert len(LatencyTable.load(path).costs_ms) == len(whole.blocks) - 3


@pytest.mark.parametrize("there", [True, False])
def test_a_table_of_nothing_is_none(path, whole, there):
    if there:
        whole.save(path)
    with pytest.raises(NothingMeasuredError, match=r"no block could be measured.*no such core"):
        save_unless_worse(failing(whole, len(whole.blocks), "no such core"), path)
    assert path.exists() == there
