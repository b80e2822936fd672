"""What a training asks accuracies of, written down before it is asked: an interrupted one goes on with its own plan."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from lut.files import replacing
from lut.formats.canonical import parse_json
from lut.words import printable
from pnag.errors import PnagError, RunError
from pnag.generator.rounds import RoundsDone
from pnag.space.architecture import Architecture
from pnag.space.search_space import SearchSpace
from pnag.space.tokens import Tokens

FORMAT = 2


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
            values = parse_json(path.read_text(encoding="utf-8"))
            if values["format"] != FORMAT:
                raise RunError(f"{path} has format {values['format']}, not {FORMAT}; use the matching release")
            if not isinstance(values["proposed"], list):
                raise ValueError("what was proposed is of another form")
            first = None if values["first"] is None else _tokens(values["first"], space)
            proposed = tuple(_tokens(texts, space) for texts in values["proposed"])
            return cls(first, proposed, _state(values["random_state"]))
        except RunError:
            raise
        except (OSError, ValueError, OverflowError, KeyError, TypeError, AttributeError, PnagError) as error:
            raise RunError(f"{path} is damaged ({printable(error, 120)}); train again with --fresh") from error


def _state(values: Any) -> Mapping[str, Any] | None:
    """The state of what draws proposals, tried on one of its kind: `ValueError` or another for what it cannot have."""
    if values is not None:
        np.random.default_rng().bit_generator.state = values["draws"]
        if not isinstance(values["forms"], list):
            raise ValueError("what draws proposals is of another form")
    state: Mapping[str, Any] | None = values
    return state


def _tokens(texts: Any, space: SearchSpace) -> Tokens:
    if not isinstance(texts, list):
        raise ValueError("networks are of another form")
    return space.encode([Architecture.parse(text) for text in texts]).reshape(-1, space.length)
