"""Documents of --json against docs/json.md: every key is told there, and what is told there is in them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "json.md"
_KEY = re.compile(r"\| `([^`]+)`([^|]*)\|")


@cache
def documented(name: str) -> Mapping[str, bool]:
    """The keys of a document by the page, as paths such as `networks[].budget_ms`, and whether each is always there."""
    sections = PAGE.read_text(encoding="utf-8").split("\n## ")
    section = next(text for text in sections if text.startswith(f"`{name}`"))
    keys = {match[1]: not match[2].strip() for match in map(_KEY.match, section.splitlines()) if match}
    assert keys, f"no keys of {name} in {PAGE}"
    return keys


def assert_documented(name: str, document: Any) -> None:
    """Every key of the document is on the page, and every key that is always there is in the document."""
    told = documented(name)
    free = tuple(key.removesuffix("*") for key in told if key.endswith(".*"))
    found, hollow = _paths(document, free)
    begun = {key[: match.start()] for key in told for match in re.finditer(r"\.|\[", key)}
    unknown = sorted(path for path in found if path not in told and not (path in begun and f"{path}." in hollow))
    assert not unknown, f"{name}: not in docs/json.md: {unknown}"
    missing = sorted(
        key for key, always in told.items() if always and key not in found and not key.startswith(tuple(hollow))
    )
    assert not missing, f"{name}: in docs/json.md and not in the document: {missing}"


def _paths(value: Any, free: tuple[str, ...]) -> tuple[set[str], set[str]]:
    """Paths of all leaves, and what paths begin with that are null or empty."""
    found, hollow = set(), {"\0"}
    for path, leaf in _leaves(value, "", free):
        found.add(path)
        if leaf is None or leaf in ([], {}):
            hollow |= {f"{path}.", f"{path}["}
    return found, hollow


def _leaves(value: Any, path: str, free: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if f"{path}." in free:
        yield (f"{path}.*", value) if value else (path, value)
    elif isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else key, free)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for item in value:
            yield from _leaves(item, f"{path}[]", free)
    else:
        yield path, value
