"""What the four commands print with --json is what docs/json.md says."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lut.table import LatencyTable
from pnag.accuracy.archive import AccuracyArchive
from pnag.space.sampling import sample_spread
from pnag.space.search_space import SearchSpace
from profiler.console import SCHEMA_VERSION
from tests.json_documents import PAGE, assert_documented, documented
from tests.pnag.commands import MAIN, runner

SMALL = "--device fake.toml --resolution 32 --classes 10 --calibrate 8 --holdout 4 --out a.parquet"


@pytest.fixture
def document(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], dict[str, object]]:
    """Types a line with --json in a folder that has a fake device, and gives the document."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fake.toml").write_text('name = "fake"\ntitle = "fake device"\nbackend = "fake"\n')

    def call(line: str) -> dict[str, object]:
        name, *words = line.split()
        ended = runner(MAIN[name], capsys, monkeypatch)(*words, "--json")
        assert ended.code in (0, 1), ended.err
        assert ended.document["schema_version"] == SCHEMA_VERSION
        return ended.document

    return call


def test_documents_of_all_commands_are_told(document: Callable[[str], dict[str, object]], tmp_path: Path) -> None:
    assert_documented("pnag-profile", document(f"pnag-profile {SMALL}"))
    assert_documented("pnag-profile --check", document(f"pnag-profile {SMALL} --check"))
    assert_documented("pnag-profile --list-devices", document("pnag-profile --list-devices"))
    assert_documented("pnag-profile --list-options", document("pnag-profile --list-options fake.toml"))
    assert_documented("pnag-lut show", document("pnag-lut show a.parquet"))
    assert_documented("pnag-lut check", document("pnag-lut check a.parquet"))
    assert_documented("pnag-lut refit", document("pnag-lut refit a.parquet --statistic median --out b.parquet"))
    assert_documented("pnag-lut report", document("pnag-lut report a.parquet --out a.html"))
    assert_documented("pnag-lut diff", document("pnag-lut diff a.parquet b.parquet"))
    assert_documented("pnag-lut diff A B C", document("pnag-lut diff a.parquet b.parquet a.parquet"))
    assert_documented("pnag-lut fleet add", document("pnag-lut fleet add a.parquet b.parquet --to fleet"))
    assert_documented("pnag-lut trace", document("pnag-lut trace a.parquet --out a.json"))
    assert_documented("pnag-lut export", document("pnag-lut export a.parquet --out c.csv"))
    read = "pnag-lut import c.csv --device there --resolution 32 --classes 10 --out c.parquet"
    assert_documented("pnag-lut import", document(read))
    table = LatencyTable.load("a.parquet")
    space = SearchSpace.from_dict(table.metadata.space)
    costs = space.cost_model(table)
    tokens = sample_spread(space, 40, costs, np.random.default_rng(0))
    AccuracyArchive(space, tokens, costs(tokens) / costs.range_ms[1]).save(tmp_path / "known.csv")
    trained = document("pnag-train --lut a.parquet --accuracy known.csv --method random --out run")
    assert_documented("pnag-train", trained)
    assert_documented("pnag-lut add", document("pnag-lut add a.parquet run"))
    high = costs.range_ms[1]
    asked = f"pnag-generate {2 * high}ms --from run --also b.parquet={2 * high}ms --max-params 1G --export net.json"
    assert_documented("pnag-generate", document(asked))
    assert_documented("pnag-generate", document("pnag-generate --frontier 3 --from run"))
    only = "mobilenet_v3_small,pnag-cpu-3*"
    assert_documented("pnag-profile --zoo", document(f"pnag-profile --device fake.toml --zoo-only {only} --out z.json"))
    for verify in ("", " --verify fake.toml --attempts 2"):
        pairs = document(f"pnag-generate --beside z.json --from run{verify}")
        assert_documented("pnag-generate --beside", pairs)
    assert {row["attempts"] for row in pairs["pairs"]} <= {0, 1, 2}


def test_a_key_that_is_not_told_and_one_that_is_missing_are_found() -> None:
    whole = {"schema_version": 1, "table": "t", "added": 1, "mape_before": None, "mape": None, "content_sha256": ""}
    assert_documented("pnag-lut add", whole)
    with pytest.raises(AssertionError, match=r"not in docs/json.md: \['more'\]"):
        assert_documented("pnag-lut add", whole | {"more": 1})
    with pytest.raises(AssertionError, match=r"not in the document: \['added'\]"):
        assert_documented("pnag-lut add", {key: value for key, value in whole.items() if key != "added"})


def test_every_section_begins_with_the_version() -> None:
    names = [line.split("`")[1] for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("## `")]
    assert len(names) == 20
    assert all(next(iter(documented(name))) == "schema_version" for name in names)
    assert sys.modules["profiler.console"].SCHEMA_VERSION == 1
