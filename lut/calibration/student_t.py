"""Quantiles of Student's t without scipy, whose import takes longer than generating a network."""

from __future__ import annotations

import math


def student_t_quantile(probability: float, degrees: int) -> float:
    """The value that Student's t with so many degrees of freedom (1 or more) stays below with that probability.

    `probability` lies strictly between 0 and 1. Found by bisection of the distribution function.
    """
    if probability < 0.5:
        return -student_t_quantile(1 - probability, degrees)
    low, high = 0.0, 2.0
    while _distribution(high, degrees) < probability and high < 1e12:
        low, high = high, 2 * high
    middle = (low + high) / 2
    while low < middle < high:
        low, high = (middle, high) if _distribution(middle, degrees) < probability else (low, middle)
        middle = (low + high) / 2
    return middle


def _distribution(t: float, degrees: int) -> float:
    """P(T ≤ t) for t ≥ 0: a finite series in θ = atan(t / √degrees).

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    theta = math.atan2(t, math.sqrt(degrees))
    sine, cosine = math.sin(theta), math.cos(theta)
    odd = degrees % 2 == 1
    term = total = cosine if odd else 1.0
    for i in range(3 if odd else 2, degrees - 1, 2):
        term *= cosine**2 * (i - 1) / i
        total += term
    if odd:
        return 0.5 + (theta + (sine * total if degrees > 1 else 0.0)) / math.pi
    return 0.5 + sine * total / 2
