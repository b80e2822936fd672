"""Files of JSON that the program keeps: journals, visits, manifests, plans, measured networks, descriptions."""

from __future__ import annotations

import gzip
import json
import zipfile
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lut.errors import LutError
from lut.journal import LineJournal, read_lines
from pnag.delivery.metadata import read_metadata
from pnag.errors import PnagError
from pnag.runs.measured import recall
from pnag.runs.plan import Plan
from pnag.runs.run import MANIFEST, Run
from profiler.errors import ProfilerError
from profiler.measure.journal import Journal
from profiler.measure.measurement import Measurement
from profiler.refit import load_visits, refitted
from tests.fuzz.harness import OURS, bounded, fuzz, one_line, spoilt_json_text, texts
from tests.tables import TINY, made_up_table

TABLE = made_up_table(TINY)
UNIT = TABLE.entries[0].block
VISIT = {
    "unit": UNIT, "round": 0, "times_ms": [1.0, 1.1, 1.05], "warmup_ms": [2.0], "runs": 3, "flags": ["disturbed"],
    "reference_ms": 1.0, "temperature_c": 40.0, "clock_mhz": 1000.0, "load": 0.1, "failure": "", "details": {"a": 1},
    "wall_ms": [1.0, 1.1, 9.0], "disturbed": [2], "at_s": 0.5,
}  # fmt: skip
LINES = st.lists(st.one_of(spoilt_json_text(VISIT), st.just(json.dumps(VISIT).encode())), max_size=4)


@fuzz(30)
@given(LINES, st.booleans())
@example([b"[" * 100_000], True)
@example([json.dumps(VISIT | {"times_ms": [float("nan")]}).encode()], True)
@example([json.dumps(VISIT | {"times_ms": "123"}).encode()], True)
def test_journals(tmp_path, lines, ends):
    path = tmp_path / "t.journal"
    header = json.dumps({"journal": 2, "about": "x"}).encode()
    path.write_bytes(b"\n".join([header, *lines]) + (b"\n" if ends else b""))
    try:
        with bounded(), Journal(path, "x") as journal:
            visits = journal.visits
    except ProfilerError as error:
        one_line(error, "t.journal")
        return
    whole = path.read_bytes().split(b"\n")[1:-1]
    plain = [json.loads(line) for line in whole]
    assert [list(visit.times_ms) for visit in visits] == [row.get("times_ms", []) for row in plain]
    for visit in visits:
        visit.describe_state()
        assert visit.median_ms >= 0 or not visit.times_ms
    Measurement(UNIT, tuple(visit for visit in visits if visit.unit == UNIT)).entry("block", (), 0.01)


@fuzz()
@given(texts('{"journal": 2}\n', json.dumps(VISIT) + "\n"), st.binary(max_size=200))
def test_texts_as_journals(tmp_path, text, raw):
    path = tmp_path / "t.journal"
    for content in (raw, text.encode("utf-8", "surrogatepass") + b"\n", b'{"journal": 2}\n' + raw + b"\n"):
        path.write_bytes(content)
        try:
            with bounded(), Journal(path, "x"):
                pass
        except OURS as error:
            one_line(error, "t.journal")


CREATED = TABLE.metadata.created


@fuzz(30)
@given(LINES, st.one_of(st.just({"visits": 1, "created": CREATED}), st.none()), st.integers(0, 60))
def test_visits_beside_a_table(tmp_path, lines, header, cut):
    path = tmp_path / "t.visits.gz"
    content = gzip.compress(b"\n".join([json.dumps(header).encode(), *lines]) + b"\n")
    path.write_bytes(content[: len(content) - cut] if cut < 20 else content)
    try:
        with bounded():
            visits = load_visits(path, CREATED)
    except ProfilerError as error:
        one_line(error, "t.visits.gz")
        return
    plain = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()[1:]]
    assert [list(visit.times_ms) for visit in visits] == [row.get("times_ms", []) for row in plain]
    with bounded():
        assert len(refitted(TABLE, visits, "p90").entries) == len(TABLE.entries)


def test_visits_that_unpack_to_more_than_memory(tmp_path):
    path = tmp_path / "t.visits.gz"
    path.write_bytes(gzip.compress(bytes(1 << 20)) * 3000)
    with bounded(), pytest.raises(ProfilerError, match="more than") as caught:
        load_visits(path, CREATED)
    one_line(caught.value, "t.visits.gz")


MANIFEST_VALUES = {
    "format": 1, "created": "2026-01-01T00:00:00+0000", "asked": {"data": "digits", "seed": 0, "table_sha256": "x"},
    "stages": {"supernet": {"seconds": 1.0}, "generator": {"evaluations": 3, "seconds": 0.1}},
}  # fmt: skip


@fuzz(30)
@given(spoilt_json_text(MANIFEST_VALUES))
def test_manifests(tmp_path, content):
    (tmp_path / MANIFEST).write_bytes(content)
    for open_it in (lambda: Run.load(tmp_path), lambda: Run.start(tmp_path, {"data": "digits", "table_sha256": "y"})):
        try:
            with bounded():
                assert repr(open_it().stages) == repr(json.loads(content)["stages"])
        except PnagError as error:
            one_line(error)


def plan_values() -> dict[str, Any]:
    names = [str(network) for network in TINY.decode(np.unique(TINY.sample(4, np.random.default_rng(0)), axis=0))]
    start = {"end": [0.1, 0.2], "ceiling": None}
    form = {"squared_error": 0.1, "predicted": [0.5], "start": start, "before": None, "sizes": [4]}
    return {
        "format": 2, "first": names, "proposed": [names[:1], names[1:]],
        "random_state": {"draws": np.random.default_rng(0).bit_generator.state, "forms": [form, form]},
    }  # fmt: skip


@fuzz(30)
@given(spoilt_json_text(plan_values()))
def test_plans(tmp_path, content):
    path = tmp_path / "rounds.json"
    path.write_bytes(content)
    try:
        with bounded():
            plan = Plan.load(path, TINY)
    except PnagError as error:
        one_line(error, "rounds.json")
        return
    plain = json.loads(content)
    assert [[str(network) for network in TINY.decode(tokens)] for tokens in plan.proposed] == plain["proposed"]


MEASURED = {
    "architecture": "x", "blocks": [UNIT], "cost_ms": 1.0, "latency_ms": 1.1, "ci_low_ms": 1.0, "ci_high_ms": 1.2,
    "table_sha256": "abc", "device": "d", "created": "2026",
}  # fmt: skip


@fuzz(30)
@given(st.lists(spoilt_json_text(MEASURED), max_size=3))
def test_measured_networks(tmp_path, lines):
    (tmp_path / "measured.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    try:
        with bounded():
            found = recall(tmp_path)
    except LutError as error:
        one_line(error, "measured.jsonl")
        return
    assert all(isinstance(network.residual, float) for network in found)
    assert [network.latency_ms for network in found] == [json.loads(line)["latency_ms"] for line in lines]


@fuzz()
@given(st.binary(max_size=60), texts('{"a": 1}\n'))
def test_lines_of_a_journal(tmp_path, raw, text):
    path = tmp_path / "j"
    path.write_bytes(raw + text.encode("utf-8", "surrogatepass"))
    try:
        rows = read_lines(path)
        with LineJournal(path) as journal:
            assert repr(journal.rows) == repr(rows)
            journal.append([{"more": 1}])
        assert repr(read_lines(path)) == repr((*rows, {"more": 1}))
    except LutError as error:
        one_line(error, "j")


DESCRIPTION = {
    "schema_version": 1,
    "architecture": "x",
    "space": TINY.to_dict(),
    "labels": ["a"],
    "input": {"height": 32},
}


@fuzz()
@given(spoilt_json_text(DESCRIPTION), st.sampled_from([".json", ".pt2", ".onnx"]))
def test_descriptions_in_network_files(tmp_path, content, suffix):
    import onnx

    path = tmp_path / f"net{suffix}"
    if suffix == ".pt2":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("extra/pnag.json", content)
    elif suffix == ".onnx":
        proto = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], []))
        onnx.helper.set_model_props(proto, {"pnag": content.decode("utf-8", "replace")})
        path.write_bytes(proto.SerializeToString())
    else:
        path.write_bytes(content)
    try:
        with bounded():
            assert repr(read_metadata(path)) == repr(json.loads(content.decode("utf-8", "replace")))
    except PnagError as error:
        one_line(error, path.name)


def test_a_description_that_unpacks_to_more_than_memory(tmp_path):
    path = tmp_path / "net.pt2"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("extra/pnag.json", bytes(20 << 20))
    with bounded(), pytest.raises(PnagError, match="too long"):
        read_metadata(path)
