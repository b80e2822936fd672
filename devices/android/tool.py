"""The benchmark_model file on this computer: where the user keeps it."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from devices.errors import RuntimeUnavailableError


def find_tool(given: str | Path | None, home: Path | None = None) -> Path:
    """The tool's file: `given`, else `benchmark_model` in the user's `pnag/config.toml`.

    Raises `RuntimeUnavailableError` if none is named or it is absent.
    """
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or (home or Path.home()) / ".config") / "pnag"
    config = folder / "config.toml"
    if given is None and config.is_file():
        try:
            given = tomllib.loads(config.read_text(encoding="utf-8")).get("benchmark_model")
        except (OSError, ValueError) as error:
            raise RuntimeUnavailableError(f"{config} is not valid TOML ({error}); correct it") from error
    if given is None:
        raise RuntimeUnavailableError(
            "a phone needs TensorFlow Lite's benchmark_model for Android; give the file by --benchmark-model, "
            f"or as benchmark_model in {config}"
        )
    path = Path(given).expanduser()
    if not path.is_file():
        raise RuntimeUnavailableError(f"no benchmark_model at {path}; check the path")
    return path
