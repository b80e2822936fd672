import json

import pytest

from lut import LatencyTable
from lut.cli import main
from pnag.space.search_space import SearchSpace
from pnag.space.spaces import load_space
from tests.json_documents import assert_documented
from tests.tables import made_up_table, with_entry

STEM = "conv-i3-o24-k3-s2-hswish@224"


@pytest.fixture
def table():
    return made_up_table()


@pytest.fixture
def saved(table, tmp_path):
    path = tmp_path / "t.parquet"
    table.save(path)
    return path


@pytest.fixture
def pnag_lut(monkeypatch, capsys):
    """Run the command; returns its status, stdout and stderr."""

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["pnag-lut", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return exit_.value.code, out, err

    return call


def test_show_prints_where_the_table_is_from(pnag_lut, saved, table):
    status, out, err = pnag_lut("show", saved)
    assert (status, err) == (0, "")
    assert "Abacus 3" in out
    assert table.content_sha256 in out


def test_show_as_json_is_one_document(pnag_lut, saved, table):
    status, out, err = pnag_lut("show", saved, "--json")
    document = json.loads(out)
    assert_documented("pnag-lut show", document)
    assert (status, err) == (0, "")
    assert document["content_sha256"] == table.content_sha256
    assert document["device"]["model"] == "Abacus 3"


def test_show_draws_a_picture(pnag_lut, saved, tmp_path):
    status, _, err = pnag_lut("show", saved, "--plot", tmp_path / "t.png")
    assert status == 0
    assert "drawn to" in err
    assert (tmp_path / "t.png").is_file()


def test_check_is_content_with_a_whole_table(pnag_lut, saved):
    assert pnag_lut("check", saved) == (0, "all 93 blocks are there and measured well\n", "")


def test_check_ends_with_1_and_names_the_block(pnag_lut, table, tmp_path):
    with_entry(table, STEM, flags=("noisy",)).save(tmp_path / "n.parquet")
    status, out, _ = pnag_lut("check", tmp_path / "n.parquet", "--json")
    assert status == 1
    assert_documented("pnag-lut check", json.loads(out))
    (problem,) = json.loads(out)["problems"]
    assert (problem["block"], problem["problem"]) == (STEM, "noisy")


def test_check_knows_the_space_at_the_tables_own_size(pnag_lut, tmp_path):
    made_up_table(load_space(resolution=32, classes=10)).save(tmp_path / "small.parquet")
    assert pnag_lut("check", tmp_path / "small.parquet")[0] == 0


def test_diff_compares_two_tables(pnag_lut, saved, table, tmp_path):
    with_entry(table, STEM, latency_ms=99.0).save(tmp_path / "b.parquet")
    status, out, _ = pnag_lut("diff", saved, tmp_path / "b.parquet", "--worst", 1)
    assert status == 0
    assert STEM in out
    status, out, _ = pnag_lut("diff", saved, tmp_path / "b.parquet", "--json", "--plot", tmp_path / "d.png")
    assert_documented("pnag-lut diff", json.loads(out))
    assert json.loads(out)["median_absolute_difference"] == 0
    assert (tmp_path / "d.png").is_file()


@pytest.mark.parametrize("case", [(1.1, 5, 1), (1.1, 20, 0), (1.005, 0, 0), (1.1, None, 0)])
def test_diff_has_a_status_for_other_programs(pnag_lut, saved, table, tmp_path, case):
    factor, above, expected = case
    ms = table.blocks[STEM].latency_ms * factor
    with_entry(table, STEM, latency_ms=ms, ci_low_ms=0.99 * ms, ci_high_ms=1.01 * ms).save(tmp_path / "b.parquet")
    words = () if above is None else ("--fail-above", above)
    status, out, _ = pnag_lut("diff", saved, tmp_path / "b.parquet", *words)
    assert status == expected
    assert ("not significant" in next(line for line in out.splitlines() if line.startswith(STEM))) == (factor < 1.01)


def test_diff_compares_several_tables_with_the_first(pnag_lut, saved, table, tmp_path):
    ms = 2 * table.blocks[STEM].latency_ms
    with_entry(table, STEM, latency_ms=ms, ci_low_ms=0.99 * ms, ci_high_ms=1.01 * ms).save(tmp_path / "b.parquet")
    status, out, _ = pnag_lut("diff", saved, saved, tmp_path / "b.parquet")
    assert status == 0
    assert out.startswith(f"against {saved} ")
    status, out, _ = pnag_lut("diff", saved, saved, tmp_path / "b.parquet", "--fail-above", 5, "--json")
    document = json.loads(out)
    assert_documented("pnag-lut diff A B C", document)
    assert (status, document["median_difference"]) == (1, [[0.0] * 3] * 3)
    assert [one["significant"] for one in document["against_first"]] == [[], [STEM]]
    assert pnag_lut("diff", saved, saved, saved, "--fail-above", 5)[0] == 0


def test_tables_join_a_data_set(pnag_lut, saved, table, tmp_path):
    status, out, err = pnag_lut("fleet", "add", saved, "--to", tmp_path / "fleet", "--json")
    assert (status, err) == (0, "")
    (part,) = json.loads(out)["parts"]
    assert part["rows"] == len(table.entries)
    assert list((tmp_path / "fleet").rglob("*.parquet")) == [tmp_path / part["part"]]


def test_a_table_without_its_visits_cannot_be_made_anew(pnag_lut, saved, tmp_path):
    status, out, err = pnag_lut("refit", saved, "--statistic", "p90", "--out", tmp_path / "o.parquet")
    assert (status, out) == (2, "")
    assert "no visits at" in err
    assert pnag_lut("refit", saved, "--statistic", "mean", "--out", tmp_path / "o.parquet")[0] == 2


@pytest.mark.parametrize("suffix", ["csv", "yaml"])
def test_export_and_import_keep_the_latencies(pnag_lut, saved, table, tmp_path, suffix):
    out, back = tmp_path / f"o.{suffix}", tmp_path / "back.parquet"
    assert pnag_lut("export", saved, "--out", out)[0] == 0
    status, text, _ = pnag_lut("import", out, "--device", "abacus", "--out", back, "--json")
    assert_documented("pnag-lut import", json.loads(text))
    assert (status, json.loads(text)["missing"]) == (0, [])
    imported = LatencyTable.load(back)
    assert imported.metadata.device == {"name": "abacus"}
    assert imported.cost_ms(imported.blocks) == pytest.approx(sum(e.latency_ms for e in table.blocks.values()))
    assert pnag_lut("check", back)[0] == 0


def test_import_of_a_part_says_what_is_missing(pnag_lut, tmp_path):
    (tmp_path / "p.csv").write_text("block,latency_ms\nconv-i3-o24-k3-s2-hswish@32,1.0\n")
    arguments = ("--device", "x", "--out", tmp_path / "p.parquet", "--resolution", 32, "--classes", 10)
    status, _, err = pnag_lut("import", tmp_path / "p.csv", *arguments)
    assert status == 0
    assert "92 blocks of the space are not in" in err
    assert LatencyTable.load(tmp_path / "p.parquet").metadata.classes == 10
    assert pnag_lut("check", tmp_path / "p.parquet")[0] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "none.parquet"),
        ("show", "bad.parquet"),
        ("show", "t.parquet", "--plot", "t.docx"),
        ("show", "t.parquet", "--plot", "/dev/full"),
        ("check", "bad.parquet"),
        ("diff", "t.parquet", "bad.parquet"),
        ("diff", "t.parquet"),
        ("diff", "t.parquet", "t.parquet", "bad.parquet"),
        ("diff", "t.parquet", "t.parquet", "t.parquet", "--plot", "d.png"),
        ("fleet", "add", "t.parquet", "bad.parquet", "--to", "fleet"),
        ("fleet", "add", "t.parquet", "--to", "t.parquet"),
        ("fleet", "add", "t.parquet"),
        ("trace", "t.parquet", "--out", "t.parquet"),
        ("trace", "t.parquet", "--out", "t.json"),
        ("export", "t.parquet", "--out", "t.txt"),
        ("export", "t.parquet"),
        ("export", "t.parquet", "--out", "t.parquet/below.csv"),
        ("import", "bad.csv", "--device", "x", "--out", "o.parquet"),
        ("import", "good.csv", "--device", "x", "--out", "o.parquet", "--space", "none"),
        ("import", "good.csv", "--device", "x", "--out", "o.parquet", "--resolution", "8"),
        ("import", "good.csv", "--device", " ", "--out", "o.parquet"),
        ("import", "good.csv", "--out", "o.parquet"),
        ("weigh", "t.parquet"),
    ],
)
def test_bad_input_is_one_line_and_status_2(pnag_lut, saved, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.parquet").write_bytes(saved.read_bytes()[:-9])
    (tmp_path / "good.csv").write_text(f"block,latency_ms\n{STEM},1.0\n")
    (tmp_path / "bad.csv").write_text(f"block,latency_ms\n{STEM},-1.0\n")
    before = sorted(tmp_path.iterdir())
    status, out, err = pnag_lut(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("pnag-lut: ")
    assert err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_several_files_import_as_one_table_of_all_their_resolutions(pnag_lut, tmp_path):
    for side in (160, 192):
        made_up_table(load_space(resolution=side)).save(tmp_path / f"{side}.parquet")
        assert pnag_lut("export", tmp_path / f"{side}.parquet", "--out", tmp_path / f"{side}.yaml")[0] == 0
    files, out = (tmp_path / "192.yaml", tmp_path / "160.yaml"), tmp_path / "both.parquet"
    status, _, err = pnag_lut("import", *files, "--device", "a phone", "--out", out)
    assert (status, err) == (0, "")
    space = load_space(resolution=(160, 192))
    table = LatencyTable.load(out)
    assert SearchSpace.from_dict(table.metadata.space) == space
    assert set(table.blocks) == {block.key for block in space.blocks()}
    assert pnag_lut("check", out)[0] == 0
    assert "160, 192 pixels" in pnag_lut("show", out)[1]
    before = out.read_bytes()
    status, _, err = pnag_lut("import", *files, "--device", "a phone", "--out", out, "--resolution", "160,224")
    assert status == 2
    assert "192.yaml: keys are of 192 pixels, not 160 and 224; give --resolution 192" in err
    assert out.read_bytes() == before
