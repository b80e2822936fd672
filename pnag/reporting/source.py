"""What a report of a run is made from, read once: manifest, table, archive, generator, measured networks, answers."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

from lut.errors import LutError
from lut.table import LatencyTable
from lut.views.html.shown import Shown
from pnag.accuracy.archive import AccuracyArchive
from pnag.errors import PnagError
from pnag.generator.generate import Generator
from pnag.runs.measured import MeasuredNetwork, recall
from pnag.runs.run import ANSWERS, ARCHIVE, TABLE, Run
from profiler.report import shown_table
from profiler.zoo.file import Zoo, read_zoo
from profiler.zoo.network import ZooError

T = TypeVar("T")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class RunSource:
    """A run, and the rows of networks that a command has just answered with.

    `confidence` is that of the answers, `made_by` the words of the command that writes the report.
    """

    run: Run
    rows: Sequence[Row] = ()
    confidence: float = 0.95
    made_by: str = ""

    @cached_property
    def generator(self) -> Generator:
        """The run's. Raises `RunError`."""
        return Generator.load(self.run.directory)

    @cached_property
    def table(self) -> LatencyTable:
        """The table that was learnt from. Raises `TableFormatError`."""
        return LatencyTable.load(self.run.path(TABLE))

    @cached_property
    def shown(self) -> Shown:
        """The table with its session, whose visits lie beside the file that it was taken from."""
        record = self.run.done("table") or {}
        return shown_table(self.table, Path(str(record.get("from", TABLE))))

    @cached_property
    def archive(self) -> AccuracyArchive | None:
        """The accuracies that were learnt from; None where they cannot be read."""
        return _if_sound(lambda: AccuracyArchive.load(self.run.path(ARCHIVE), self.generator.space))

    @cached_property
    def evaluated(self) -> AccuracyArchive | None:
        """Answers that were evaluated on test images in the training; None where there are none."""
        if not self.run.path(ANSWERS).is_file():
            return None
        return _if_sound(lambda: AccuracyArchive.load(self.run.path(ANSWERS), self.generator.space))

    @cached_property
    def measured(self) -> list[MeasuredNetwork]:
        """Networks of the run that were measured later, under its present table."""
        found = _if_sound(lambda: recall(self.run.directory)) or []
        return [network for network in found if network.table_sha256 == self.table.content_sha256]

    @cached_property
    def zoo(self) -> Zoo | None:
        """Published networks that were measured as the table was, from the folder of its file; the newest, or None."""
        folder = Path(str((self.run.done("table") or {}).get("from", TABLE))).parent
        read = [_if_sound(partial(read_zoo, path)) for path in sorted(folder.glob("*-zoo.json"))]
        known = [zoo for zoo in read if zoo is not None and zoo.unlike(self.table.metadata) is None]
        return max(known, key=lambda zoo: zoo.created, default=None)

    def train_command(self) -> str:
        """The words that make such a run, as far as its manifest tells them."""
        asked, table = self.run.asked, self.run.done("table") or {}
        words = ["pnag-train", "--lut", str(table.get("from", "TABLE"))]
        record = self.run.done("supernet") or {}
        if asked.get("data"):
            words += ["--data", str(record.get("data_name") or asked["data"])]
        given = (("supernet_sha256", "--supernet", "CHECKPOINT"), ("accuracy_sha256", "--accuracy", "FILE"))
        for key, option, what in given:
            if asked.get(key):
                words += [option, what]
        for key in ("method", "seed", "architectures", "rounds", "resolution", "epochs", "val_images"):
            if asked.get(key) is not None:
                words += [f"--{key.replace('_', '-')}", f"{asked[key]}"]
        return shlex.join([*words, "--out", str(self.run.directory)])


def _if_sound(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except (OSError, LutError, PnagError, ZooError):
        return None
