"""Published networks beside ours: budgets at the table's speed, what is better, and why it is not."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from devices.backend import DeviceInfo
from lut.entry import Entry
from lut.table import LatencyTable
from pnag.accuracy.provenance import Provenance, Published
from pnag.delivery.beside.measuring import closed
from pnag.delivery.beside.pairs import Pair, device_of, paired
from pnag.delivery.beside.rows import beside_rows, beside_text, counts, save_pairs, speed_text
from pnag.generator.generate import PROVENANCE, Generator
from pnag.generator.learning import train_generator
from profiler.zoo.file import Zoo, ZooRow
from profiler.zoo.network import ZooError, ZooNetwork
from profiler.zoo.speed import Speed, device_speed
from tests.tables import TINY, made_up_table

TABLE = made_up_table(TINY)
IN_PRINT = Published(1.0, -0.03, 0.002, 19)


@pytest.fixture(scope="module")
def generator() -> Generator:
    costs = TINY.cost_model(TABLE)
    tokens = np.unique(TINY.sample(200, np.random.default_rng(0)), axis=0)
    accuracy = 0.6 + 0.1 * np.sqrt(costs(tokens) - costs.range_ms[0] + 0.01)
    found = train_generator(TINY, costs, tokens, accuracy, method="random", residuals=(-0.01, 0.0, 0.01))
    return found.with_metadata(**{PROVENANCE: Provenance("ImageNet", "made up", IN_PRINT).to_dict()})


def other(name: str, latency_ms: float | None, top1: float | None = 0.55, side: int = 32) -> ZooRow:
    interval = None if latency_ms is None else (0.99 * latency_ms, 1.01 * latency_ms)
    return ZooRow(
        ZooNetwork(name, "torchvision", side, top1, builder=name), latency_ms, interval, "" if latency_ms else "no"
    )


def of_blocks(slowdown: float, n: int = 4) -> list[ZooRow]:
    """Networks of the table's blocks, each so much slower than predicted."""
    rows = []
    for index, architecture in enumerate(TINY.decode(TINY.sample(n, np.random.default_rng(5)))):
        blocks = TINY.decompose(architecture)
        network = ZooNetwork(f"n{index}", "print", 32, 0.5, blocks=blocks)
        rows.append(ZooRow(network, (1 + slowdown) * TABLE.cost_ms(blocks), None))
    return rows


def zoo(rows: Sequence[ZooRow], model: str = "Abacus 3", **runtime: object) -> Zoo:
    about = {"name": "beads", "version": "1.0", "threads": 1} | runtime
    return Zoo(Path("zoo.json"), DeviceInfo("", model, {}), about, 1, "2026-01-01", tuple(rows))


def pairs_of(generator: Generator, rows: Sequence[ZooRow], speed: Speed = Speed(0.0, 0)) -> list[Pair]:  # noqa: B008
    return paired(generator, zoo(rows), speed, confidence=0.95, candidates=16, seed=0)


# -- speed and budgets ------------------------------------------------------------------------------------


def test_the_speed_is_that_of_networks_of_the_tables_blocks() -> None:
    speed = device_speed(zoo([*of_blocks(0.25), other("else", 99.0)]), TABLE)
    assert speed.slowdown == pytest.approx(0.25)
    assert speed.networks == 4
    assert speed_text(speed) == "speed     25.0% slower for the zoo than for the table, by 4 networks"


def test_too_few_of_them_tell_nothing() -> None:
    speed = device_speed(zoo(of_blocks(0.25, 2)), TABLE)
    assert speed == Speed(0.0, 0)
    assert "too few" in speed_text(speed)


def test_ours_keeps_the_latency_at_the_tables_speed(generator: Generator) -> None:
    low, high = generator.range_ms
    for pair in pairs_of(generator, [other("a", 1.2 * high), other("b", 1.5 * low)], Speed(0.2, 5)):
        assert pair.budget_ms == pytest.approx((pair.row.latency_ms or 0) / 1.2)
        assert pair.ours is not None
        assert pair.ours.cost_ms * (1 + generator.margin()) <= pair.budget_ms


def test_a_slower_network_never_gets_a_worse_one_of_ours(generator: Generator) -> None:
    times = np.linspace(*generator.range_ms, 9) * 1.05
    pairs = pairs_of(generator, [other(f"n{ms:.3f}", float(ms)) for ms in times[::-1]])
    accuracies = [pair.ours.accuracy for pair in pairs if pair.ours]
    assert len(accuracies) == 9
    assert accuracies == sorted(accuracies)


def test_networks_without_latency_or_accuracy_have_no_pair(generator: Generator) -> None:
    high = generator.range_ms[1]
    pairs = pairs_of(generator, [other("a", high), other("failed", None), other("unknown", high, None)])
    assert [pair.row.network.name for pair in pairs] == ["a"]
    with pytest.raises(ZooError, match=r"no network in zoo.json has both a latency and an accuracy in print"):
        pairs_of(generator, [other("failed", None)])


# -- verdicts ---------------------------------------------------------------------------------------------


def test_what_is_better_and_why_the_others_are_not(generator: Generator) -> None:
    low, high = generator.range_ms
    best = generator.generate(1.1 * high).accuracy - 0.03
    rows = beside_rows(
        pairs_of(
            generator,
            [
                other("worse", 1.1 * high, best - 0.05), other("better", 1.1 * high, best + 0.05),
                other("close", 1.1 * high, best - 0.001), other("quick", 0.9 * low),
                other("small", 1.1 * high, side=24),
            ],
        ),
        generator,
        Speed(0.0, 0),
    )  # fmt: skip
    verdicts = {row["name"]: row["verdict"] for row in rows}
    assert verdicts["worse"] == "yes, as predicted"
    assert verdicts["better"] == "NO: ours is not more accurate"
    assert verdicts["close"] == "yes, as predicted, by less than the deviation of such values"
    assert verdicts["quick"] == "NO: no network of the run is that quick"
    gains = {row["name"]: row["gain"] for row in rows}
    assert gains["worse"] == pytest.approx(0.05)
    assert gains["quick"] is None
    same = [row for row in rows if row["same_resolution"]]
    assert [row["name"] for row in rows if not row["same_resolution"]] == ["small"]
    assert counts(same) == {"networks": 4, "better": 2, "not_better": 2, "unknown": 0}
    text = beside_text(rows, (32,))
    assert "at 32 pixels, as the run's networks: ours is better than 2 of 4" in text
    assert text.index("at other resolutions: ") < text.index("\nsmall")


def test_accuracies_of_other_images_are_not_compared(generator: Generator) -> None:
    ours = generator.with_metadata(**{PROVENANCE: Provenance("digits", "measured").to_dict()})
    (row,) = beside_rows(pairs_of(ours, [other("a", generator.range_ms[1])]), ours, Speed(0.0, 0))
    assert (row["better"], row["gain"]) == (None, None)
    assert row["verdict"] == "not comparable: our accuracies are not known as a published top-1 (digits, measured)"
    assert counts([row])["unknown"] == 1


def test_pairs_as_csv(generator: Generator, tmp_path: Path) -> None:
    low, high = generator.range_ms
    rows = beside_rows(pairs_of(generator, [other("a", high), other("b", 0.5 * low)]), generator, Speed(0.0, 0))
    save_pairs(tmp_path / "pairs.csv", rows)
    with (tmp_path / "pairs.csv").open(newline="", encoding="utf-8") as file:
        read = {row["name"]: row for row in csv.DictReader(file)}
    assert float(read["a"]["ours_cost_ms"]) == rows[1]["ours"]["cost_ms"]
    assert read["b"]["ours_architecture"] == ""


# -- another device ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "runtime", "says"),
    [
        (
            "Abacus 4",
            {},
            r"zoo.json is of Abacus 4: measured unlike the table: device Abacus 4 .the table's",
        ),
        ("Abacus 3", {"threads": 2}, "threads 2 .the table's: 1."),
    ],
)
def test_a_zoo_of_another_device_or_setting_is_refused_unless_allowed(
    model: str, runtime: dict[str, object], says: str
) -> None:
    there = zoo([other("a", 1.0)], model, **runtime)
    with pytest.raises(ZooError, match=says):
        device_of(there, TABLE, allow_mismatch=False)
    assert "measured unlike the table" in (device_of(there, TABLE, allow_mismatch=True) or "")
    assert device_of(zoo([other("a", 1.0)]), TABLE, allow_mismatch=False) is None


def test_a_zoo_of_another_batch_is_refused() -> None:
    with pytest.raises(ZooError, match=r"batch 4 .the table's: 1."):
        device_of(replace(zoo([other("a", 1.0)]), batch=4), TABLE, allow_mismatch=False)


# -- measured together ------------------------------------------------------------------------------------


class Sessions:
    """A device on which ours take `factor` times what is predicted, and each session is slower than the last."""

    def __init__(self, generator: Generator, factor: float, broken: str = "") -> None:
        self.generator, self.factor, self.broken, self.seen = generator, factor, broken, list[list[str]]()

    def __call__(self, networks: Sequence[ZooNetwork]) -> LatencyTable:
        self.seen.append([network.name for network in networks])
        pace = 1 + 0.3 * len(self.seen)
        return LatencyTable(tuple(self._row(network, pace) for network in networks), TABLE.metadata)

    def _row(self, network: ZooNetwork, pace: float) -> Entry:
        if network.name == self.broken:
            return Entry("holdout", network.name, flags=("failed",), reason="it broke")
        ms = pace * (self.factor * TABLE.cost_ms(network.blocks) if network.blocks else float(network.name))
        return Entry("holdout", network.name, latency_ms=ms, ci_low_ms=0.99 * ms, ci_high_ms=1.01 * ms)


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.1])
def test_what_is_told_is_of_one_session_and_ours_is_at_most_as_slow(generator: Generator, factor: float) -> None:
    low, high = generator.range_ms
    times = np.linspace(1.2 * low, 0.98 * high, 5)
    pairs = pairs_of(generator, [other(repr(float(ms)), float(ms)) for ms in times])
    session = Sessions(generator, factor)
    measured = closed(pairs, generator, session, attempts=4)
    assert all(pair.at_most_as_slow for pair in measured)
    assert max(pair.attempts for pair in measured) == len(session.seen) <= 4
    for pair in measured:
        assert pair.together is not None
        assert pair.ours is not None
        share = pair.together.ours_ms / pair.together.theirs_ms
        assert share == pytest.approx(factor * pair.ours.cost_ms / pair.budget_ms)
    rows = beside_rows(measured, generator, Speed(0.0, 0))
    assert {row["verdict"] for row in rows} <= {"yes", "NO: ours is not more accurate"} | {
        "yes, by less than the deviation of such values"
    }


def test_where_nothing_is_quick_enough_ours_is_said_to_be_slower(generator: Generator) -> None:
    budget = 1.2 * generator.range_ms[0]
    (pair,) = closed(
        pairs_of(generator, [other(repr(budget), budget)]), generator, Sessions(generator, 3.0), attempts=3
    )
    (row,) = beside_rows([pair], generator, Speed(0.0, 0))
    assert (row["at_most_as_slow"], row["better"], row["verdict"]) == (False, False, "NO: ours is slower")


def test_a_network_that_breaks_is_said_and_not_judged(generator: Generator) -> None:
    high = generator.range_ms[1]
    pairs = pairs_of(generator, [other(repr(high), high), other(repr(2 * high), 2 * high)])
    broken, sound = closed(pairs, generator, Sessions(generator, 1.0, broken=repr(high)), attempts=3)
    first, second = beside_rows([broken, sound], generator, Speed(0.0, 0))
    assert first["verdict"] == f"unknown: {high!r}: it broke"
    assert (first["better"], second["better"] is None) == (None, False)


def test_networks_of_ours_that_are_alike_are_measured_once(generator: Generator) -> None:
    high = generator.range_ms[1]
    pairs = pairs_of(generator, [other(repr(2 * high), 2 * high), other(repr(3 * high), 3 * high)])
    session = Sessions(generator, 1.0)
    closed(pairs, generator, session, attempts=1)
    assert len(session.seen[0]) == 3
