from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lut.errors import TableFormatError
from lut.table import LatencyTable
from pnag.runs.measured import MEASURED, MeasuredNetwork, added_to, recall, remember, residuals_of
from tests.tables import TINY, made_up_table


def measured(table: LatencyTable, n: int, slower: float) -> list[MeasuredNetwork]:
    """`n` networks that take longer than predicted, all by the same share."""
    networks = []
    for architecture in TINY.decode(TINY.sample(n, np.random.default_rng(5))):
        keys = tuple(block.key for block in TINY.decompose(architecture))
        cost = table.cost_ms(keys)
        took = cost * (1 + slower)
        networks.append(
            MeasuredNetwork(
                str(architecture), keys, cost, took, 0.99 * took, 1.01 * took, table.content_sha256, "Abacus 3", "now"
            )
        )
    return networks


def test_what_was_measured_is_there_again(tmp_path: Path) -> None:
    table = made_up_table(TINY)
    first, second = measured(table, 2, 0.0), measured(table, 3, 0.1)
    remember(tmp_path, first)
    remember(tmp_path, second)
    remember(tmp_path, [])
    assert recall(tmp_path) == [*first, *second]
    assert recall(tmp_path / "none") == []


def test_a_network_counts_by_its_latest_measurement_and_its_own_table() -> None:
    table = made_up_table(TINY)
    networks = [*measured(table, 3, 0.3), *measured(table, 3, 0.1)]
    assert residuals_of(networks, table.content_sha256) == pytest.approx([0.1] * 3)
    assert residuals_of(networks, "other") == ()


def test_networks_join_a_table_and_its_predictions_get_better(tmp_path: Path) -> None:
    table = made_up_table(TINY, noise=0.0)
    networks = measured(table, 40, 0.05)
    grown, added = added_to(table, networks)
    unknown = {n.architecture for n in networks} - {entry.block for entry in table.entries}
    assert added == len(unknown) > 20
    assert len(grown.networks("calibration")) > len(table.networks("calibration"))
    error = [abs(grown.cost_ms(n.blocks) / n.latency_ms - 1) for n in networks]
    assert np.mean(error) < 0.04  # of 0.05 before
    grown.save(tmp_path / "t.parquet")
    again, none = added_to(LatencyTable.load(tmp_path / "t.parquet"), networks)
    assert none == 0
    assert again.content_sha256 == grown.content_sha256


def test_a_damaged_file_says_so(tmp_path: Path) -> None:
    (tmp_path / MEASURED).write_text('{"architecture": 1}\n')
    with pytest.raises(TableFormatError, match=r"measured.jsonl holds no measured networks .*remove it"):
        recall(tmp_path)
