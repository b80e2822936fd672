"""Run a command in this process, as a user would type it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from lut import cli as cli_lut
from pnag import cli_generate, cli_train
from profiler import cli as cli_profile


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """Its JSON: stdout holds one document and nothing else."""
        return json.loads(self.out)

    def says(self, *words: str) -> bool:
        """Whether the last line of stderr, the only one that is an error, has all the words."""
        last = self.err.strip().splitlines()[-1]
        return all(word in last for word in words) and "Traceback" not in self.err


Run = Callable[..., Ended]
MAIN = {
    "pnag-profile": cli_profile.main,
    "pnag-train": cli_train.main,
    "pnag-generate": cli_generate.main,
    "pnag-lut": cli_lut.main,
}


def runner(main: Callable[[], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function that runs `main` with the given words."""

    def run(*words: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["command", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Ended(int(ended.value.code or 0), captured.out, captured.err)

    return run
