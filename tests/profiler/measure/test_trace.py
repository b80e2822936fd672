import json
from dataclasses import replace

import pytest

from profiler.errors import JournalError
from profiler.measure.measurement import Visit
from profiler.measure.trace import TRACKS, calls_s, trace_of
from tests.tables import TINY, made_up_table

TABLE = made_up_table(TINY)
STEM, LAYER = list(TABLE.blocks)[:2]
NETWORK = TABLE.networks("holdout")[0].block


def visit(unit, number, at_s, lasted_s=0.5, **values):
    return Visit(
        unit, number, times_ms=(100.0, 120.0), warmup_ms=(150.0,), runs=2, at_s=at_s, lasted_s=lasted_s, **values
    )


SESSION = (
    visit("reference", -1, 0.0),
    visit(STEM, 0, 1.0, temperature_c=40.0, details={"charging": True, "battery_percent": 80}),
    visit(NETWORK, 0, 1.5, temperature_c=40.0),
    visit("reference", -1, 2.0),
    visit(LAYER, 1, 2.5, temperature_c=41.0, flags=("drifted",)),
    Visit(STEM, 1, failure="no memory", at_s=3.0, lasted_s=0.25),
)


def events(trace, phase, **fields):
    chosen = [event for event in trace.events if event["ph"] == phase]
    return [e for e in chosen if all(e.get(name) == value for name, value in fields.items())]


def test_a_visit_is_an_event_in_microseconds_on_its_track():
    trace = trace_of(TABLE, SESSION)
    assert [(e["name"], e["ts"], e["dur"]) for e in events(trace, "X", cat="blocks")] == [
        (STEM, 1_000_000, 500_000), (LAYER, 2_500_000, 500_000), (STEM, 3_000_000, 250_000),
    ]  # fmt: skip
    (network,) = events(trace, "X", cat="networks")
    assert network["args"] == {"calls": 2, "round": 1, "median_ms": 110.0}
    assert [e["ts"] for e in events(trace, "X", cat="reference")] == [0, 2_000_000]
    assert events(trace, "X", cat="blocks")[1]["args"]["flags"] == "drifted"
    assert events(trace, "X", cat="blocks")[2]["args"] == {"calls": 0, "round": 2, "failure": "no memory"}
    assert (trace.visits, trace.readings, trace.lasted_s, trace.durations_known) == (4, 2, 3.25, True)


def test_rounds_span_their_visits_and_are_taken_up_again_after_an_interruption():
    again = (*SESSION, visit(LAYER, 0, 64.0))
    spans = [(e["name"], e["ts"], e["dur"]) for e in events(trace_of(TABLE, again), "X", cat="rounds")]
    assert spans == [
        ("round 1", 1_000_000, 1_000_000),
        ("round 2", 2_500_000, 750_000),
        ("round 1", 64_000_000, 500_000),
    ]


def test_state_is_a_counter_where_it_changes():
    counters = [(e["name"], e["ts"], e["args"]["value"]) for e in events(trace_of(TABLE, SESSION), "C")]
    assert counters == [
        ("temperature_c", 1_000_000, 40.0), ("battery_percent", 1_000_000, 80), ("temperature_c", 2_500_000, 41.0),
        ("reference_ms", 0, 110.0), ("reference_ms", 2_000_000, 110.0),
    ]  # fmt: skip


def test_process_and_tracks_have_names():
    names = {e["args"]["name"] for e in events(trace_of(TABLE, SESSION), "M") if "name" in e["args"]}
    assert names == {"Abacus 3, beads 1.0", *TRACKS}


def test_every_event_has_what_the_format_wants():
    document = json.loads(json.dumps(trace_of(TABLE, SESSION).document(), allow_nan=False))
    for event in document["traceEvents"]:
        assert {"ph", "name", "pid", "args"} <= set(event)
        assert event["ph"] == "M" or (isinstance(event["ts"], int) and event["ts"] >= 0)
        assert event["ph"] != "X" or (isinstance(event["dur"], int) and event["dur"] >= 0 and event["tid"])


def test_older_visits_are_as_long_as_their_calls_and_older_readings_end_when_they_say():
    older = [replace(one, lasted_s=float("nan")) for one in SESSION]
    trace = trace_of(TABLE, [visit("reference", -1, 0.9, float("nan")), *older[1:]])
    assert not trace.durations_known
    assert calls_s(SESSION[0]) == pytest.approx(0.37)
    assert events(trace, "X", cat="blocks")[0]["dur"] == 370_000
    assert events(trace, "X", cat="reference")[0]["ts"] == 530_000


def test_times_that_are_means_of_several_calls_count_as_often():
    assert calls_s(Visit("x", 0, times_ms=(1.0, 3.0), runs=20)) == pytest.approx(0.04)
    assert calls_s(Visit("x", 0, times_ms=(1.0,), runs=10, wall_ms=(1.0, 5.0))) == pytest.approx(0.06)
    assert calls_s(Visit("x", 0, failure="no memory")) == 0


def test_visits_that_do_not_say_when_they_began_make_no_trace():
    with pytest.raises(JournalError, match="no visit of this session says when it began"):
        trace_of(TABLE, [visit(STEM, 0, float("nan"))])
