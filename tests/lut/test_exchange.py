import json
from dataclasses import replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lut import ConvSpec, HeadSpec, LutError, MBConvSpec
from lut.errors import ExchangeError
from lut.exchange import export_table, exported_ms, import_table, resolutions_in
from lut.formats.csvfile import read_csv, write_csv
from lut.formats.once_for_all import ofa_parts, read_ofa, write_ofa
from pnag.space.spaces import load_space
from tests.tables import made_up_metadata, made_up_ms, made_up_table, with_entry

SPACE = load_space()
BLOCKS = SPACE.blocks()
KEYS = [block.key for block in BLOCKS]
STEM = KEYS[0]
LATENCIES = {block.key: made_up_ms(block) for block in BLOCKS}

positive = st.floats(min_value=1e-6, max_value=1e6)
some_latencies = st.dictionaries(st.sampled_from(KEYS), positive, min_size=1)


def refused(text, reader=lambda text: read_csv(text, KEYS)):
    with pytest.raises(ExchangeError) as caught:
        reader(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- CSV ------------------------------------------------------------------------------------------------


@given(some_latencies)
def test_csv_round_trips_exactly(latencies):
    assert read_csv(write_csv(latencies), KEYS) == latencies


def test_csv_takes_what_spreadsheets_write():
    assert read_csv(f'\ufeffblock, latency_ms\r\n\r\n"{STEM}", 1.5 \r\n', KEYS) == {STEM: 1.5}


@pytest.mark.parametrize(
    "text",
    [
        f"block;latency_ms\r\n{STEM};1,5\r\n",
        f"block;latency_ms\n{STEM};1.5\n",
        f"sep=;\r\nblock;latency_ms\r\n{STEM};1,5e0\r\n;\r\n",
        f"block\tlatency_ms\n{STEM}\t1,5\n",
        f"sep=,\nblock,latency_ms\n{STEM},1.5\n",
        f"block,latency_ms,,\n{STEM},1.5,,\n,,,\n",
        f'"block";"latency_ms"\n"{STEM}";"1,5"\n',
    ],
)
def test_csv_takes_what_spreadsheets_of_other_countries_write(text, tmp_path):
    assert read_csv(text, KEYS) == {STEM: 1.5}
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (tmp_path / "t.csv").write_bytes(text.encode(encoding))
        found = import_table(tmp_path / "t.csv", BLOCKS, made_up_metadata(SPACE))
        assert found.table.blocks[STEM].latency_ms == 1.5


@pytest.mark.parametrize("value", ["1,234.5", "1.234,5", "1,2,3", "1,", ",5"])
def test_a_number_that_could_be_two_is_refused(value):
    assert f"'{value}' ms is not a number above 0" in refused(f"block;latency_ms\n{STEM};{value}\n")


@pytest.mark.parametrize("text", ["", "block latency_ms\n", "key,ms\n", f"{STEM},1.0\n", "block,latency_ms,std\n"])
def test_csv_with_another_header_is_refused(text):
    assert refused(text).startswith("line 1: the header is")


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "0", "-0.0", "", "fast", "1.0 ms", "1e999"])
def test_csv_rows_without_a_latency_are_named(value):
    text = refused(f"block,latency_ms\n{KEYS[1]},1.0\n{STEM},{value}\n")
    assert text == f"line 3: a latency of '{value}' ms is not a number above 0; correct it or drop the row"


def test_csv_with_an_unknown_block_names_the_row():
    assert refused("block,latency_ms\nconv-i3-o8-k3-s2-relu@32,1\n").startswith("line 2: block conv-i3-o8")
    assert refused(f"block,latency_ms\n{STEM},1\n\npool,1\n").startswith("line 4: 'pool' is not a block key")


def test_csv_with_a_repeated_block_names_the_row():
    assert refused(f"block,latency_ms\n{STEM},1\n{STEM},1\n").startswith(f"line 3: block {STEM} occurs for the second")


@pytest.mark.parametrize("row", [STEM, f"{STEM},1,5", f"{STEM},1,2,3"])
def test_csv_rows_of_another_length_are_named(row):
    assert refused(f"block,latency_ms\n{row}\n").startswith("line 2: ")


def test_csv_with_an_open_quote_is_refused():
    assert refused(f'block,latency_ms\n"{STEM},1\n').startswith("line ")


# -- once-for-all's YAML ----------------------------------------------------------------------------------


def keys_of(block):
    return [part.key for part in ofa_parts(block)]


def test_ofa_keys_by_hand():
    assert keys_of(ConvSpec(3, 24, 3, 2, "hswish", 224)) == ["Conv-input:224x224x3-output:112x112x24"]
    assert keys_of(MBConvSpec(24, 24, 3, 1, 1, "relu", False, 112)) == [
        "expanded_conv-input:112x112x24-output:112x112x24-expand:24-kernel:3-stride:1-idskip:1-se:0-hs:0"
    ]
    assert keys_of(MBConvSpec(96, 136, 5, 6, 1, "hswish", True, 14)) == [
        "expanded_conv-input:14x14x96-output:14x14x136-expand:576-kernel:5-stride:1-idskip:0-se:1-hs:1"
    ]
    assert keys_of(HeadSpec(192, 1152, 1536, 1000, "hswish", 7)) == [
        "Conv_1-input:7x7x192-output:7x7x1152",
        "AvgPool2D-input:7x7x1152-output:1x1x1152",
        "Conv_2-input:1x1x1152-output:1x1x1536",
        "Logits-input:1x1x1536-output:1000",
    ]


def test_every_block_has_ofa_keys_of_its_own():
    keys = [key for block in BLOCKS for key in keys_of(block)]
    assert len(set(keys)) == len(keys) == 96


def test_a_head_is_split_by_multiply_accumulates():
    parts = ofa_parts(HeadSpec(8, 16, 4, 2, "relu", 2))
    # 8·16·4 = 512, 16·4 = 64, 16·4 = 64, 4·2 = 8; together 648
    assert [part.share for part in parts] == pytest.approx([512 / 648, 64 / 648, 64 / 648, 8 / 648])


@given(some_latencies)
def test_ofa_round_trip_keeps_sums(latencies):
    back, unused = read_ofa(write_ofa(latencies, BLOCKS), BLOCKS)
    assert unused == 0
    assert back.keys() == latencies.keys()
    assert all(back[key] == pytest.approx(latencies[key], rel=1e-14) for key in latencies)


def test_ofa_files_are_plain_yaml_with_means():
    document = yaml.safe_load(write_ofa(LATENCIES, BLOCKS))
    assert sum(value["mean"] for value in document.values()) == pytest.approx(sum(LATENCIES.values()))
    assert document["Conv-input:224x224x3-output:112x112x24"] == {"mean": LATENCIES[STEM]}


def test_ofa_reads_a_head_as_the_sum_of_its_parts():
    head = BLOCKS[-1]
    values = zip(keys_of(head), (4, 1, 2, 0.5), strict=True)
    text = "".join(f"{key}: {{count: 50, mean: {ms}, std: 0.1}}\n" for key, ms in values)
    assert read_ofa(text, BLOCKS) == ({head.key: 7.5}, 0)


def test_ofa_counts_keys_of_other_spaces_and_leaves_incomplete_blocks_out():
    text = (
        f"{keys_of(BLOCKS[0])[0]}: {{mean: 1}}\n{keys_of(BLOCKS[-1])[0]}: {{mean: 2}}\n"
        "Conv-input:160x160x3-output:80x80x24: {mean: 1}\n"
    )
    assert read_ofa(text, BLOCKS) == ({STEM: 1.0}, 2)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a mapping"),
        ("- 1", "not a mapping"),
        ("a: [", "line "),
        ("!!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("a:\n  mean: !!python/object/apply:numpy.core.multiarray.scalar []", "write plain numbers, float(x) before"),
        ("a: 1.0", "a: 1.0 is not of the form"),
        ("a: {median: 1.0}", "is not of the form"),
        ("a: {mean: 1.0}\na: {mean: 2.0}", "line 2: a occurs twice"),
        ("a: {mean: .nan}", "a: a latency of 'nan'"),
        ("a: {mean: -3}", "a: a latency of '-3'"),
        ("a: {mean: true}", "a: a latency of 'True'"),
        ("a: {mean: soon}", "a: a latency of 'soon'"),
        ("a: {mean: 1.0}", "none of the 1 keys is a block of the space"),
    ],
)
def test_ofa_files_of_another_form_are_refused(text, says):
    assert says in refused(text, lambda text: read_ofa(text, BLOCKS))


# -- tables -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".yaml", ".YML"])
def test_a_table_exported_and_imported_keeps_its_latencies(tmp_path, suffix):
    table, path = made_up_table(), tmp_path / f"t{suffix}"
    export_table(path, exported_ms(table, BLOCKS), BLOCKS)
    imported = import_table(path, BLOCKS, made_up_metadata(SPACE))
    assert imported.missing == ()
    assert imported.unused == 0
    for key, entry in imported.table.blocks.items():
        assert entry.latency_ms == entry.cost_ms == pytest.approx(table.blocks[key].latency_ms, rel=1e-14)
    sampling = json.loads(json.dumps(imported.table.metadata.sampling))
    assert sampling["imported_from"] == path.name
    assert len(sampling["imported_sha256"]) == 64


def test_calibrated_exports_add_up_to_the_tables_predictions(tmp_path):
    table = made_up_table()
    values = exported_ms(table, BLOCKS, calibrated=True)
    for architecture in SPACE.extremes():
        blocks = SPACE.decompose(architecture)
        assert sum(values[block.key] for block in blocks) == pytest.approx(table.cost_ms(blocks))


def test_an_intercept_that_leaves_the_head_nothing_is_refused():
    table = made_up_table()
    calibration = replace(table.metadata.calibration, intercept_ms=-100.0)
    table = replace(table, metadata=replace(table.metadata, calibration=calibration))
    with pytest.raises(LutError, match="without --calibrated"):
        exported_ms(table, BLOCKS, calibrated=True)


def test_failed_blocks_are_not_exported():
    table = with_entry(made_up_table(), STEM, flags=("failed",))
    assert STEM not in exported_ms(table, BLOCKS)


def test_a_table_without_measured_blocks_is_not_exported():
    table = made_up_table()
    with pytest.raises(LutError, match="no measured block"):
        exported_ms(replace(table, entries=()), BLOCKS)


def test_blocks_that_a_file_lacks_are_reported(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(f"block,latency_ms\n{KEYS[5]},2.0\n{STEM},1.0\n")
    imported = import_table(path, BLOCKS, made_up_metadata(SPACE))
    assert list(imported.table.blocks) == [STEM, KEYS[5]]
    assert len(imported.missing) == 91


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.txt", b"", "neither CSV nor YAML"),
        ("t.csv", b"block,latency_ms\n", "has no rows"),
        ("t.csv", b"block,latency_ms\n\xff,1\n", "not UTF-8"),
        ("t.csv", b"block,latency_ms\nx,1\n", "t.csv: line 2: "),
        ("t.yaml", b"a: {mean: 0}\n", "t.yaml: a: "),
    ],
)
def test_files_that_cannot_be_imported_are_named(tmp_path, name, content, says):
    path = tmp_path / name
    path.write_bytes(content)
    assert says in refused(path, lambda path: import_table(path, BLOCKS, made_up_metadata(SPACE)))


def test_a_file_that_is_not_there_is_named(tmp_path):
    path = tmp_path / "none.csv"
    assert str(path) in refused(path, lambda path: import_table(path, BLOCKS, made_up_metadata(SPACE)))


# -- several files -------------------------------------------------------------------------------------------

TWO = load_space(resolution=(176, 192))  # both end in maps of 6 pixels: they share later blocks of the last unit


def of_side(side, factor=1.0):
    blocks = SPACE.at(side).blocks()
    return write_ofa({block.key: factor * made_up_ms(block) for block in blocks}, blocks)


def test_files_of_several_resolutions_make_one_table(tmp_path):
    files = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    files[0].write_text(of_side(176))
    files[1].write_text(of_side(192, 1.1))
    assert resolutions_in(files) == (176, 192)
    imported = import_table(files, TWO.blocks(), made_up_metadata(TWO))
    assert imported.missing == ()
    shared = {b.key for b in SPACE.at(176).blocks()} & {b.key for b in SPACE.at(192).blocks()}
    assert set(imported.repeated) == shared
    assert len(shared) == 10  # nine later blocks of the last unit, and the head
    assert imported.spread == pytest.approx(0.1)
    for block in TWO.blocks():
        ms = made_up_ms(block)
        expected = 1.05 * ms if block.key in shared else ms if block in SPACE.at(176).blocks() else 1.1 * ms
        assert imported.table.blocks[block.key].latency_ms == pytest.approx(expected)
    assert imported.table.metadata.sampling["imported_from"] == ["a.yaml", "b.yaml"]
    assert len(imported.table.metadata.sampling["imported_sha256"]) == 2


def test_once_for_alls_form_has_no_place_for_several_heads(tmp_path):
    blocks = load_space(resolution=(160, 224)).blocks()
    values = {block.key: made_up_ms(block) for block in blocks}
    with pytest.raises(ExchangeError, match=r"t\.yaml: once-for-all's form has no keys .*; write \.csv"):
        export_table(tmp_path / "t.yaml", values, blocks)
    export_table(tmp_path / "t.csv", values, blocks)
    assert read_csv((tmp_path / "t.csv").read_text(), [block.key for block in blocks]) == values
