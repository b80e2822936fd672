"""The curves of trainings as event files, which TensorBoard shows while they grow."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Self

from lut.errors import OutputError
from lut.files import require_writable
from pnag.errors import RunError
from profiler.progress import Watch

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_PACKAGE = "tensorboard"
_FLUSH_S = 10


class EventFiles:
    """A folder with one sub-folder for each training, made when it has something to tell. A context manager.

    What is told of a training at the first step takes the place of what an earlier process had told from that step on.
    """

    def __init__(self, directory: Path) -> None:
        """Raises `RunError` where the package is not installed, `OutputError` where nothing can be written."""
        if find_spec(_PACKAGE) is None:
            raise RunError(f"--tensorboard needs a package that is not installed: pip install {_PACKAGE}")
        if directory.exists() and not directory.is_dir():
            raise OutputError(f"{directory} is a file, and event files need a folder; choose another place")
        require_writable(directory / "events")
        self._directory = directory
        self._writers: dict[str, SummaryWriter] = {}

    def of(self, training: str) -> Watch:
        """What is told the figures of the training of that name."""

        def watch(step: int, figures: Mapping[str, float]) -> None:
            writer = self._writer(training, step)
            for name, value in figures.items():
                writer.add_scalar(name, value, step)

        return watch

    def _writer(self, training: str, step: int) -> SummaryWriter:
        if training not in self._writers:
            from torch.utils.tensorboard import SummaryWriter

            place = str(self._directory / training)
            self._writers[training] = SummaryWriter(place, purge_step=step, flush_secs=_FLUSH_S)
        return self._writers[training]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for writer in self._writers.values():
            writer.close()
