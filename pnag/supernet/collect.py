"""Accuracies of many sub-networks, resumably, on one or several devices: how an archive is made."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lut.formats.canonical import plain
from lut.journal import LineJournal, read_lines
from pnag.accuracy.archive import AccuracyArchive
from pnag.data.split import ImageData
from pnag.errors import ArchiveError
from pnag.space.architecture import Architecture
from pnag.space.search_space import SearchSpace
from pnag.space.tokens import Tokens
from pnag.supernet.evaluation import EvaluationImages, accuracy, calibrated_subnet
from pnag.supernet.supernet import Supernet
from profiler.progress import Progress

if TYPE_CHECKING:
    from lightning_fabric import Fabric


CALIBRATION = 256  # training images
_TIMED = 2  # the network that tells how long evaluating takes: the first ones also read images
_LONG_S = 120.0


@dataclass(frozen=True)
class Measured:
    """Accuracies of one architecture, 0 … 1; `test` is None where it was not asked for."""

    val: float
    test: float | None


class Journal:
    """Finished evaluations, one file per process, each line on disk before the next begins.

    The first line of a file says which supernet and data it is about; files about others are refused.
    """

    def __init__(self, out: Path, identity: Mapping[str, Any], rank: int = 0) -> None:
        self._out, self._identity = out, plain(identity)
        self._path = out.with_name(f"{out.name}.journal-{rank}.jsonl")
        self._lines: LineJournal | None = None

    def files(self) -> list[Path]:
        """The journals of all processes."""
        return sorted(self._out.parent.glob(f"{self._out.name}.journal-*.jsonl"))

    def read(self) -> dict[str, Measured]:
        """What all processes have finished, by architecture. Raises `ArchiveError` for another supernet's journal."""
        done: dict[str, Measured] = {}
        for path in self.files():
            identity, *rows = read_lines(path) or (self._identity,)
            if identity != self._identity:
                raise ArchiveError(f"{path} is about another supernet, data or split; remove it or take another output")
            done.update({row["architecture"]: Measured(row["val"], row["test"]) for row in rows})
        return done

    def write(self, architecture: Architecture, measured: Measured) -> None:
        """Append a line and wait until it is on disk. Raises `OutputError` where that fails."""
        if self._lines is None:
            self._lines = LineJournal(self._path)
            if not self._lines.rows:
                self._lines.append([self._identity])
        self._lines.append([{"architecture": str(architecture), "val": measured.val, "test": measured.test}])

    def close(self) -> None:
        """Close this process's file."""
        if self._lines is not None:
            self._lines.close()
            self._lines = None

    def remove(self) -> None:
        """Remove the files of all processes: their content is in the archive."""
        for path in self.files():
            path.unlink(missing_ok=True)


def collect_archive(
    supernet: Supernet,
    data: ImageData,
    tokens: Tokens,
    out: str | Path,
    *,
    test: bool = False,
    images: EvaluationImages | None = None,
    recipe: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    fabric: Fabric | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> AccuracyArchive:
    """Evaluate the architectures of `tokens` (n, length) and write them to the archive `out`; returns it.

    Accuracies are of the validation split and, with `test`, of the test split in a column of their own. `images` of
    `data`, on the fabric's device, are kept from an earlier call; batch-norm is re-estimated on 256 training images
    unless they say otherwise. `tell` is told how long all of it will take, where that is minutes.

    What an archive at `out` of the same supernet and data holds is kept and not evaluated again; a killed collection
    goes on where it was. With a fabric of several devices each evaluates its share. Raises `ArchiveError` if `out` is
    of another supernet or data.
    """
    out = Path(out)
    rank, world = (fabric.global_rank, fabric.world_size) if fabric else (0, 1)
    if images is None:
        on_device = data if fabric is None else data.to(fabric.device)
        images = EvaluationImages(on_device, calibration=CALIBRATION)
    source = {
        "supernet": supernet.sha256(),
        "data": data.identity,
        "calibration_images": images.calibration,
        "val_images": images.val,
        "recipe": dict(recipe or {}),
    }
    kept = _kept(out, supernet.space, source, test=test)
    sizes = {"val": images.val, "test": len(data.test) if test else 0}
    journal = Journal(out, {"supernet": source["supernet"], "data": data.sha256, **sizes}, rank)
    done = {**kept, **journal.read()}
    wanted = list(dict.fromkeys(supernet.space.decode(tokens)))
    missing = [architecture for architecture in wanted if str(architecture) not in done]
    if fabric is not None:
        fabric.barrier()  # all have read the journals before one of them writes
        supernet = supernet.to(fabric.device)
    if progress is not None:
        progress.advance(len(wanted) - len(missing))
    _evaluate_all(supernet, missing[rank::world], images, journal, test=test, steps=world, progress=progress, tell=tell)
    if fabric is not None:
        fabric.barrier()
    done.update(journal.read())
    order = [*kept, *(str(a) for a in wanted if str(a) not in kept)]
    archive = _archive(supernet.space, [(Architecture.parse(text), done[text]) for text in order], source, test=test)
    if fabric is not None:
        fabric.barrier()  # all have read the journals before they are removed
    if rank == 0:
        archive.save(out)
        journal.remove()
    if fabric is not None:
        fabric.barrier()
    return archive


def _evaluate_all(
    supernet: Supernet,
    architectures: Sequence[Architecture],
    images: EvaluationImages,
    journal: Journal,
    *,
    test: bool,
    steps: int,
    progress: Progress | None,
    tell: Callable[[str], None],
) -> None:
    try:
        for number, architecture in enumerate(architectures):
            started_s = time.monotonic()
            network = calibrated_subnet(supernet, architecture, images.batches(architecture))
            val = accuracy(network, images.split("val", architecture))
            measured = Measured(val, accuracy(network, images.split("test", architecture)) if test else None)
            journal.write(architecture, measured)
            if number == _TIMED:
                _tell_how_long(time.monotonic() - started_s, len(architectures) - number - 1, images.val, tell)
            if progress is not None:
                progress.advance(steps, f"last accuracy {100 * measured.val:.1f} %")
    finally:
        journal.close()


def _tell_how_long(each_s: float, left: int, images: int, tell: Callable[[str], None]) -> None:
    """Say it where it is minutes; the network that was timed has read no images, and is one of many sizes."""
    if each_s * left > _LONG_S:
        tell(
            f"{left} more networks on {images:,} validation images will take some {each_s * left / 60:.0f} minutes, by "
            f"the {each_s:.1f} s of one of them; --val-images takes fewer images"
        )


def _kept(out: Path, space: SearchSpace, source: Mapping[str, Any], *, test: bool) -> dict[str, Measured]:
    """What the archive at `out` holds already."""
    if not out.exists():
        return {}
    archive = AccuracyArchive.whole(out, space)
    for what in ("supernet", "data", "val_images"):
        known = archive.source.get(what, source[what] if what == "val_images" else None)  # older ones do not name it
        if known != plain(source[what]):
            words = {"val_images": "number of validation images"}.get(what, what)
            raise ArchiveError(f"archive {out} was measured with another {words}; take another output or remove it")
    if test and archive.test_accuracy is None:
        raise ArchiveError(f"archive {out} has no test accuracies; go on without them or take another output")
    tests = [None] * len(archive) if archive.test_accuracy is None else archive.test_accuracy.tolist()
    architectures = archive.architectures
    if space.resolutions and not archive.space.resolutions:  # all of one
        architectures = [replace(one, resolution=archive.space.resolution) for one in architectures]
    rows = zip(architectures, archive.accuracy.tolist(), tests, strict=True)
    return {str(architecture): Measured(val, test_accuracy) for architecture, val, test_accuracy in rows}


def _archive(
    space: SearchSpace, rows: Sequence[tuple[Architecture, Measured]], source: Mapping[str, Any], *, test: bool
) -> AccuracyArchive:
    tokens = space.encode(architecture for architecture, _ in rows)
    val = np.array([measured.val for _, measured in rows])
    on_test = np.array([measured.test for _, measured in rows], dtype=float) if test else None
    return AccuracyArchive(space, tokens, val, on_test, "val", source)
