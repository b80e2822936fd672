"""Budgets: as a user writes them, as a network sees them, and with a margin for what prediction cannot know."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pnag.errors import BudgetError

Array = NDArray[np.float64]

_BUDGET = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?)\s*(ms|s)?", re.ASCII | re.IGNORECASE)
_BISECTIONS = 200


def parse_budget(text: str) -> float:
    """Milliseconds of `140ms`, `0.14s` or `140`. Raises `BudgetError` for anything that is not above zero."""
    match = _BUDGET.fullmatch(text.strip())
    if match is None:
        raise BudgetError(f"'{text}' is not a budget; write it as 140ms, 0.14s or 140 (milliseconds)")
    value = float(match[1]) * (1000.0 if (match[2] or "").lower() == "s" else 1.0)
    return check_budget(value, text)


def check_budget(budget_ms: float, text: str | None = None) -> float:
    """The budget itself if it is a finite number above zero; `BudgetError` otherwise."""
    budget = float(budget_ms)
    if not math.isfinite(budget) or budget <= 0:
        shown = f"{budget:g} ms" if text is None else text
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


def upper_margin(residuals: Sequence[float], confidence: float) -> float:
    """`lut.calibration.upper_margin`, without scipy: how far above its prediction a network may measure.

    The one-sided prediction bound of a normal sample, mean + t(confidence, n - 1) · s · √(1 + 1/n), relative;
    0 for fewer than two residuals and never below 0. Raises `BudgetError` for a confidence outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise BudgetError(f"a confidence of {confidence} is not between 0 and 1; try 0.95")
    n = len(residuals)
    if n < 2:
        return 0.0
    values = np.asarray(residuals, dtype=float)
    spread = float(values.std(ddof=1)) * math.sqrt(1 + 1 / n)
    return max(0.0, float(values.mean()) + student_t_quantile(confidence, n - 1) * spread)


def student_t_quantile(probability: float, degrees: int) -> float:
    """The value that Student's t with so many degrees of freedom stays below with that probability."""
    if probability < 0.5:
        return -student_t_quantile(1 - probability, degrees)
    low, high = 0.0, 2.0
    while _t_cdf(high, degrees) < probability and high < 1e12:
        high *= 2
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if _t_cdf(middle, degrees) < probability else (low, middle)
    return (low + high) / 2


def _t_cdf(t: float, degrees: int) -> float:
    """Distribution function for t ≥ 0, by the finite series in θ = atan(t / √ν) for whole degrees ν.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    theta = math.atan2(t, math.sqrt(degrees))
    cos2 = math.cos(theta) ** 2
    odd = degrees % 2
    term = total = math.cos(theta) if odd else 1.0
    for i in range(3 if odd else 2, degrees - 1, 2):
        term *= cos2 * (i - 1) / i
        total += term
    if odd:
        within = (theta + (math.sin(theta) * total if degrees > 1 else 0.0)) * 2 / math.pi
    else:
        within = math.sin(theta) * total
    return 0.5 + within / 2
