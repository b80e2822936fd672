"""Algorithm 1 of the paper, in a run directory: supernet, accuracies, evaluator, generator; each stage resumes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lut.files import replacing, require_writable
from lut.table import LatencyTable
from pnag.accuracy.archive import SHIPPED, AccuracyArchive
from pnag.accuracy.network import AccuracyNetwork
from pnag.accuracy.provenance import Provenance
from pnag.accuracy.shipped import model_of
from pnag.data.load import locate_data
from pnag.errors import ArchiveError, RunError
from pnag.generator.generate import PROVENANCE, Generator
from pnag.generator.learning import rounds_of, train_generator, train_in_rounds
from pnag.generator.methods import find_method
from pnag.generator.rounds import RoundsDone
from pnag.runs.plan import Plan
from pnag.runs.plots import PlottedNetwork, plot_networks
from pnag.runs.published import predicted_archive, read_published
from pnag.runs.request import TrainRequest
from pnag.runs.run import ANSWERS, ARCHIVE, GENERATOR, LEARNING, LOCK, MANIFEST, PLOT, ROUNDS, TABLE, Run, sha256_of
from pnag.runs.supernet_stage import ProgressOf, SupernetStage
from pnag.space.sampling import sample_archive
from pnag.space.search_space import SearchSpace
from pnag.space.tokens import Tokens
from pnag.supernet.processes import Team
from profiler.progress import Watch, shares_of

_FRONTIER_POINTS = 60
_EVEN_ODDS = 0.5

Array = NDArray[np.float64]
Alone = Callable[[Path], AbstractContextManager[None]]
WatchOf = Callable[[str], Watch | None]


@dataclass(frozen=True)
class Trained:
    """A finished run with what it is made of."""

    run: Run
    table: LatencyTable
    archive: AccuracyArchive
    generator: Generator


def train_run(
    request: TrainRequest,
    *,
    tell: Callable[[str], None],
    progress: ProgressOf,
    alone: Alone = lambda _: nullcontext(),
    watch: WatchOf = lambda _: None,
) -> Trained | None:
    """Train in `request.out`, going on with what an earlier, equal request left there.

    `tell` takes notices. `progress` takes a label and a total, and gives a context manager. `alone` takes the path of
    a lock file, and gives a context manager that keeps other processes from training this run. `watch` takes a
    training's name, `supernet` or `generator`, and gives a function that takes the training's figures. Under torchrun
    the first process returns the result, the others None when they have done their share. The files of a new run are
    read before anything is written. With another table than before, supernet and accuracies stay and the generator is
    learnt again. Raises `PnagError` and `LutError` subclasses.
    """
    team = Team.gather(watch("supernet"))
    if not team.leads:
        team.follow()
        return None
    request = request.resolved()
    request.check()
    find_method(request.method)
    if request.supernet is not None and not request.supernet.is_file():
        raise RunError(f"no file {request.supernet}; check the path")
    training = _Pipeline(request, LatencyTable.load(request.table), team, tell, progress, watch("generator"))
    training.look()
    with alone(request.out / LOCK):
        training.run = Run.start(request.out, training.identity(), fresh=request.fresh)
        trained = training.finish()
    team.dismiss()
    return trained


@dataclass
class _Pipeline:
    """The stages of one run, each done once."""

    request: TrainRequest
    table: LatencyTable
    team: Team
    tell: Callable[[str], None]
    progress: ProgressOf
    watch: Watch | None
    run: Run = field(init=False)

    def __post_init__(self) -> None:
        self.space = SearchSpace.from_dict(self.table.metadata.space)
        self.costs = self.space.cost_model(self.table)
        goes_on = Run.is_in(self.request.out) and not self.request.fresh
        self._before = Run.load(self.request.out) if goes_on else None
        self._images = SupernetStage(self.request, self.space, self._before, self.tell, self.progress, self.team.open)

    def look(self) -> None:
        """Read the files of a new run, so that a wrong one is refused while nothing is written or removed."""
        require_writable(self.request.out / MANIFEST)
        self._check_sides()
        if self._before is not None:
            return
        if self.request.data is not None:
            _ = self._images.data
            if self.request.supernet is not None:
                _ = self._images.trains_on
        if self.request.archive is not None:
            _ = self._given
        if self.request.predictor is not None:
            _ = self._published

    def _check_sides(self) -> None:
        """A supernet is trained and asked at all resolutions of the table, or at one."""
        sides = ", ".join(map(str, self.space.sides))
        if self.space.resolutions and self.request.data and self.request.resolution is not None:
            raise RunError(
                f"the table has a choice of {sides} pixels, and networks are trained and evaluated at each; leave out "
                f"--resolution {self.request.resolution}, or give a table of that one"
            )
        record = self._before.done("supernet") if self._before else None
        if record is None:
            return
        trained = SearchSpace.from_dict(record["space"])
        if (self.space.resolutions or trained.resolutions) and trained.sides != self.space.sides:
            raise RunError(
                f"{self.request.out} has accuracies at {', '.join(map(str, trained.sides))} pixels, and the table has "
                f"{sides}; choose another --out, or start over with --fresh"
            )

    def identity(self) -> dict[str, Any]:
        """What the run is asked for. A data set that lies elsewhere now is the same one if its content is."""
        asked, before = {"space": self.space.name, **self.request.identity()}, self._before
        record = before.done("supernet") if before else None
        if before is None or record is None or asked["data"] is None:
            return asked
        if asked["data"] != locate_data(record["data_name"]) and self._images.data.sha256 != record["data"]["sha256"]:
            raise RunError(
                f"{self.request.out} was trained on {record['data_name']}, and {asked['data']} is not the same; "
                "choose another --out, or start over with --fresh"
            )
        return asked | {"data": before.asked["data"]}

    def finish(self) -> Trained:
        """Do what is not done yet."""
        record = self.run.done("supernet")
        if self.request.data and record and record["data_name"] != (name := locate_data(self.request.data)):
            self.run.amend("supernet", data_name=name)
        archive = self._archive()
        generator, archive = self._generator(archive)
        return Trained(self.run, self.table, archive, generator)

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
            sides = ", ".join(map(str, archive.space.sides))
            self.tell(
                f"learning from accuracies that come with the program: {len(archive)} architectures, "
                f"{archive.provenance}, at {sides} pixels; for images of your own give --data"
            )
        if archive.space.sides != self.space.sides:
            self.tell(
                f"the table is for images of {self.space.resolution} pixels, these accuracies are of "
                f"{archive.space.resolution}, the nearest in {path.name}: they rank networks only"
            )
        if self.request.supernet is not None:
            self._images.compare(archive)
        return archive

    @cached_property
    def _published(self) -> AccuracyNetwork:
        """The predictor of the request, read once."""
        assert self.request.predictor is not None
        return read_published(self.request.predictor, self.space)

    def _model(self, archive: AccuracyArchive) -> tuple[AccuracyNetwork | None, Provenance]:
        """The model of accuracies that is to be learnt from, if there is one, and where it is from."""
        if self.request.predictor is not None:
            return self._published, archive.provenance
        model = model_of(self.request.archive, archive)
        if model is None or not find_method(self.request.method).answers_as_learnt:
            return model, archive.provenance
        return model, replace(archive.provenance, how=f"{archive.provenance.how}, distilled")

    def _archive(self) -> AccuracyArchive:
        """The archive so far: loaded, asked of a supernet, or from before."""
        path = self.run.path(ARCHIVE)
        if self.run.done("archive") is not None:
            return AccuracyArchive.load(path, self.space)
        if self.request.archive is not None:
            archive = self._given
            if self.request.supernet is not None:
                self._images.supernet(self.run)
            with self.run.stage("archive") as record:
                archive.save(self.run.path(ARCHIVE))
                record |= {"path": ARCHIVE, "sha256": sha256_of(self.run.path(ARCHIVE)), "n": len(archive)}
            return archive
        if self.request.predictor is not None:
            with self.run.stage("archive") as record:
                rng = np.random.default_rng(self.request.seed)
                archive = predicted_archive(
                    self._published, self.request.predictor, self.costs, self.request.architectures, rng
                )
                archive.save(self.run.path(ARCHIVE))
                record |= {"path": ARCHIVE, "sha256": sha256_of(self.run.path(ARCHIVE)), "n": len(archive)}
            return archive
        self._images.supernet(self.run)  # before the clock of this stage starts: its training is a stage of its own
        tokens = self._first()
        with self.run.stage("archive") as record:
            archive = self._collect(tokens)
            record |= {"path": ARCHIVE, "sha256": sha256_of(self.run.path(ARCHIVE)), "n": len(archive.tokens)}
        return archive

    def _first(self) -> Tokens:
        """The architectures to begin with, as planned before an interruption, else drawn and planned."""
        place = self.run.path(ROUNDS)
        plan = Plan.load(place, self.space)
        if plan.first is None:
            rng = np.random.default_rng(self.request.seed)
            plan = Plan(first=sample_archive(self.space, self._planned(0)[0], self.costs, rng))
            plan.save(place, self.space)
        assert plan.first is not None
        return plan.first

    def _planned(self, known: int) -> tuple[int, int]:
        """How many architectures are evaluated at first, and how many in each round, if so many are given."""
        asked = self.request
        if not asked.rounds:
            return asked.architectures, 0
        if self.request.archive is not None:
            return 0, max(0, asked.architectures - known) // asked.rounds
        return rounds_of(asked.architectures, asked.rounds)

    def _collect(self, tokens: Tokens) -> AccuracyArchive:
        """Evaluate architectures on the supernet; what an interrupted evaluation found is kept."""
        self._images.supernet(self.run)
        with self.progress("evaluating", len(tokens)) as progress:
            return self.team.collect(tokens, self.run.path(ARCHIVE), progress)

    # -- evaluator and generator ------------------------------------------------------------------------

    def _generator(self, archive: AccuracyArchive) -> tuple[Generator, AccuracyArchive]:
        done, kept = self.run.done("generator"), self.run.done("table")
        if done is not None and kept is not None:
            if done.get("table_sha256", kept["sha256"]) == self.table.content_sha256:
                generator = Generator.load(self.run.directory)
                self._plot(archive, generator)
                return generator, archive
            self.tell(f"{self.run.directory} has another table now: its accuracies stay, the generator is learnt again")
        with self.run.stage("generator") as record:
            steps: list[Mapping[str, float]] = []
            generator = self._learn(archive, self._recording(steps))
            if self.request.data and archive.source.get("supernet") == (self.run.done("supernet") or {}).get("sha256"):
                generator = generator.judged_by(self._reached)
            self._keep_table()
            self._keep_steps(steps)
            generator.save(self.run.place)
            archive = AccuracyArchive.load(self.run.path(ARCHIVE), self.space)
            record |= {"path": GENERATOR, "sha256": sha256_of(self.run.path(GENERATOR)), "n": len(archive)}
            record["table_sha256"] = self.table.content_sha256
            record["archive_sha256"] = sha256_of(self.run.path(ARCHIVE))  # rounds and searches have grown it
        self.run.path(PLOT).unlink(missing_ok=True)
        self._plot(archive, generator)
        return generator, archive

    def _keep_table(self) -> None:
        with self.run.stage("table") as record:
            self.table.save(self.run.path(TABLE))
            record |= {"path": TABLE, "from": str(self.request.table), "sha256": self.table.content_sha256}

    def _recording(self, steps: list[Mapping[str, float]]) -> Watch:
        """What adds the figures of a step to `steps`, and tells them to whom watches."""

        def watch(step: int, figures: Mapping[str, float]) -> None:
            steps.append({"step": step, **figures})
            if self.watch is not None:
                self.watch(step, figures)

        return watch

    def _keep_steps(self, steps: Sequence[Mapping[str, float]]) -> None:
        """How the generator's training went; nothing of methods that have no such training."""
        path = self.run.path(LEARNING)
        path.unlink(missing_ok=True)
        if steps:
            with replacing(path) as temporary:
                rounded = ({name: round(value, 6) for name, value in step.items()} for step in steps)
                temporary.write_text("".join(json.dumps(step) + "\n" for step in rounded), encoding="utf-8")

    def _learn(self, archive: AccuracyArchive, record: Watch) -> Generator:
        """Train evaluator and generator, in rounds where these were asked for and have something to ask."""
        fidelity = self.table.metadata.fidelity
        if fidelity is None:
            self.tell(
                "the table has no unseen networks to judge it by: budgets are kept as predicted, without a margin"
            )
        options: dict[str, Any] = {
            "method": self.request.method,
            "seed": self.request.seed,
            "watch": record,
            "residuals": fidelity.residuals if fidelity else (),
            "metadata": {
                "table_sha256": self.table.content_sha256,
                "device": self.table.metadata.device.get("model"),
                "runtime": self.table.metadata.runtime.get("name"),
                **{name: self.table.metadata.runtime.get(name) for name in ("version", "precision", "threads")},
                "batch": self.table.metadata.batch,
                PROVENANCE: archive.provenance.to_dict(),
                "accuracy_resolution": archive.space.resolution,
            },
        }
        first = int((self.run.done("archive") or {}).get("n", len(archive)))
        tokens, accuracy = archive.tokens[:first], archive.accuracy[:first]
        _, per_round = self._planned(first)
        if self.request.rounds and not per_round:
            self.tell(f"{first} accuracies are known, and --architectures asks for no more: there are no rounds")
        with self.progress("learning", 1) as progress:
            report = shares_of(progress)
            if not per_round:
                options["learnt"], provenance = self._model(archive)
                options["metadata"][PROVENANCE] = provenance.to_dict()
                ask = self._ask if self.request.data else None
                return train_generator(self.space, self.costs, tokens, accuracy, progress=report, ask=ask, **options)
            plan = Plan.load(self.run.path(ROUNDS), self.space)
            proposed = plan.all_proposed(self.space)
            if len(proposed):
                tokens, accuracy = np.concatenate([tokens, proposed]), np.append(accuracy, self._ask(proposed))
            generator, _, _ = train_in_rounds(
                self.space, self.costs, self._ask, tokens=tokens, accuracy=accuracy, rounds=self.request.rounds,
                per_round=per_round, progress=report, done=plan.done, remember=self._remember, **options,
            )  # fmt: skip
            return generator

    def _remember(self, proposed: Tokens, done: RoundsDone) -> None:
        """Write a round's proposals down before they are asked."""
        place = self.run.path(ROUNDS)
        Plan.load(place, self.space).after(proposed, done).save(place, self.space)

    def _ask(self, tokens: Tokens) -> Array:
        """Accuracies, shape (n,), of architectures that the search wants to know; they join the archive."""
        known = _by_tokens(AccuracyArchive.load(self.run.path(ARCHIVE), self.space))
        if any(bytes(row) not in known for row in tokens):
            known = _by_tokens(self._collect(tokens))
        return np.array([known[bytes(row)] for row in tokens])

    def _reached(self, tokens: Tokens) -> Array:
        """Accuracies, shape (n,), of answers on test images, which nothing was learnt from."""
        self._images.supernet(self.run)
        with self.progress("evaluating answers", len(tokens)) as progress:
            found = self.team.collect(tokens, self.run.path(ANSWERS), progress, test=True)
        assert found.test_accuracy is not None
        known = dict(zip(map(bytes, found.tokens), found.test_accuracy.tolist(), strict=True))
        return np.array([known[bytes(row)] for row in tokens])

    def _plot(self, archive: AccuracyArchive, generator: Generator) -> None:
        path = self.run.path(PLOT)
        if path.is_file():
            return
        budgets = np.linspace(*generator.budgets_ms(_EVEN_ODDS), _FRONTIER_POINTS)[1:-1].tolist()
        found = generator.generate_many(budgets, confidence=_EVEN_ODDS)
        plot_networks(
            path,
            archive_ms=self.costs(archive.tokens),
            archive_accuracy=archive.accuracy,
            frontier=[PlottedNetwork(c.budget_ms, c.cost_ms, c.accuracy) for c in found],
            title=f"{self.table.metadata.device.get('model', '')}, {self.table.metadata.runtime.get('name', '')}",
        )


def _by_tokens(archive: AccuracyArchive) -> dict[bytes, float]:
    return dict(zip(map(bytes, archive.tokens), archive.accuracy.tolist(), strict=True))
