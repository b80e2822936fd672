"""The version of this program and the time, as they go into everything that it makes."""

from __future__ import annotations

from datetime import UTC, datetime


def tool_version() -> str:
    """Such as `0.1.0`: what tables, runs and exported files record; `unknown` where the package is not installed."""
    from importlib.metadata import PackageNotFoundError, version  # takes as long to load as all of our own

    try:
        return version("pnag")
    except PackageNotFoundError:
        return "unknown"


def now_text() -> str:
    """The time, to the second, in UTC: when tables, reports and measurements are made."""
    return datetime.now(UTC).isoformat(timespec="seconds")
