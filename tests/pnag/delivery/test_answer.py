from __future__ import annotations

from pathlib import Path

import pytest

from pnag.delivery.answer import file_names, unused_text

PATH = Path("out") / "net.tflite"


@pytest.mark.parametrize(
    ("budgets_ms", "names"),
    [
        ([20.0], ["net.tflite"]),
        ([20.0, 25.5], ["net-20ms.tflite", "net-25.5ms.tflite"]),
        ([20.0000001, 20.0000002], ["net-20.0000001ms.tflite", "net-20.0000002ms.tflite"]),
        ([20.0, 20.0, 20.0], ["net-20.0ms.tflite", "net-20.0ms-2.tflite", "net-20.0ms-3.tflite"]),
    ],
)
def test_no_two_budgets_share_a_file(budgets_ms: list[float], names: list[str]) -> None:
    assert file_names(PATH, budgets_ms) == [PATH.with_name(name) for name in names]


def test_a_budget_that_is_not_used_up_is_told_with_both_times() -> None:
    assert unused_text(28.81, 140.0) == "the budget is not used up: 28.8 of 140 ms"
    assert unused_text(130.0, 140.0) is None
