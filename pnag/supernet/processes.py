"""The processes of a training: the first decides and writes, the others do their share of what takes long.

Under torchrun every process runs the same command. All of them train the supernet and evaluate architectures. Only
the first looks at what was asked for, keeps the run, trains the generator and speaks; the others follow it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pnag.accuracy.archive import AccuracyArchive
from pnag.data.load import ImageData, load_data
from pnag.space.tokens import Tokens
from pnag.supernet.collect import CALIBRATION, collect_archive
from pnag.supernet.evaluation import EvaluationImages
from pnag.supernet.supernet import Supernet
from pnag.supernet.tasks import CollectTask, SupernetTask, Task
from pnag.supernet.training import TORCHRUN, make_fabric, train_supernet
from pnag.supernet.transfer import start_from
from profiler.console import say
from profiler.progress import Progress, Watch

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Team:
    """All processes of a training. The methods but `follow` are the first one's: the others do what it calls."""

    def __init__(self, fabric: Fabric | None = None, watch: Watch | None = None) -> None:
        self._fabric, self._watch = fabric, watch
        self._supernet: Supernet | None = None
        self._images: EvaluationImages | None = None

    @classmethod
    def gather(cls, watch: Watch | None = None) -> Self:
        """The processes that torchrun started, or this one alone. `watch` is told the curve of a training."""
        return cls(make_fabric() if TORCHRUN in os.environ else None, watch)

    @property
    def leads(self) -> bool:
        """Whether this is the first process."""
        return self._fabric is None or self._fabric.is_global_zero

    def open(self, task: SupernetTask, data: ImageData, progress: Progress | None = None) -> Supernet:
        """The supernet of `task`, with `data`, its data set: what `collect` asks from now on."""
        self._tell(task)
        return self._open(task, data, progress)

    def collect(
        self, tokens: Tokens, out: Path, progress: Progress | None = None, *, test: bool = False
    ) -> AccuracyArchive:
        """Ask the supernet about architectures, tokens (n, length); they join the archive `out`, which is returned.

        With `test` it has accuracies on the test split too, of as many images as there are for validation at most.
        """
        task = CollectTask(tokens, out, test)
        self._tell(task)
        return self._collect(task, progress)

    def dismiss(self) -> None:
        """There is nothing more to do: `follow` ends."""
        self._tell(None)

    def follow(self) -> None:
        """Do what the first process calls, until it has no more to do."""
        while (task := self._tell(None)) is not None:
            if isinstance(task, SupernetTask):
                self._open(task, load_data(task.data, resolution=task.space.resolution, seed=task.seed))
            else:
                self._collect(task)

    def _tell(self, task: Task | None) -> Task | None:
        """What the first process says, whatever the others do; they wait until it does."""
        return task if self._fabric is None else self._fabric.broadcast(task)

    def _open(self, task: SupernetTask, data: ImageData, progress: Progress | None = None) -> Supernet:
        self._fabric = self._fabric or make_fabric()
        if task.checkpoint is not None:
            supernet = Supernet.load(task.checkpoint, task.space)
        else:
            start = None
            if task.start is not None:
                start = start_from(task.start, task.space, data.class_names, seed=task.config.seed, tell=self._say)
            supernet = train_supernet(
                task.space, data, task.config, task.out, start=start, progress=progress, fabric=self._fabric,
                watch=self._watch,
            )  # fmt: skip
        self._supernet = supernet
        images, judged = data.to(self._fabric.device), task.val_images or len(data.val)
        self._images = EvaluationImages(images, calibration=CALIBRATION, most=judged, most_test=judged)
        return supernet

    def _say(self, text: str) -> None:
        """Only the first process speaks."""
        if self.leads:
            say(text)

    def _collect(self, task: CollectTask, progress: Progress | None = None) -> AccuracyArchive:
        assert self._supernet is not None
        assert self._images is not None
        return collect_archive(
            self._supernet, self._images.data, task.tokens, task.out, test=task.test, images=self._images,
            progress=progress, fabric=self._fabric, tell=self._say,
        )  # fmt: skip
