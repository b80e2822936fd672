"""Algorithm 1 of the paper, in a run directory: supernet, accuracies, evaluator, generator; each stage resumes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lut.table import LatencyTable
from pnag.accuracy.archive import DEFAULT, SHIPPED, AccuracyArchive, find_archive
from pnag.data.load import ImageData, load_data
from pnag.errors import ArchiveError, RunError
from pnag.generator.generate import PROVENANCE, Generator
from pnag.generator.learning import rounds_of, train_generator, train_in_rounds
from pnag.generator.methods import find_method
from pnag.runs.plots import PlottedNetwork, plot_networks
from pnag.runs.run import ARCHIVE, GENERATOR, PLOT, SUPERNET, TABLE, Run, sha256_of
from pnag.search.evolution import Ask
from pnag.space.sampling import sample_archive
from pnag.space.search_space import SearchSpace
from pnag.space.tokens import Tokens
from pnag.supernet.processes import SupernetTask, Team
from pnag.supernet.supernet import Supernet
from pnag.supernet.training import SUPERNET as SUPERNET_FILE
from pnag.supernet.training import Progress
from pnag.supernet.training_config import TrainConfig, preset

SMALL_RESOLUTION = 32
_LARGEST_SMALL_RESOLUTION = 64
_FRONTIER_POINTS = 60
_EVEN_ODDS = 0.5

Array = NDArray[np.float64]
ProgressOf = Callable[[str, float], AbstractContextManager[Progress]]


@dataclass(frozen=True)
class TrainRequest:
    """What to train. `data` names a data set, `supernet` a checkpoint to evaluate on it instead of training one;
    `accuracy` an archive that makes both unnecessary: a file, or the name of one that comes with the program. With none
    of them the default one of these is taken. `architectures` is how many are evaluated in all, `rounds` in how many
    further rounds the generator proposes some of them, `resolution` the side of the data's images.
    """

    table: Path
    out: Path
    data: str | None = None
    supernet: Path | None = None
    accuracy: str | Path | None = None
    method: str = "pnag"
    seed: int = 0
    architectures: int = 500
    rounds: int = 0
    resolution: int | None = None
    epochs: float | None = None
    fresh: bool = False

    def check(self) -> None:
        """Raise `PnagError` for names that are not known and combinations that mean nothing."""
        if self.accuracy and (self.data or self.supernet):
            raise RunError("--accuracy gives the accuracies already; leave out --data and --supernet")
        if self.supernet and not self.data:
            raise RunError("--supernet needs images to evaluate it on; give --data, for instance imagefolder:DIR")
        if self.rounds and not self.data:
            raise RunError("--rounds asks the supernet for accuracies; give --data")
        find_method(self.method)
        if self.data:
            preset(self.data)

    @property
    def archive(self) -> Path | None:
        """The file that accuracies are taken from, if they are not asked of a supernet. Raises `ArchiveError`."""
        return None if self.data else find_archive(self.accuracy or DEFAULT)

    def identity(self, table: LatencyTable) -> dict[str, Any]:
        """What makes two trainings the same one."""
        return {
            "table_sha256": table.content_sha256,
            "data": self.data,
            "supernet_sha256": sha256_of(self.supernet) if self.supernet else None,
            "accuracy_sha256": sha256_of(self.archive) if self.archive else None,
            "method": self.method,
            "seed": self.seed,
            "architectures": self.architectures,
            "rounds": self.rounds,
            "resolution": self.resolution,
            "epochs": self.epochs,
        }


@dataclass(frozen=True)
class Trained:
    """A finished run with what it is made of."""

    run: Run
    table: LatencyTable
    archive: AccuracyArchive
    generator: Generator


def train_run(request: TrainRequest, *, tell: Callable[[str], None], progress: ProgressOf) -> Trained | None:
    """Train in `request.out`, going on with what an earlier, equal request left there.

    `tell` takes notices, `progress` a label and a total and gives a context manager. Under torchrun the first
    process returns the result, the others None when they have done their share. What a new run is given is looked
    at before anything is written. Raises `PnagError` and `LutError` subclasses.
    """
    team = Team.gather()
    if not team.leads:
        team.follow()
        return None
    request.check()
    if request.supernet is not None and not request.supernet.is_file():
        raise RunError(f"no file {request.supernet}; check the path")
    table = LatencyTable.load(request.table)
    run = Run.start(request.out, request.identity(table), fresh=request.fresh)
    trained = _Training(request, run, table, team, tell, progress).finish()
    team.dismiss()
    return trained


@dataclass
class _Training:
    request: TrainRequest
    run: Run
    table: LatencyTable
    team: Team
    tell: Callable[[str], None]
    progress: ProgressOf

    def finish(self) -> Trained:
        self.space = SearchSpace.from_dict(self.table.metadata.space)
        self.costs = self.space.cost_model(self.table)
        if not self.run.stages:
            self._look_at_what_is_given()
        if self.run.done("table") is None:
            with self.run.stage("table") as record:
                self.table.save(self.run.path(TABLE))
                record |= {"path": TABLE, "from": str(self.request.table), "sha256": self.table.content_sha256}
        archive = self._archive()
        generator, archive = self._generator(archive)
        self._plot(archive, generator)
        return Trained(self.run, self.table, archive, generator)

    def _look_at_what_is_given(self) -> None:
        """Read the files of a new run, so that a wrong one is refused while nothing is written."""
        if self.request.supernet is not None:
            _ = self._supernet
        elif self.request.data is not None:
            _ = self._data
        else:
            _ = self._given

    # -- accuracies -------------------------------------------------------------------------------------

    @cached_property
    def _given(self) -> AccuracyArchive:
        """The archive of the request, read once: its rows at the table's resolution, or the nearest."""
        path = self.request.archive
        assert path is not None
        try:
            archive = AccuracyArchive.load(path, self.space)
        except ArchiveError as error:
            if path not in SHIPPED.values():
                raise
            raise RunError(
                f"the accuracies that come with the program are not for this table ({error}); "
                "give --data (digits needs nothing else) or --accuracy"
            ) from error
        if path in SHIPPED.values():
            self.tell(
                f"learning from accuracies that come with the program: {len(archive)} architectures, "
                f"{archive.provenance}, at {archive.space.resolution} pixels; for images of your own give --data"
            )
        if archive.space.resolution != self.space.resolution:
            self.tell(
                f"the table is for images of {self.space.resolution} pixels, these accuracies are of "
                f"{archive.space.resolution}, the nearest in {path.name}: they rank networks only"
            )
        return archive

    @cached_property
    def _data(self) -> ImageData:
        """The data set of the request, loaded once."""
        return load_data(str(self.request.data), resolution=self._resolution(), seed=self.request.seed, tell=self.tell)

    def _archive(self) -> AccuracyArchive:
        """The archive of the first, random architectures, loaded, asked of a supernet, or from before."""
        path = self.run.path(ARCHIVE)
        if self.run.done("archive") is not None:
            return AccuracyArchive.load(path, self.space)
        if self.request.archive is not None:
            with self.run.stage("archive") as record:
                self._given.save(path)
                record |= {"path": ARCHIVE, "sha256": sha256_of(path), "n": len(self._given)}
            return self._given
        n, _ = self._planned()
        tokens = sample_archive(self.space, n, self.costs, np.random.default_rng(self.request.seed))
        _ = self._supernet  # before the clock of this stage starts: its training is a stage of its own
        with self.run.stage("archive") as record:
            archive = self._collect(tokens)
            record |= {"path": ARCHIVE, "sha256": sha256_of(path), "n": len(archive.tokens)}
        return archive

    def _planned(self) -> tuple[int, int]:
        """How many architectures are evaluated at first, and how many in each round."""
        asked = self.request
        return rounds_of(asked.architectures, asked.rounds) if asked.rounds else (asked.architectures, 0)

    def _collect(self, tokens: Tokens) -> AccuracyArchive:
        """Evaluate architectures on the supernet; what an interrupted evaluation found is kept."""
        _ = self._supernet
        with self.progress("evaluating", len(tokens)) as progress:
            return self.team.collect(tokens, self.run.path(ARCHIVE), progress)

    @cached_property
    def _supernet(self) -> Supernet:
        """The supernet, trained or given, with which the team answers; opened once."""
        data = self._data
        space = replace(self.space, resolution=data.resolution, classes=data.classes)
        if (data.resolution, data.classes) != (self.space.resolution, self.space.classes):
            self.tell(
                f"accuracies are of {data.name} at {data.resolution} pixels, {data.classes} classes; the table is for "
                f"{self.space.resolution} pixels, {self.space.classes} classes: they rank networks, and exported "
                "networks will have untrained weights"
            )
        task = SupernetTask(space, str(self.request.data), self.request.seed, self._config(), self.run.path(SUPERNET))
        done = self.run.done("supernet")
        if done is not None:
            return self.team.open(replace(task, checkpoint=self.run.directory / done["path"]), data)
        with self.run.stage("supernet") as record:
            if self.request.supernet is not None:
                path = self.request.supernet.resolve()
                supernet = self.team.open(replace(task, checkpoint=path), data)
            else:
                path = Path(SUPERNET) / SUPERNET_FILE
                with self.progress("training the supernet", 100) as progress:
                    supernet = self.team.open(task, data, progress)
            record |= {
                "path": str(path),
                "sha256": supernet.sha256(),
                "space": space.to_dict(),
                "data": dict(data.identity),
                "data_name": self.request.data,
                "data_seed": self.request.seed,
            }
        return supernet

    def _resolution(self) -> int:
        """Side of the data's images: as asked, the table's for folders and small images, else a small one."""
        if self.request.resolution is not None:
            return self.request.resolution
        folder = str(self.request.data).startswith("imagefolder:")
        if folder or self.space.resolution <= _LARGEST_SMALL_RESOLUTION:
            return self.space.resolution
        return SMALL_RESOLUTION

    def _config(self) -> TrainConfig:
        config = replace(preset(str(self.request.data)), seed=self.request.seed)
        return config if self.request.epochs is None else replace(config, epochs=self.request.epochs)

    # -- evaluator and generator ------------------------------------------------------------------------

    def _generator(self, archive: AccuracyArchive) -> tuple[Generator, AccuracyArchive]:
        if self.run.done("generator") is not None:
            return Generator.load(self.run.directory), archive
        fidelity = self.table.metadata.fidelity
        if fidelity is None:
            self.tell(
                "the table has no unseen networks to judge it by: budgets are kept as predicted, without a margin"
            )
        options: dict[str, Any] = {
            "method": self.request.method,
            "seed": self.request.seed,
            "residuals": fidelity.residuals if fidelity else (),
            "metadata": {
                "table_sha256": self.table.content_sha256,
                "device": self.table.metadata.device.get("model"),
                "runtime": self.table.metadata.runtime.get("name"),
                PROVENANCE: archive.provenance.to_dict(),
            },
        }
        ask: Ask | None = self._ask if self.request.data else None
        with self.run.stage("generator") as record, self.progress("learning", 1) as progress:
            report = _shares(progress)
            if self.request.rounds:
                generator, _, _ = train_in_rounds(
                    self.space, self.costs, self._ask, tokens=archive.tokens, accuracy=archive.accuracy,
                    rounds=self.request.rounds, per_round=self._planned()[1], progress=report, **options,
                )  # fmt: skip
            else:
                generator = train_generator(
                    self.space, self.costs, archive.tokens, archive.accuracy, progress=report, ask=ask, **options
                )
            generator.save(self.run.directory)
            archive = AccuracyArchive.load(self.run.path(ARCHIVE), self.space)
            record |= {"path": GENERATOR, "sha256": sha256_of(self.run.path(GENERATOR)), "n": len(archive)}
            record["archive_sha256"] = sha256_of(self.run.path(ARCHIVE))  # rounds and searches have grown it
        return generator, archive

    def _ask(self, tokens: Tokens) -> Array:
        """Accuracies, shape (n,), of architectures that the search wants to know; they join the archive."""
        archive = self._collect(tokens)
        known = dict(zip(map(bytes, archive.tokens), archive.accuracy.tolist(), strict=True))
        return np.array([known[bytes(row)] for row in tokens])

    def _plot(self, archive: AccuracyArchive, generator: Generator) -> None:
        path = self.run.path(PLOT)
        if path.is_file():
            return
        low, high = (bound * (1 + generator.margin(_EVEN_ODDS)) for bound in generator.range_ms)
        budgets = np.linspace(low, high, _FRONTIER_POINTS)[1:-1].tolist()
        found = generator.generate_many(budgets, confidence=_EVEN_ODDS)
        plot_networks(
            path,
            archive_ms=self.costs(archive.tokens),
            archive_accuracy=archive.accuracy,
            frontier=[PlottedNetwork(c.budget_ms, c.cost_ms, c.accuracy) for c in found],
            title=f"{self.table.metadata.device.get('model', '')}, {self.table.metadata.runtime.get('name', '')}",
        )


def _shares(progress: Progress) -> Callable[[float], None]:
    """A callable that is told the share done, in 0 to 1, and advances `progress` by what is new."""
    done = 0.0

    def report(share: float) -> None:
        nonlocal done
        progress.advance(share - done)
        done = share

    return report
