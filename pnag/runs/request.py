"""What a training is asked for: the options of `pnag-train`, looked at together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pnag.accuracy.archive import DEFAULT, find_archive
from pnag.data.load import locate_data
from pnag.errors import ArchiveError, RunError
from pnag.runs.published import PREFIX as PUBLISHED
from pnag.runs.run import ARCHIVE, Run, sha256_of
from pnag.supernet.training_config import preset


@dataclass(frozen=True)
class TrainRequest:
    """What to train. `data` names a data set, `supernet` a checkpoint to evaluate on it instead of training one;
    `accuracy` an archive that makes both unnecessary: a file, the name of one that comes with the program, or
    `once-for-all:FILE` for the predictor that its authors publish. With none of them the default archive is taken.
    Beside `data` and `supernet`, `accuracy` holds what is known already, and the supernet gives networks their weights.
    `architectures` is how many are evaluated in all, `rounds` in how many further rounds the generator proposes some of
    them, `resolution` the side of the data's images, `data_seed` what decides about held-out images, `seed` unless
    given, `val_images` how many validation images each is evaluated on at most.
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
    data_seed: int | None = None
    val_images: int | None = None

    def resolved(self) -> TrainRequest:
        """The request with what a run's folder as `supernet` stands for: its checkpoint, data set and accuracies."""
        if self.supernet is None or not self.supernet.is_dir():
            return self
        run = Run.load(self.supernet)
        record, evaluated = run.done("supernet"), run.done("archive")
        if record is None:
            raise RunError(f"{self.supernet} has no trained supernet; name another run, or a checkpoint")
        same_data = self.data is None or locate_data(self.data) == record["data_name"]
        several = "resolutions" in record["space"]  # then the table has to have the same
        known = run.path(ARCHIVE) if evaluated and same_data and not self.epochs else None  # of these weights
        return replace(
            self,
            supernet=run.path(record["path"]),
            data=self.data or record["data_name"],
            data_seed=record["data_seed"],
            resolution=self.resolution or (None if several else record["space"]["resolution"]),
            accuracy=self.accuracy or known,
        )

    def check(self) -> None:
        """Raise `PnagError` for data sets that are not known and combinations that mean nothing."""
        if self.accuracy and self.data and not self.supernet:
            raise RunError("--accuracy gives the accuracies already; leave out --data, or give --supernet with it")
        if self.supernet and not self.data:
            raise RunError("--supernet needs images to evaluate it on; give --data, for instance imagefolder:DIR")
        if self.epochs == 0 and not self.supernet:
            raise RunError("--epochs 0 trains nothing; give --supernet, which is then evaluated as it is")
        if self.predictor is not None and self.supernet:
            raise RunError(f"--accuracy {PUBLISHED}FILE is asked in place of a supernet; leave out --supernet")
        if self.predictor is not None and not self.predictor.is_file():
            raise ArchiveError(f"no predictor at {self.predictor}; give --accuracy {PUBLISHED}acc_predictor.pth")
        if self.rounds and not self.data:
            raise RunError("--rounds asks the supernet for accuracies; give --data")
        if self.val_images is not None and not self.data:
            raise RunError("--val-images says on how many images of --data networks are evaluated; give --data")
        if self.data:
            preset(self.data)

    @property
    def predictor(self) -> Path | None:
        """The file of the predictor that accuracies are asked of, if it is one that others published."""
        given = str(self.accuracy or "")
        return Path(given.removeprefix(PUBLISHED)) if given.startswith(PUBLISHED) else None

    @property
    def archive(self) -> Path | None:
        """The file that accuracies are taken from, if they are asked of nobody. Raises `ArchiveError`."""
        if self.predictor is not None:
            return None
        return find_archive(self.accuracy or DEFAULT) if self.accuracy or not self.data else None

    def identity(self) -> dict[str, Any]:
        """What makes two trainings the same one: all but the table, since supernet and accuracies serve any."""
        return {
            "data": self.data and locate_data(self.data),
            "supernet_sha256": sha256_of(self.supernet) if self.supernet else None,
            "accuracy_sha256": sha256_of(given) if (given := self.predictor or self.archive) else None,
            "method": self.method,
            "seed": self.seed,
            "architectures": self.architectures,
            "rounds": self.rounds,
            "resolution": self.resolution,
            "epochs": self.epochs,
            "val_images": self.val_images,
        }
