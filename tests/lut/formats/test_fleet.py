from dataclasses import replace

import pandas as pd
import pytest

from lut.errors import OutputError
from lut.formats.fleet import PARTITIONS, add_tables, part_of
from tests.tables import TINY, made_up_table

TABLE = made_up_table(TINY)


def of(model, **changes):
    meta = TABLE.metadata
    return replace(TABLE, metadata=replace(meta, device={**meta.device, "model": model}, **changes))


ABACUS, SLATE = TABLE, of("Schiefertafel ü/2", runtime={"name": "chalk", "precision": "int8", "threads": 2})


def test_tables_are_read_as_one_with_their_device_runtime_and_precision(tmp_path):
    parts = add_tables(tmp_path / "fleet", [ABACUS, SLATE])
    assert parts[0].parent == tmp_path / "fleet" / "device=Abacus%203" / "runtime=beads" / "precision=unknown"
    rows = pd.read_parquet(tmp_path / "fleet")
    assert len(rows) == len(ABACUS.entries) + len(SLATE.entries)
    assert {tuple(row) for row in rows[list(PARTITIONS)].astype(str).drop_duplicates().to_numpy()} == {
        ("Abacus 3", "beads", "unknown"),
        ("Schiefertafel ü/2", "chalk", "int8"),
    }
    slate = rows[rows["device"] == "Schiefertafel ü/2"]
    assert set(slate["table_sha256"]) == {SLATE.content_sha256}
    assert set(slate["table_threads"]) == {2}
    blocks = slate[slate["role"] == "block"].set_index("block")["cost_ms"]
    assert dict(blocks) == pytest.approx(dict(SLATE.costs_ms))


def test_a_table_again_replaces_its_part_and_so_does_one_that_has_grown(tmp_path):
    grown = made_up_table(TINY, holdout=11)
    for table in (ABACUS, ABACUS, grown):
        (part,) = add_tables(tmp_path, [table])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [part]
    assert len(pd.read_parquet(tmp_path)) == len(grown.entries)


def test_another_session_and_another_statistic_are_other_parts():
    later, median = (
        of("Abacus 3", created="2026-02-01T00:00:00+00:00"),
        of("Abacus 3", sampling={"statistic": "median"}),
    )
    assert len({part_of(table) for table in (ABACUS, later, median)}) == 3


def test_tables_of_an_older_schema_have_the_columns_of_the_newest(tmp_path):
    old = replace(of("Rechenschieber"), schema=1)
    add_tables(tmp_path, [ABACUS, old])
    rows = pd.read_parquet(tmp_path)
    assert rows.loc[rows["device"] == "Rechenschieber", "p90_ms"].isna().all()
    assert set(rows["table_sha256"]) == {ABACUS.content_sha256, old.content_sha256}


def test_a_file_in_the_place_of_the_folder_stays_as_it_is(tmp_path):
    (tmp_path / "fleet").write_text("mine")
    with pytest.raises(OutputError, match="a data set is a folder"):
        add_tables(tmp_path / "fleet", [ABACUS])
    assert (tmp_path / "fleet").read_text() == "mine"
