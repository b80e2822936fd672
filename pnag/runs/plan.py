"""What a training asks accuracies of, written down before it is asked: an interrupted one goes on with its own plan."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from lut.files import replacing
from pnag.errors import PnagError, RunError
from pnag.generator.rounds import RoundsDone
from pnag.space.architecture import Architecture
from pnag.space.search_space import SearchSpace
from pnag.space.tokens import Tokens

FORMAT = 1


@dataclass(frozen=True)
class Plan:
    """The first architectures, what each round proposed, each (n, length), and the state of what draws proposals.

    `first` is None where the accuracies were given.
    """

    first: Tokens | None = None
    proposed: tuple[Tokens, ...] = ()
    random_state: Mapping[str, Any] | None = None

    @property
    def done(self) -> RoundsDone:
        """How far the rounds have come."""
        return RoundsDone(len(self.proposed), self.random_state)

    def all_proposed(self, space: SearchSpace) -> Tokens:
        """The proposals of all rounds in order, shape (n, length)."""
        return np.concatenate([np.empty((0, space.length), dtype=np.int8), *self.proposed])

    def after(self, proposed: Tokens, done: RoundsDone) -> Self:
        """The plan with another round's proposals."""
        return replace(self, proposed=(*self.proposed, proposed), random_state=done.random_state)

    def save(self, path: Path, space: SearchSpace) -> None:
        """Write it as JSON, whole or not at all. Raises `OutputError`."""
        document = {
            "format": FORMAT,
            "first": None if self.first is None else [str(a) for a in space.decode(self.first)],
            "proposed": [[str(a) for a in space.decode(tokens)] for tokens in self.proposed],
            "random_state": self.random_state,
        }
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(document) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path, space: SearchSpace) -> Self:
        """Read it; an empty plan where there is no file. Raises `RunError` if it is damaged or of another space."""
        if not path.is_file():
            return cls()
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if values["format"] != FORMAT:
                raise RunError(f"{path} has format {values['format']}, not {FORMAT}; use the matching release")
            first = None if values["first"] is None else _tokens(values["first"], space)
            proposed = tuple(_tokens(texts, space) for texts in values["proposed"])
            return cls(first, proposed, values["random_state"])
        except RunError:
            raise
        except (OSError, ValueError, KeyError, TypeError, PnagError) as error:
            raise RunError(f"{path} is damaged ({error}); train again with --fresh") from error


def _tokens(texts: list[str], space: SearchSpace) -> Tokens:
    return space.encode([Architecture.parse(text) for text in texts])
