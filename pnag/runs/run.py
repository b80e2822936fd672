"""A run directory: everything one training made, and the manifest that says what belongs together.

    runs/NAME/
        run.json           what was asked, what each stage made, hashes of all of it
        run.lock           held by the process that trains
        supernet/          checkpoints and curve of the supernet, where one was trained
        images.npz         the training images that batch-norm statistics are estimated from
        archive.parquet    architectures with their accuracies
        rounds.json        which of them each round proposed
        answers.parquet    answers to some budgets, evaluated to tell how far predictions of chosen networks are off
        table.parquet      the latency table that was learnt from
        generator.npz      evaluator and generator: all that pnag-generate needs
        learning.jsonl     the steps of the generator's training, for methods that train one over all budgets
        finetuned/         networks that were trained by themselves, each in a folder of its own
        networks.png       evaluated and generated networks, latency against accuracy
        .fresh/            a run that is to take this one's place, until it has a finished stage

A stage whose output is recorded in the manifest is not done again, so a killed training goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from lut.errors import LutError
from lut.files import replacing, require_writable
from lut.formats.canonical import parse_json, plain
from lut.table import LatencyTable
from lut.words import printable
from pnag.errors import RunError

FORMAT = 1
MANIFEST = "run.json"
TABLE = "table.parquet"
ARCHIVE = "archive.parquet"
SUPERNET = "supernet"
IMAGES = "images.npz"
ROUNDS = "rounds.json"
ANSWERS = "answers.parquet"
FINETUNED = "finetuned"
LEARNING = "learning.jsonl"
GENERATOR = "generator.npz"
PLOT = "networks.png"
LOCK = "run.lock"
FRESH = ".fresh"
_CLEARED = ".cleared"
RUNS = Path("runs")


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass
class Run:
    """A run directory that is open. `asked` identifies the run: another training may not go on in its place.

    `place` is where its files are: `directory`, or a folder within it as long as another run is still there.
    """

    directory: Path
    asked: Mapping[str, Any]
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    created: str = ""
    place: Path = field(init=False)

    def __post_init__(self) -> None:
        self.place = self.directory

    @classmethod
    def start(cls, directory: str | Path, asked: Mapping[str, Any], *, fresh: bool = False) -> Self:
        """Begin a run, or go on with the one that is there. Nothing is written before its first stage is done.

        With `fresh` the run that is there stays until the new one has finished its first stage; if the new one is
        interrupted before, the same call goes on with it. Raises `RunError` if the directory holds a run that was
        asked for with other settings, unless `fresh`, and `OutputError` if it could not be written.
        """
        directory = Path(directory)
        run = cls(directory, plain(asked), created=time.strftime("%Y-%m-%dT%H:%M:%S%z"))
        require_writable(directory / MANIFEST)
        _finish_replacing(directory)
        if fresh:
            run._begin_aside()
            return run
        if not cls.is_in(directory):
            return run
        found = cls.load(directory)
        # What a run of an older release does not name cannot differ.
        if different := [key for key in run.asked if key in found.asked and run.asked[key] != found.asked[key]]:
            raise RunError(
                f"{directory} holds a run with {_difference(different[0], found.asked, run.asked)}; "
                "choose another --out, or start over with --fresh"
            )
        return found

    @staticmethod
    def is_in(directory: str | Path) -> bool:
        """Whether there is a run in that folder, whole or not."""
        return (Path(directory) / MANIFEST).is_file()

    def _begin_aside(self) -> None:
        """Work in a folder within `directory`, with what an interrupted run of the same request left there."""
        self.place = self.directory / FRESH
        if self.is_in(self.place):
            with suppress(RunError):
                if type(self).load(self.place).asked == self.asked:
                    return
        shutil.rmtree(self.place, ignore_errors=True)
        self._write()

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Open a run for reading. Raises `RunError` if there is none, or its manifest is damaged."""
        directory = Path(directory)
        path = directory / MANIFEST
        if not path.is_file():
            raise RunError(
                f"{directory} is not a run (it has no {MANIFEST}); make it with pnag-train --out {directory}"
            )
        try:
            values = parse_json(path.read_text(encoding="utf-8"))
            if values["format"] != FORMAT:
                raise RunError(
                    f"{path} has format {printable(values['format'], 20)}, not {FORMAT}; use the matching release"
                )
            asked, stages, created = values["asked"], values["stages"], values["created"]
            if not isinstance(asked, dict) or not isinstance(stages, dict) or not isinstance(created, str):
                raise ValueError("its parts are of another form")
            if not all(isinstance(record, dict) for record in stages.values()):
                raise ValueError("a stage is of another form")
            return cls(directory, asked, stages, created)
        except (OSError, ValueError, OverflowError, KeyError, TypeError) as error:
            raise RunError(f"{path} is damaged ({printable(error, 120)}); train again with --fresh") from error

    @classmethod
    def latest(cls, runs: Path = RUNS) -> Self:
        """The run trained last under `runs`. Raises `RunError` if none is finished."""
        finished = sorted(runs.glob(f"*/{GENERATOR}"), key=lambda path: path.stat().st_mtime)
        if not finished:
            raise RunError(f"no trained run under {runs.resolve()}; make one with pnag-train, or name one with --from")
        return cls.load(finished[-1].parent)

    def path(self, name: str) -> Path:
        """Where a file of this run lies; an absolute `name` is its own answer."""
        return self.place / name

    def done(self, stage: str) -> Mapping[str, Any] | None:
        """What a finished stage recorded, or None."""
        return self.stages.get(stage)

    @contextmanager
    def stage(self, name: str) -> Iterator[dict[str, Any]]:
        """Record a stage: the body fills the mapping, and it is written when the body succeeds."""
        started_s = time.monotonic()
        record: dict[str, Any] = {}
        yield record
        self.stages[name] = record | {"seconds": round(time.monotonic() - started_s, 2)}
        self._write()
        if self.place != self.directory:
            _finish_replacing(self.directory)
            self.place = self.directory

    def amend(self, stage: str, **values: Any) -> None:
        """Correct what a finished stage recorded, for instance where a data set lies now."""
        self.stages[stage] |= values
        self._write()

    def _write(self) -> None:
        manifest = {"format": FORMAT, "created": self.created, "asked": self.asked, "stages": self.stages}
        with replacing(self.place / MANIFEST) as temporary:
            temporary.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def _difference(key: str, found: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """What is different, in words that a user can do something with: hashes are not."""
    if key.endswith("_sha256"):
        name = {"table": "--lut", "supernet": "--supernet", "accuracy": "--accuracy"}[key.removesuffix("_sha256")]
        return f"another {name} file"
    return f"{key} = {found.get(key)}, not {asked[key]}"


def _finish_replacing(directory: Path) -> None:
    """Put the run in `FRESH` in the place of the one in `directory`, if it has a finished stage.

    Any step may be the last before a kill: the old run goes first, and a mark says when all of it has gone; then the
    new files come one by one, the manifest last.
    """
    aside = directory / FRESH
    try:
        stages = parse_json((aside / MANIFEST).read_text(encoding="utf-8"))["stages"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if not stages:
        return
    mark = aside / _CLEARED
    if not mark.exists():
        _clear(directory)
        mark.touch()
    for path in sorted(aside.iterdir(), key=lambda path: path.name == MANIFEST):
        if path != mark:
            path.replace(directory / path.name)
    shutil.rmtree(aside)


def _clear(directory: Path) -> None:
    """Remove what a run made, and nothing else that may lie there."""
    for name in (MANIFEST, GENERATOR, LEARNING, ARCHIVE, TABLE, PLOT, IMAGES, ROUNDS, ANSWERS):
        (directory / name).unlink(missing_ok=True)
    for journal in (*directory.glob(f"{ARCHIVE}.journal-*"), *directory.glob(f"{ANSWERS}.journal-*")):
        journal.unlink()
    for name in (SUPERNET, FINETUNED):
        shutil.rmtree(directory / name, ignore_errors=True)


def table_of(run: Run) -> LatencyTable:
    """The table that a run learnt from."""
    try:
        table = LatencyTable.load(run.path(TABLE))
    except LutError as error:
        reason = str(error).partition(";")[0]
        raise RunError(f"the latency table of {run.directory} is of no use: {reason}; train again") from error
    if table.content_sha256 != (run.done("table") or {}).get("sha256"):
        raise RunError(f"{run.path(TABLE)} is not the table that {run.directory} learnt from; train again")
    return table
