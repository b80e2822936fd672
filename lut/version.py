"""The version of this program, as its package metadata has it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def tool_version() -> str:
    """Such as `0.1.0`: what tables, runs and exported files record; `unknown` where the package is not installed."""
    try:
        return version("pnag")
    except PackageNotFoundError:
        return "unknown"
