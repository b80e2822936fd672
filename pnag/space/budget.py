"""Budgets: as a user writes them, and as a network sees them."""

from __future__ import annotations

import math
import re

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lut.words import printable
from pnag.errors import BudgetError

Array = NDArray[np.float64]

_BUDGET = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?)\s*(ms|s)?", re.ASCII | re.IGNORECASE)


def parse_budget(text: str) -> float:
    """Milliseconds of `140ms`, `0.14s` or `140`. Raises `BudgetError` for anything that is not above zero."""
    match = _BUDGET.fullmatch(text.strip())
    if match is None:
        raise BudgetError(
            f"'{text and printable(text, 60)}' is not a budget; write it as 140ms, 0.14s or 140 (milliseconds)"
        )
    value = float(match[1]) * (1000.0 if (match[2] or "").lower() == "s" else 1.0)
    return check_budget(value, text)


def check_budget(budget_ms: float, text: str | None = None) -> float:
    """The budget itself if it is a finite number above zero; `BudgetError` otherwise."""
    budget = float(budget_ms)
    if not math.isfinite(budget) or budget <= 0:
        shown = f"{budget:g} ms" if text is None else printable(text, 60)
        raise BudgetError(f"a budget of {shown} is not a time above zero; write it as 140ms, 0.14s or 140")
    return budget


def spaced_budgets(low_ms: float, high_ms: float, k: int) -> Array:
    """K budgets evenly spaced over a range, both ends included; the middle for K = 1. Shape (k,)."""
    if k < 1:
        raise BudgetError(f"{k} training budgets are too few; take 1 or more, 10 is usual")
    return np.array([(low_ms + high_ms) / 2]) if k == 1 else np.linspace(low_ms, high_ms, k)


def interpolation(anchors_ms: Array, budgets_ms: ArrayLike) -> Array:
    """Weights of the anchors' vectors for each budget, shape (n, k) for anchors (k,) and budgets (n,).

    Between two anchors B₁ ≤ B ≤ B₂ the weights are α = (B₂ - B) / (B₂ - B₁) and 1 - α; beyond the ends the
    nearest anchor has it all. Source: PNAG, section 3.1.2.
    """
    budgets = np.atleast_1d(np.asarray(budgets_ms, dtype=float))
    weights = np.zeros((len(budgets), len(anchors_ms)))
    rows = np.arange(len(budgets))
    if len(anchors_ms) == 1:
        weights[:, 0] = 1.0
        return weights
    upper = np.clip(np.searchsorted(anchors_ms, budgets), 1, len(anchors_ms) - 1)
    span = anchors_ms[upper] - anchors_ms[upper - 1]
    alpha = np.clip((anchors_ms[upper] - budgets) / span, 0.0, 1.0)
    weights[rows, upper - 1] = alpha
    weights[rows, upper] = 1.0 - alpha
    return weights
