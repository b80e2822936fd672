"""The images of a training, and the supernet that says which accuracies architectures have on them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

from pnag.accuracy.archive import AccuracyArchive
from pnag.data.load import ImageData, load_data, locate_data
from pnag.errors import ArchiveError, RunError
from pnag.runs.kept_images import keep_images
from pnag.runs.request import TrainRequest
from pnag.runs.run import IMAGES, SUPERNET, Run
from pnag.space.search_space import SearchSpace
from pnag.supernet.supernet import Supernet
from pnag.supernet.tasks import SupernetTask
from pnag.supernet.training import SUPERNET as SUPERNET_FILE
from pnag.supernet.training_config import TrainConfig, preset
from pnag.supernet.transfer import fine_tuning, fits
from profiler.progress import Progress

SMALL_RESOLUTION = 32
_LARGEST_SMALL_RESOLUTION = 64

ProgressOf = Callable[[str, float], AbstractContextManager[Progress]]


class Open(Protocol):
    """Opens the supernet of a task with its data set, in all processes: `pnag.supernet.processes.Team.open`."""

    def __call__(self, task: SupernetTask, data: ImageData, progress: Progress | None = None) -> Supernet:
        """The supernet, trained first where the task says so."""


@dataclass
class SupernetStage:
    """What a request says of images and supernet, read and made when it is first needed.

    `space` is the table's, `before` the run that the request goes on with, `open` what all processes do.
    """

    request: TrainRequest
    space: SearchSpace
    before: Run | None
    tell: Callable[[str], None]
    progress: ProgressOf
    open: Open
    _opened: Supernet | None = field(default=None, init=False)

    def compare(self, archive: AccuracyArchive) -> None:
        """Say so if given accuracies are of another supernet than the weights; rounds may not mix the two."""
        assert self.request.supernet is not None
        if not self.trains_on:
            supernet = Supernet.load(self.request.supernet, self._trained_space(self.data))
            if archive.source.get("supernet") == supernet.sha256():
                return
        if self.request.rounds:
            raise ArchiveError(
                f"archive {self.request.archive} was not measured with {self.request.supernet}, and --rounds would add "
                "accuracies of another kind; leave out --rounds or --accuracy"
            )
        self.tell("the accuracies given are not of the supernet given: they rank networks, it gives them weights")

    @cached_property
    def data(self) -> ImageData:
        """The data set of the request, loaded once."""
        name = locate_data(str(self.request.data))
        return load_data(name, resolution=self._resolution(), seed=self._data_seed(), tell=self.tell)

    def _data_seed(self) -> int:
        return self.request.seed if self.request.data_seed is None else self.request.data_seed

    def _trained_space(self, data: ImageData) -> SearchSpace:
        """The space of a supernet for these images: with the table's choice of resolutions, or at theirs alone."""
        space = self.space if self.space.resolutions else self.space.at(data.resolution)
        return replace(space, classes=data.classes)

    @cached_property
    def trains_on(self) -> bool:
        """Whether a given supernet is trained on from, for other classes or as long as asked, or evaluated as it is."""
        checkpoint, epochs, data = self.request.supernet, self.request.epochs, self.data
        if checkpoint is None:
            return False
        same = fits(checkpoint, self._trained_space(data), data.class_names)
        if epochs == 0 and not same:
            raise RunError(
                f"{checkpoint} tells other classes apart than the {data.classes} of {data.name}, and --epochs 0 trains "
                "no new classifier; leave it out, or give more"
            )
        return bool(epochs) if epochs is not None else not same

    def supernet(self, run: Run) -> Supernet:
        """The supernet, trained or given, that the processes answer with; opened once, and recorded in `run`."""
        if self._opened is None:
            self._opened = self._open(run)
        return self._opened

    def _open(self, run: Run) -> Supernet:
        data = self.data
        space = self._trained_space(data)
        if (data.resolution, data.classes) != (self.space.resolution, self.space.classes):
            self.tell(
                f"accuracies are of {data.name} at {data.resolution} pixels, {data.classes} classes; the table is for "
                f"{self.space.resolution} pixels, {self.space.classes} classes: they rank networks, and exported "
                "networks will have untrained weights"
            )
        name = locate_data(str(self.request.data))
        judged = self.request.val_images
        task = SupernetTask(space, name, self._data_seed(), self._config(), run.path(SUPERNET), val_images=judged)
        done = run.done("supernet")
        if done is not None:
            if done["data"]["sha256"] != data.sha256:
                raise RunError(
                    f"{data.name} is not the data set any more that {run.directory} was trained on; restore it, "
                    "choose another --out, or start over with --fresh"
                )
            return self.open(replace(task, checkpoint=run.path(done["path"])), data)
        with run.stage("supernet") as record:
            given = self.request.supernet.resolve() if self.request.supernet else None
            if given is not None and not self.trains_on:
                path = given
                supernet = self.open(replace(task, checkpoint=path), data)
            else:
                path, task = Path(SUPERNET) / SUPERNET_FILE, replace(task, start=given)
                with self.progress("training the supernet", 100) as progress:
                    supernet = self.open(task, data, progress)
            record |= {
                "path": str(path),
                "sha256": supernet.sha256(),
                "space": space.to_dict(),
                "data": dict(data.identity),
                "data_name": name,
                "data_seed": self._data_seed(),
                "images": keep_images(run.path(IMAGES), data),
            }
        return supernet

    def _resolution(self) -> int:
        """Side of the data's images: as asked, the table's for folders and small images, else a small one.

        Of several resolutions the largest: the others are made from it.
        """
        done = self.before.done("supernet") if self.before else None
        if done is not None:
            return int(done["space"]["resolution"])
        if self.request.resolution is not None:
            return self.request.resolution
        folder = str(self.request.data).startswith("imagefolder:")
        if folder or self.space.resolutions or self.space.resolution <= _LARGEST_SMALL_RESOLUTION:
            return self.space.resolution
        return SMALL_RESOLUTION

    def _config(self) -> TrainConfig:
        config = replace(preset(str(self.request.data)), seed=self.request.seed)
        if self.request.supernet is not None:
            config = fine_tuning(config)
        return replace(config, epochs=self.request.epochs) if self.request.epochs else config
