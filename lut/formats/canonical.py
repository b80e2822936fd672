"""Plain values: what rows and metadata look like as JSON, the same on every machine and in every version."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text. Raises `ValueError` for whatever is none, one that is nested too deep included."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def plain(value: Any) -> Any:
    """JSON values without NaN and infinity: NaN becomes null, the infinities the strings 'inf' and '-inf'.

    Tuples become lists and numpy scalars numbers; what JSON cannot hold raises `TypeError`.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, str | bool | int | None):
        return value
    if isinstance(value, float):
        number = float(value)  # numpy's float64 is a float, whose repr differs
        return number if math.isfinite(number) else None if math.isnan(number) else str(number)
    if callable(item := getattr(value, "item", None)):
        return plain(item())
    raise TypeError(f"a {type(value).__name__} has no place in a table; take plain JSON values")


def revive_numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """Undo `plain` for a flat mapping of numbers."""
    return {key: math.nan if v is None else float(v) if isinstance(v, str) else v for key, v in values.items()}


def content_sha256(metadata: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """SHA-256, in hexadecimal, over the canonical JSON of `{"metadata": …, "rows": […]}`.

    Canonical: `plain` values, sorted keys, no spaces, non-ASCII escaped, numbers as Python's `repr` writes
    them (the shortest digits that read back equal). It does not depend on how a file is laid out.
    """
    content = {"metadata": plain(metadata), "rows": plain(rows)}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
