"""What a supernet training leaves behind while it runs: a checkpoint to go on from, and its curve."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lut.files import replacing
from lut.journal import LineJournal, read_lines
from pnag.errors import CheckpointError
from pnag.supernet.checkpoint import pickled


class CheckpointFile:
    """State of a training, replaced whole; `identity` says which training it is a state of."""

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self._path, self._identity = path, identity

    def write(self, state: Mapping[str, Any]) -> None:
        """Replace the file."""
        with replacing(self._path) as temporary:
            temporary.write_bytes(pickled({"identity": self._identity, **state}))

    def read(self) -> dict[str, Any] | None:
        """The state, None if there is none. Raises `CheckpointError` if it is of another training or damaged."""
        if not self._path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self._path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises whatever the damaged part leads to
            raise CheckpointError(f"{self._path} is damaged; remove it to begin the training again") from error
        found = state.get("identity", {})
        for what in self._identity:
            if found.get(what, {}) != self._identity[what]:
                odd = _first_difference(found.get(what) or {}, self._identity[what])
                raise CheckpointError(
                    f"{self._path.parent} holds a training with another {what} ({odd}); take another folder"
                )
        return state


def _first_difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    key = next((k for k in {**wanted, **found} if found.get(k) != wanted.get(k)), "more fields")
    return f"{key} was {found.get(key)}, now {wanted.get(key)}"


class Curve:
    """Rows of a training's progress as JSON lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: LineJournal | None = None

    def open(self, step: int) -> None:
        """Keep the rows up to `step`, where the training goes on, and append."""
        kept = [row for row in read_lines(self._path) if row["step"] <= step]
        with replacing(self._path) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        self._lines = LineJournal(self._path)

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a row."""
        if self._lines is not None:
            self._lines.append([row])

    def close(self) -> None:
        """Close the file."""
        if self._lines is not None:
            self._lines.close()
            self._lines = None
