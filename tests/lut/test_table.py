import hashlib
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lut
from lut import Entry, LatencyTable, LutError
from lut.errors import MissingBlockError, OutputError, TableFormatError
from pnag.space.spaces import load_space
from tests.tables import made_up_metadata, made_up_ms, made_up_table, with_entry

STEM = "conv-i3-o24-k3-s2-hswish@224"
OTHER = "conv-i3-o8-k3-s2-relu@32"
PAIR = (Entry("block", STEM, latency_ms=2.0, cost_ms=3.0), Entry("block", OTHER, flags=("failed",)))


@pytest.fixture(scope="module")
def table():
    return made_up_table()


@pytest.fixture(scope="module")
def saved(table, tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "t.parquet"
    table.save(path)
    return path


def refusal(path):
    """The error that loading `path` ends with; it is one line and names the file."""
    with pytest.raises(TableFormatError) as caught:
        LatencyTable.load(path)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    return text


def rewrite(source, target, *, metadata=None, drop=(), **columns):
    """A copy of a table's file with parts of its metadata or columns replaced."""
    arrow = pq.read_table(source)
    stored = json.loads(arrow.schema.metadata[b"lut"])
    for name, values in columns.items():
        arrow = arrow.set_column(arrow.column_names.index(name), name, values)
    text = json.dumps({**stored, **(metadata or {})})
    pq.write_table(arrow.drop_columns(list(drop)).replace_schema_metadata({b"lut": text.encode()}), target)
    return target


# -- round trips --------------------------------------------------------------------------------------


def test_a_saved_table_reads_back_equal(table, saved):
    loaded = LatencyTable.load(saved)
    assert loaded.entries == table.entries
    assert loaded.content_sha256 == table.content_sha256
    assert loaded.metadata.fidelity == table.metadata.fidelity
    assert loaded.metadata.calibration == table.metadata.calibration


def test_saving_what_was_loaded_keeps_the_hash(table, saved, tmp_path):
    again = tmp_path / "again.parquet"
    LatencyTable.load(saved).save(again)
    assert LatencyTable.load(again).content_sha256 == table.content_sha256


def test_the_hash_is_over_canonical_json_and_nothing_of_the_file():
    metadata = replace(made_up_metadata(load_space()), space={}, device={}, runtime={}, sampling={})
    first = LatencyTable(PAIR, metadata, schema=1)
    assert first.content_sha256 == "703d8a9777fd78851755d9e1e41ffd752a5cad44b853806ea8581de8b08e94cd"
    table = LatencyTable(PAIR, metadata)
    assert table.content_sha256 == "f439313ca9305638f6774015e2fa25894f4bebdd43702624a3f7ae9717e1ed97"


def test_the_hash_follows_from_what_the_file_holds(saved, table):
    arrow = pq.read_table(saved)
    metadata = json.loads(arrow.schema.metadata[b"lut"])
    assert metadata.pop("schema_version") == 2
    assert metadata.pop("content_sha256") == table.content_sha256
    names = arrow.column_names[: arrow.column_names.index("round_states") + 1]
    content = {"metadata": metadata, "rows": arrow.select(names).to_pylist()}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == table.content_sha256


def test_whole_numbers_numpy_and_nan_round_trip(tmp_path):
    entry = Entry(
        "block", STEM, latency_ms=np.float32(5), cost_ms=5, runs=np.int64(3), samples_ms=(1, np.float64(0.1), math.nan)
    )
    table = LatencyTable((entry, PAIR[1]), made_up_metadata(load_space()))
    table.save(tmp_path / "t.parquet")
    loaded = LatencyTable.load(tmp_path / "t.parquet")
    assert loaded.entries == table.entries
    assert loaded.content_sha256 == table.content_sha256


numbers = st.floats(allow_nan=True, allow_infinity=True)
entries = st.builds(
    Entry, st.just("block"), st.just(STEM), latency_ms=numbers, cost_ms=numbers, p95_ms=numbers,
    samples_ms=st.lists(numbers, max_size=4).map(tuple), runs=st.integers(0, 2**40), flags=st.just(("noisy", "x,y")),
    reason=st.text(st.characters(exclude_categories=["Cs"])), temperature_c=numbers,
)  # fmt: skip


@given(entries)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_row_round_trips_exactly(tmp_path, entry):
    table = LatencyTable((entry,), made_up_metadata(load_space()))
    table.save(tmp_path / "t.parquet")
    assert LatencyTable.load(tmp_path / "t.parquet").content_sha256 == table.content_sha256


def test_pandas_alone_reads_it(saved, table):
    frame = pd.read_parquet(saved)
    blocks = frame[frame["role"] == "block"].set_index("block")
    assert len(blocks) == 93
    assert blocks.loc[STEM, "latency_ms"] == table.blocks[STEM].latency_ms
    assert blocks.loc["mbconv-i24-o32-k5-e4-s2-relu-se0@112", "kernel"] == 5
    assert not blocks.loc["mbconv-i24-o32-k5-e4-s2-relu-se0@112", "squeeze_excite"]
    assert math.isnan(blocks.loc[STEM, "expand"])
    assert list(blocks.loc[STEM, "samples_ms"]) == list(table.blocks[STEM].samples_ms)


def test_the_frame_holds_every_row_and_is_new_each_time(table):
    frame = table.to_frame()
    assert len(frame) == len(table.entries) == 113
    frame["latency_ms"] = 0.0
    assert table.to_frame()["latency_ms"].min() > 0


# -- damaged and foreign files ------------------------------------------------------------------------


@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_byte_is_noticed_or_harmless(saved, table, tmp_path, data):
    raw = bytearray(saved.read_bytes())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "flipped.parquet"
    path.write_bytes(raw)
    try:
        loaded = LatencyTable.load(path)
    except TableFormatError:
        refusal(path)
    else:
        assert loaded.content_sha256 == table.content_sha256


@given(data=st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_truncated_file_is_refused(saved, tmp_path, data):
    raw = saved.read_bytes()
    path = tmp_path / "cut.parquet"
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw) - 1))])
    refusal(path)


def test_a_missing_file_says_how_to_make_one(tmp_path):
    assert "pnag-profile --out" in refusal(tmp_path / "none.parquet")


def test_a_folder_is_no_table(tmp_path):
    refusal(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"block,latency_ms\n", b"PAR1" * 100])
def test_other_files_are_no_tables(tmp_path, content):
    path = tmp_path / "other.parquet"
    path.write_bytes(content)
    assert "not a parquet file" in refusal(path)


def test_other_parquet_is_no_table(tmp_path):
    path = tmp_path / "other.parquet"
    pd.DataFrame({"block": ["a"], "latency_ms": [1.0]}).to_parquet(path)
    assert "not a latency table" in refusal(path)


@pytest.mark.parametrize("text", [b"[1]", b"{", b"\xff", b"null", b"3"])
def test_metadata_that_is_no_json_object_is_refused(tmp_path, text):
    path = tmp_path / "other.parquet"
    pq.write_table(pa.table({"block": ["a"]}).replace_schema_metadata({b"lut": text}), path)
    refusal(path)


def test_another_schema_version_is_named(saved, tmp_path):
    assert "schema version is 99, not 1" in refusal(
        rewrite(saved, tmp_path / "v.parquet", metadata={"schema_version": 99})
    )


def test_missing_columns_are_named(saved, tmp_path):
    text = refusal(rewrite(saved, tmp_path / "c.parquet", drop=["latency_ms", "flags"]))
    assert "lacks the columns latency_ms, flags" in text


def test_changed_numbers_do_not_match_the_hash(saved, tmp_path):
    latency = pq.read_table(saved)["latency_ms"].to_numpy() * 1.01
    assert "hash" in refusal(rewrite(saved, tmp_path / "n.parquet", latency_ms=pa.array(latency)))


def test_changed_metadata_does_not_match_the_hash(saved, tmp_path):
    assert "hash" in refusal(rewrite(saved, tmp_path / "m.parquet", metadata={"device": {"name": "another"}}))


@pytest.mark.parametrize(
    "metadata",
    [{"calibration": None}, {"calibration": {"slope": 1}}, {"fidelity": {}}, {"notes": 3}, {"colour": "red"}],
)
def test_metadata_of_another_form_is_refused(saved, tmp_path, metadata):
    refusal(rewrite(saved, tmp_path / "f.parquet", metadata=metadata))


def test_an_unknown_role_is_refused(saved, tmp_path):
    roles = ["guest"] * pq.read_table(saved).num_rows
    assert "role 'guest'" in refusal(rewrite(saved, tmp_path / "r.parquet", role=pa.array(roles)))


def test_columns_of_another_type_are_refused(saved, tmp_path):
    words = ["fast"] * pq.read_table(saved).num_rows
    refusal(rewrite(saved, tmp_path / "t.parquet", latency_ms=pa.array(words)))


# -- writing ------------------------------------------------------------------------------------------


def test_a_table_cannot_hold_a_block_twice():
    with pytest.raises(LutError, match="twice"):
        LatencyTable((PAIR[0], PAIR[0]), made_up_metadata(load_space()))


def test_metadata_that_is_not_json_is_refused(table):
    odd = LatencyTable(PAIR, replace(table.metadata, device={"name": object()}))
    with pytest.raises(TypeError, match="object has no place in a table"):
        _ = odd.content_sha256


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_full_disk_leaves_the_old_table_and_nothing_else(saved, table, tmp_path):
    path = tmp_path / "t.parquet"
    path.write_bytes(saved.read_bytes())
    script = (
        "import resource, signal, sys; from lut import LatencyTable; table = LatencyTable.load(sys.argv[1]);"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096));"
        "table.save(sys.argv[1])"
    )
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False)
    assert f"OutputError: cannot write {path}: " in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["t.parquet"]
    assert LatencyTable.load(path).content_sha256 == table.content_sha256


def test_an_output_below_a_file_is_refused(table, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot write"):
        table.save(tmp_path / "file" / "t.parquet")


# -- costs --------------------------------------------------------------------------------------------


def test_a_networks_cost_is_the_intercept_and_its_blocks():
    calibration = replace(made_up_table().metadata.calibration, intercept_ms=0.5)
    entries = (Entry("block", STEM, latency_ms=1.0, cost_ms=2.0), Entry("block", OTHER, 1.0, 3.0))
    table = LatencyTable(entries, replace(made_up_metadata(load_space()), calibration=calibration))
    assert table.cost_ms([STEM, STEM, OTHER]) == 0.5 + 2 + 2 + 3
    assert table.cost_ms([]) == 0.5


def test_missing_and_failed_blocks_are_named(table):
    broken = with_entry(table, STEM, latency_ms=math.nan, cost_ms=math.nan, flags=("failed",), reason="out of beads")
    with pytest.raises(MissingBlockError, match=f"{STEM} failed when it was measured .out of beads"):
        broken.cost_ms([STEM])
    with pytest.raises(MissingBlockError, match="conv-i3-o8-k3-s2-relu@32 is not in the table"):
        table.cost_ms([OTHER])


def test_calibration_finds_what_the_networks_take(table):
    space = load_space()
    for architecture in space.extremes():
        blocks = space.decompose(architecture)
        assert table.cost_ms(blocks) == pytest.approx(1.1 * sum(map(made_up_ms, blocks)) + 2.0, rel=0.03)
    assert table.metadata.fidelity is not None
    assert table.metadata.fidelity.n == 8
    assert table.metadata.fidelity.mape < 0.01
    assert 0 < table.upper_margin(0.95) < 0.03


def test_calibrating_twice_changes_nothing(table):
    assert table.calibrated().content_sha256 == table.content_sha256


def test_rows_of_networks_hold_their_prediction(table):
    for row in (*table.networks("calibration"), *table.networks("holdout")):
        assert row.cost_ms == pytest.approx(table.cost_ms(row.blocks))


def test_networks_with_a_failed_block_do_not_calibrate(table):
    broken = with_entry(table, STEM, latency_ms=math.nan, flags=("failed",), reason="x").calibrated()
    assert broken.metadata.calibration.networks == 0
    assert broken.metadata.fidelity is None
    assert all(math.isnan(row.cost_ms) for row in broken.networks("holdout"))


@pytest.mark.parametrize("name", ["cpu_epyc", "cpu_epyc_tflite"])
def test_a_table_of_an_older_schema_is_read_and_written_as_it_was(name, tmp_path):
    path = Path(lut.__file__).parent / "tables" / f"{name}.parquet"
    table = LatencyTable.load(path)
    table.save(tmp_path / "again.parquet")
    assert LatencyTable.load(tmp_path / "again.parquet").content_sha256 == table.content_sha256


def test_a_table_of_the_first_schema_has_no_percentiles(tmp_path):
    table = LatencyTable(PAIR, made_up_metadata(load_space()), schema=1)
    table.save(tmp_path / "first.parquet")
    back = LatencyTable.load(tmp_path / "first.parquet")
    assert (back.schema, back.content_sha256) == (1, table.content_sha256)
    assert "p90_ms" not in back.to_frame()
    assert "p90_ms" in LatencyTable(PAIR, made_up_metadata(load_space())).to_frame()
