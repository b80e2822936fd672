"""The benchmark_model file on this computer: where the user keeps it."""

from __future__ import annotations

import tomllib
from pathlib import Path

from devices.errors import RuntimeUnavailableError
from devices.host.places import config_folder
from devices.options import shown
from devices.specs.form import as_text


def find_tool(given: str | Path | None, home: Path | None = None) -> Path:
    """The tool's file: `given`, else `benchmark_model` in the user's `pnag/config.toml`.

    Raises `RuntimeUnavailableError` if none is named or it is absent.
    """
    folder = config_folder(home)
    config = None if folder is None else folder / "config.toml"
    if given is None and config is not None and config.is_file():
        try:
            given = tomllib.loads(as_text(config.read_bytes())).get("benchmark_model")
        except OSError as error:
            raise RuntimeUnavailableError(f"cannot read {config}: {error.strerror or error}; check it") from error
        except (ValueError, RecursionError) as error:
            raise RuntimeUnavailableError(f"{config} is not valid TOML ({str(error)[:120]}); correct it") from error
        if given is not None and not (isinstance(given, str) and given.strip() and "\0" not in given):
            raise RuntimeUnavailableError(f"{config}: benchmark_model is {shown(given)}; give the file's path as text")
    if given is None:
        raise RuntimeUnavailableError(
            "a phone needs TensorFlow Lite's benchmark_model for Android; give the file by --benchmark-model, "
            f"or as benchmark_model in {config or '~/.config/pnag/config.toml'}"
        )
    try:
        path = Path(given).expanduser()
        there = path.is_file()
    except (OSError, RuntimeError, ValueError):  # too long a name, a user that is none
        there = False
    if not there:
        raise RuntimeUnavailableError(f"no benchmark_model at {repr(str(given)[:300])[1:-1]}; check the path")
    return path
