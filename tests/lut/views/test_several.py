import json
import math
from dataclasses import replace

import pytest

from lut import Entry, LatencyTable, LutError
from lut.views.several import compare_several, describe_several, several_document
from tests.tables import TINY, made_up_metadata

A, B, C = (block.key for block in TINY.blocks()[:3])
ABOUT = made_up_metadata(TINY)


def table(latencies, **device):
    entries = tuple(
        Entry("block", key, latency_ms=ms, cost_ms=ms, ci_low_ms=0.99 * ms, ci_high_ms=1.01 * ms)
        for key, ms in latencies.items()
    )
    return LatencyTable(entries, replace(ABOUT, device={**ABOUT.device, **device}))


FIRST, SECOND, THIRD = table({A: 1.0, B: 2.0}), table({A: 1.1, B: 2.2, C: 5.0}), table({B: 4.0, C: 5.0}, model="Slate")


def compared():
    return compare_several([("a", FIRST), ("b", SECOND), ("c", THIRD)])


def test_the_matrix_by_hand():
    matrix = compared().median_difference
    assert matrix[0] == pytest.approx((0, 0.1, 1.0))
    assert matrix[1] == pytest.approx((1 - 1 / 1.1, 0, (4 / 2.2 - 1) / 2))
    assert matrix[2][0] == pytest.approx(0.5)


def test_tables_without_a_block_in_common_have_no_median():
    found = compare_several([("a", table({A: 1.0, B: 1.0})), ("b", table({A: 1.0})), ("c", table({B: 1.0}))])
    assert math.isnan(found.median_difference[1][2])
    assert json.loads(json.dumps(several_document(found)))["median_difference"][1][2] is None
    assert describe_several(found).splitlines()[-2].split()[-1] == "-"


def test_one_that_has_nothing_in_common_with_the_first_is_named():
    with pytest.raises(LutError, match="a and c: the two tables have no block in common"):
        compare_several([("a", FIRST), ("b", SECOND), ("c", table({C: 1.0}))])


def test_text_and_document_say_how_each_differs_from_the_first():
    lines = describe_several(compared()).splitlines()
    assert lines[0].split()[:2] == ["against", "a"]
    assert lines[1].split() == ["b", "2", "1.1000", "10.00", "%", "1.0000", "2"]
    assert lines[2].split()[:5] == ["c", "1", "2.0000", "100.00", "%"]
    assert lines[2].endswith("another device")
    document = several_document(compared())
    assert [one["table"] for one in document["against_first"]] == ["b", "c"]
    assert document["against_first"][0]["only_b"] == [C]


def test_whether_any_differs_surely_by_more():
    assert compared().differs(0.5)
    assert not compare_several([("a", FIRST), ("b", FIRST), ("c", SECOND)]).differs(0.2)
