import math
from dataclasses import replace

import numpy as np
import pytest

from lut import Entry, LatencyTable, LutError
from lut.compare import Problem, compare, find_problems
from lut.views.groups import group_blocks
from lut.views.summary import describe, describe_difference, describe_problems, difference_document, table_document
from pnag.space.spaces import load_space
from tests.tables import made_up_metadata, made_up_table, with_entry

SPACE = load_space()
BLOCKS = SPACE.blocks()
A, B, C, D = (block.key for block in BLOCKS[:4])


def small(latencies, **metadata):
    entries = tuple(Entry("block", key, latency_ms=ms, cost_ms=ms) for key, ms in latencies.items())
    return LatencyTable(entries, replace(made_up_metadata(SPACE), **metadata))


def test_a_whole_table_has_no_problems():
    assert find_problems(made_up_table(), BLOCKS) == ()
    assert describe_problems((), BLOCKS) == "all 93 blocks are there and measured well"


def test_missing_failed_noisy_and_throttled_blocks_are_found_in_order():
    table = made_up_table()
    table = LatencyTable(tuple(e for e in table.entries if e.block != A), table.metadata)
    table = with_entry(table, D, flags=("noisy", "throttled"), latency_ms=2.0, ci_low_ms=1.9, ci_high_ms=2.1)
    table = with_entry(table, B, flags=("failed",), reason="out of memory", latency_ms=math.nan)
    problems = find_problems(table, BLOCKS)
    assert problems == (
        Problem(A, "missing", "not in the table"),
        Problem(B, "failed", "out of memory"),
        Problem(D, "noisy", "2 ms ± 5.0 %"),
        Problem(D, "throttled", "2 ms ± 5.0 %"),
    )
    assert describe_problems(problems, BLOCKS).endswith(
        "3 of 93 blocks are missing, failed or doubtful; profile them again"
    )


@pytest.mark.parametrize("flag", ["partly_delegated", "batch_norm_not_folded", "disturbed", "gpu_shared"])
def test_what_was_not_run_as_it_is_deployed_is_doubtful(flag):
    problems = find_problems(with_entry(made_up_table(), C, flags=(flag,)), BLOCKS)
    assert [(problem.block, problem.problem) for problem in problems] == [(C, flag)]


def test_a_table_that_predicts_badly_is_not_called_good():
    table = made_up_table(noise=0.2)
    problems = find_problems(table, BLOCKS)
    assert [(problem.block, problem.problem) for problem in problems] == [("", "poor_fidelity")]
    text = describe_problems(problems, BLOCKS)
    assert f"8 unseen networks err by {100 * table.metadata.fidelity.mape:.1f} % on average" in text
    assert "measured well" not in text
    assert "0 of 93" not in text


def test_differences_by_hand():
    difference = compare(small({A: 1.0, B: 2.0, C: 4.0}), small({C: 3.0, B: 2.2, A: 1.1, D: 9.0}))
    assert [block.block for block in difference.blocks] == [A, B, C]
    assert [block.ratio for block in difference.blocks] == pytest.approx([1.1, 1.1, 0.75])
    assert difference.median_ratio == pytest.approx(1.1)
    assert difference.median_absolute_difference == pytest.approx(0.1)
    assert difference.rank_correlation == pytest.approx(1.0)
    assert difference.worst(1)[0].block == C
    assert (difference.only_a, difference.only_b) == ((), (D,))
    assert difference.metadata == {}


def test_a_table_equals_itself():
    table = made_up_table()
    difference = compare(table, table)
    assert difference.median_absolute_difference == 0
    assert difference.metadata == {}


def test_metadata_differences_are_named_by_dotted_paths():
    changed = {"device": {"name": "made-up", "model": "Abacus 4"}, "batch": 8}
    difference = compare(small({A: 1.0}), small({A: 1.0}, **changed))
    assert difference.metadata["device.model"] == ("Abacus 3", "Abacus 4")
    assert difference.metadata["batch"] == (1, 8)
    assert difference.metadata["device.frequency_mhz"] == (1200.5, None)


def test_two_devices_of_one_name_are_said_to_be_two():
    one, other = (
        {"kind": "cpu", "model": "AMD EPYC", "cpu_family_model_stepping": family, "memory_mib": mib}
        for family, mib in (("25/1/1", 24105), ("26/2/1", 24100))
    )
    difference = compare(small({A: 1.0}, device=one), small({A: 1.0}, device=other))
    text = describe_difference(difference)
    assert text.splitlines()[0] == "two devices                 B's cpu family model stepping 26/2/1 (A's: 25/1/1)"
    document = difference_document(difference)
    assert document["unlike_devices"] == {"cpu_family_model_stepping": {"a": "25/1/1", "b": "26/2/1"}}
    same = compare(small({A: 1.0}, device=one), small({A: 1.1}, device={**one, "load_1min_at_start": 3.0}))
    assert same.unlike == ()
    assert "two devices" not in describe_difference(same)


def test_tables_without_a_common_block_cannot_be_compared():
    with pytest.raises(LutError, match="no block in common"):
        compare(small({A: 1.0}), small({B: 1.0}))


def test_failed_blocks_are_not_compared():
    failed = with_entry(small({A: 1.0, B: 1.0}), B, flags=("failed",))
    assert compare(small({A: 1.0, B: 1.0}), failed).only_a == (B,)


@pytest.mark.parametrize("name", ["ofa-mbv3-w1.2", "ofa-mbv3-w1.0", "ofa-mbv3-w0.25"])
@pytest.mark.parametrize("resolution", [32, 224])
def test_blocks_are_grouped_by_their_place_in_the_network(name, resolution):
    groups = group_blocks(reversed(load_space(name, resolution=resolution).blocks()))
    titles = [f"{group.title} {group.position}".strip() for group in groups]
    units = [f"unit {unit} {position}" for unit in range(1, 6) for position in ("first", "later")]
    assert titles == ["stem", "first block", *units, "head"]
    assert [len(group.blocks) for group in groups] == [1, 1, *[9] * 10, 1]


def test_the_summary_says_what_a_reader_wants_to_know():
    text = describe(made_up_table())
    for words in ("ofa-mbv3-w1.2, 224 x 224 pixels, 1000 classes, batch 1", "Abacus 3", "beads", "MAPE", "unit 5"):
        assert words in text
    assert "none: a cost is the latency" in describe(small({A: 1.0}))
    assert all(line == line.rstrip() for line in text.splitlines())


def test_documents_hold_plain_values():
    table = made_up_table()
    document = table_document(table)
    assert document["content_sha256"] == table.content_sha256
    assert len(document["blocks"]) == 93
    assert len(document["networks"]) == 20
    assert document["fidelity"]["n"] == 8
    assert difference_document(compare(table, table))["median_ratio"] == 1.0


def test_a_difference_lists_the_worst_blocks_first():
    text = describe_difference(compare(small({A: 1.0, B: 2.0}), small({A: 1.0, B: 3.0, C: 1.0}, batch=2)), worst=1)
    assert f"{B}  2.0000  3.0000  1.500" in text
    assert "only in B" in text
    assert "batch" in text


STEM = "conv-i3-o24-k3-s2-hswish@224"


def between(a_ms, b_ms, width=0.01, key=STEM):
    """Two tables of one block each, whose latencies are known to so much."""

    def table(ms):
        row = Entry("block", key, ms, ci_low_ms=(1 - width) * ms, ci_high_ms=(1 + width) * ms)
        return LatencyTable((row,), made_up_metadata(load_space()))

    return compare(table(a_ms), table(b_ms)).blocks[0]


def test_a_difference_within_the_intervals_is_not_significant():
    # together √(0.01² + 0.01²) = 0.01414
    assert not between(1.0, 1.014).significant
    assert between(1.0, 1.015).significant
    assert between(1.015, 1.0).significant
    block = between(1.0, 1.1)
    assert (block.low, block.high) == pytest.approx((1.1 * math.exp(-0.01414), 1.1 * math.exp(0.01414)), abs=1e-4)


def test_what_is_not_known_is_not_significant():
    assert not between(1.0, 2.0, math.nan).significant


def test_many_blocks_that_differ_by_chance_are_not_called_different():
    """Normal errors whose intervals are right: of 40 comparisons of 93 blocks, few name any."""
    rng = np.random.default_rng(0)
    blocks = load_space().blocks()

    def drawn():
        rows = []
        for block in blocks:
            ms = 1.0 + 0.01 * rng.standard_normal()
            rows.append(Entry("block", block.key, ms, ci_low_ms=ms - 0.0196, ci_high_ms=ms + 0.0196))
        return LatencyTable(tuple(rows), made_up_metadata(load_space()))

    named = sum(bool(compare(drawn(), drawn()).significant()) for _ in range(40))
    assert named <= 6
