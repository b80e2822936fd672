"""Words and paths of the command line are taken as they are; Typer reads whatever else an option may hold.

Typer reads each value through pydantic, which takes longer to load than all that a quick answer needs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints


def take_plainly(param: Any, kind: type | None) -> None:
    """Let a parameter of a Typer command take its default, and words (`kind` is str) or paths, without reading them.

    What cannot be taken so (a missing value, a number, a path that may not be read) stays Typer's.
    """
    if "process_value" in vars(param):
        return  # done before
    otherwise: Callable[[Any, Any], Any] = param.process_value
    several = param.multiple or param.nargs != 1

    def process(ctx: Any, value: Any) -> Any:
        if not param.required and (value is None or value is param.default):
            taken = () if several and value is None else value
        else:
            taken = _taken(value, kind)
            if taken is None:
                return otherwise(ctx, value)
        return taken if param.callback is None else param.callback(ctx, param, taken)

    param.process_value = process


def kinds_of(function: Callable[..., Any]) -> Mapping[str, type]:
    """Which parameters of a command's function are words or paths, or lists of these, by name."""
    found = {name: _kind(hint) for name, hint in get_type_hints(function).items()}
    return {name: kind for name, kind in found.items() if kind is not None}


def _kind(hint: Any) -> type | None:
    if get_origin(hint) in (Union, UnionType, list):
        inner = [each for each in get_args(hint) if each is not NoneType]
        return _kind(inner[0]) if len(inner) == 1 else None
    return hint if hint in (str, Path) else None


def _taken(value: Any, kind: type | None) -> Any:
    """A word or path, or a list of them; None where that is not what was given."""
    if isinstance(value, list | tuple):
        parts = [_taken(part, kind) for part in value]
        return parts if parts and None not in parts else None
    if kind is None or not isinstance(value, str) or (kind is Path and not _may_be_read(value)):
        return None
    return kind(value)


def _may_be_read(path: str) -> bool:
    """Whether it may be read, or is not there, which is for the command to say."""
    return os.access(path, os.R_OK) if os.path.exists(path) else True  # noqa: PTH110  what pathlib refuses is not there
