from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pnag.accuracy import remembered
from pnag.accuracy.remembered import Remembered


class Counting:
    """The sum of a row and its half, and how many rows were asked about."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        self.asked += len(rows)
        total = rows.sum(axis=1, dtype=float)
        return np.stack([total, total / 2], axis=1)


def test_each_row_is_asked_about_once_and_answers_keep_their_order() -> None:
    rng, plain, counted = np.random.default_rng(0), Counting(), Counting()
    ask = Remembered(counted)
    seen = set()
    for _ in range(20):
        rows = rng.integers(0, 4, (rng.integers(1, 30), 3)).astype(np.int8)
        seen |= {tuple(row) for row in rows.tolist()}
        np.testing.assert_array_equal(ask(rows), plain(rows))
        assert counted.asked == len(seen)


def test_rows_that_do_not_lie_side_by_side_in_memory_are_told_apart() -> None:
    rows = np.arange(24).reshape(4, 6)[:, ::2]
    np.testing.assert_array_equal(Remembered(Counting())(rows), Counting()(rows))


def test_what_would_take_too_much_memory_is_asked_again(monkeypatch: Any) -> None:
    monkeypatch.setattr(remembered, "_MOST_BYTES", 1000)
    counted = Counting()
    ask = Remembered(counted)
    rows = np.arange(300).reshape(100, 3)
    for _ in range(3):
        np.testing.assert_array_equal(ask(rows), Counting()(rows))
    assert counted.asked == 300
