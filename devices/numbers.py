"""Whole numbers, and lists of them, in what systems, tools and users write.

Every number has a bound on its digits: Python refuses to read thousands of them, and a list of cores must not become a
range of a billion.
"""

from __future__ import annotations

import re
from collections.abc import Iterable


def digits(most: int = 9) -> str:
    """A regular expression's part for a whole number without a sign: 1 to `most` of the digits 0 to 9."""
    return rf"[0-9]{{1,{most}}}"


def whole(text: str | None, most: int = 9, *, signed: bool = False) -> int | None:
    """The whole number of at most `most` digits that the text is, blanks around it aside; None for any other text."""
    found = re.fullmatch(rf"\s*({'-?' if signed else ''}{digits(most)})\s*", text or "")
    return int(found[1]) if found else None


def spans(text: str, most: int = 4) -> tuple[tuple[int, int], ...] | None:
    """The first and the last number of each part of a list such as `0,2-3`; None for a text of another form."""
    found = [re.fullmatch(rf"\s*({digits(most)})(?:-({digits(most)}))?\s*", part) for part in text.split(",")]
    return tuple((int(part[1]), int(part[2] or part[1])) for part in found if part) if all(found) else None


def turned_fault(parts: Iterable[tuple[int, int]]) -> str:
    """What is wrong with a list of cores in which a part such as `3-2` has its higher end first; empty if none has."""
    turned = next((f"{first}-{last}" for first, last in parts if last < first), "")
    return turned and f"names no core in {turned}; write the lower one first"
