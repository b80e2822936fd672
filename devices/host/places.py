"""Where a user's own files lie: the home folder, settings, what may be made again."""

from __future__ import annotations

import os
from pathlib import Path


def home_folder() -> Path | None:
    """The user's home; None where the system knows none, as for a container's user that it has no name for."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def config_folder(home: Path | None = None) -> Path | None:
    """`$XDG_CONFIG_HOME/pnag`, else `~/.config/pnag`; None where there is neither. `home` stands for the user's."""
    return _below("XDG_CONFIG_HOME", ".config", home)


def cache_folder() -> Path | None:
    """`$PNAG_CACHE`, else `$XDG_CACHE_HOME/pnag`, else `~/.cache/pnag`; None where there is none of them.

    A `~` is the home folder, also where no shell has replaced it.
    """
    if own := os.environ.get("PNAG_CACHE", "").strip():
        return expanded(own)
    return _below("XDG_CACHE_HOME", ".cache", None)


def expanded(path: str | Path) -> Path:
    """`path` with a leading `~` replaced, where it is known whose home that is."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def _below(variable: str, usual: str, home: Path | None) -> Path | None:
    base = os.environ.get(variable, "")
    if Path(base).is_absolute():  # a relative one is to be ignored, says the XDG base directory specification
        return Path(base) / "pnag"
    home = home or home_folder()
    return None if home is None else home / usual / "pnag"
