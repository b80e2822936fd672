"""The accuracy archive: which architectures have which accuracy, by whom it was measured, as a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from lut.files import replacing
from pnag.accuracy.provenance import Provenance
from pnag.errors import ArchitectureError, ArchiveError, SpaceError
from pnag.space.architecture import Architecture
from pnag.space.search_space import SearchSpace
from pnag.space.tokens import Tokens

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1
METADATA_KEY = b"archive"
_SMALLEST_SIDE = 32  # of images, in pixels
_SHIPPED_FOLDER = Path(__file__).parent / "archives"
# What comes with the program, by name: accuracies of networks of the default space, with their origin inside.
SHIPPED: Mapping[str, Path] = {
    "imagenet": _SHIPPED_FOLDER / "imagenet-w1.2.parquet",
    "cifar10": _SHIPPED_FOLDER / "cifar10-w1.2.parquet",
}
DEFAULT = "imagenet"

Array = NDArray[np.float64]
Sides = NDArray[np.int64]


def find_archive(name: str | Path) -> Path:
    """The file of an archive that comes with the program by its name, else the path as it is given.

    Raises `ArchiveError` where there is no such file.
    """
    path = SHIPPED.get(str(name), Path(name))
    if not path.is_file():
        raise ArchiveError(f"no archive at {path}; give a .parquet or .csv file, or one of {', '.join(SHIPPED)}")
    return path


@dataclass(frozen=True, eq=False)
class AccuracyArchive:
    """Accuracies of architectures of one space; a device has no part in it.

    `tokens` (n, length) int8, `accuracy` (n,) in 0 … 1 on the split named by `split`, `test_accuracy` (n,) or
    None. `source` says where they come from: `supernet` (a hash), `data` (an identity), `recipe`, or who else says
    so; empty for others' files. `resolutions` (n,) are sides of the images in pixels where rows differ in it,
    None where all are of the space's.
    """

    space: SearchSpace
    tokens: Tokens
    accuracy: Array
    test_accuracy: Array | None = None
    split: str = "val"
    source: Mapping[str, Any] = field(default_factory=dict)
    resolutions: Sides | None = None

    def __len__(self) -> int:
        return len(self.accuracy)

    @property
    def architectures(self) -> list[Architecture]:
        """The architectures in order."""
        return self.space.decode(self.tokens)

    @property
    def sha256(self) -> str:
        """Hash over architectures and accuracies, whatever the order of the rows and the file's kind."""
        sides = [""] * len(self) if self.resolutions is None else [f"@{side}" for side in self.resolutions.tolist()]
        rows = zip(self.architectures, sides, self.accuracy.tolist(), self._test_values(), strict=True)
        text = "\n".join(sorted(f"{network}{side} {accuracy!r} {test!r}" for network, side, accuracy, test in rows))
        return hashlib.sha256(f"{self.split}\n{text}".encode()).hexdigest()

    @property
    def provenance(self) -> Provenance:
        """Of which images these accuracies are, and who says so."""
        return Provenance.of(self.source, split=self.split)

    def at(self, resolution: int) -> Self:
        """The rows of that resolution, or of the nearest that there is; the result's `space` tells which.

        Of two that are as near, the larger. An archive of one resolution is returned as it is.
        """
        if self.resolutions is None:
            return self
        nearest = max(set(self.resolutions.tolist()), key=lambda side: (-abs(side - resolution), side))
        rows = self.resolutions == nearest
        return replace(
            self,
            space=replace(self.space, resolution=nearest),
            tokens=self.tokens[rows],
            accuracy=self.accuracy[rows],
            test_accuracy=None if self.test_accuracy is None else self.test_accuracy[rows],
            resolutions=None,
        )

    def _test_values(self) -> Sequence[float | None]:
        return [None] * len(self) if self.test_accuracy is None else self.test_accuracy.tolist()

    # -- files ------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write `.parquet` with all metadata, or `.csv` with the columns alone; whole or not at all."""
        import pandas as pd

        path = Path(path)
        columns: dict[str, Any] = {"architecture": [str(a) for a in self.architectures], "accuracy": self.accuracy}
        if self.resolutions is not None:
            columns["resolution"] = self.resolutions
        if self.test_accuracy is not None:
            columns["test_accuracy"] = self.test_accuracy
        frame = pd.DataFrame({**columns, "split": self.split})
        if path.suffix == ".csv":
            with replacing(path) as temporary:
                frame.to_csv(temporary, index=False)
            return
        if path.suffix != ".parquet":
            raise ArchiveError(f"{path.name} has an unknown suffix; write an archive as .parquet or .csv")
        import pyarrow as pa
        import pyarrow.parquet as pq

        metadata = {
            "schema_version": SCHEMA_VERSION,
            "space": self.space.to_dict(),
            "source": dict(self.source),
            "content_sha256": self.sha256,
        }
        table = pa.Table.from_pandas(frame, preserve_index=False)
        kept = {**(table.schema.metadata or {}), METADATA_KEY: json.dumps(metadata).encode()}
        with replacing(path) as temporary:
            pq.write_table(table.replace_schema_metadata(kept), temporary, compression="zstd")

    @classmethod
    def load(cls, path: str | Path, space: SearchSpace) -> Self:
        """Read a parquet or CSV file whose rows are of `space`.

        The columns `architecture` and `accuracy` are enough. In ours, width and choices of the file's space must
        be those of `space`, while resolution and classes may differ: the archive's `space` then tells them. Of a file
        with a column `resolution`, the rows of the space's are taken, or of the nearest: `whole` has all of them.
        Raises `ArchiveError` naming the row.
        """
        return cls.whole(path, space).at(space.resolution)

    @classmethod
    def whole(cls, path: str | Path, space: SearchSpace) -> Self:
        """All rows of a file, whatever their resolution; otherwise as `load`."""
        path = Path(path)
        frame, metadata = _read(path)
        if metadata is not None:
            space = _space_of(path, metadata, space)
        archive = cls._from_frame(path, frame, space, (metadata or {}).get("source", {}))
        if metadata is not None and archive.sha256 != metadata.get("content_sha256"):
            raise ArchiveError(f"archive {path} is damaged: its rows do not match its hash; make it again")
        return archive

    @classmethod
    def _from_frame(cls, path: Path, frame: pd.DataFrame, space: SearchSpace, source: Mapping[str, Any]) -> Self:
        for column in ("architecture", "accuracy"):
            if column not in frame.columns:
                raise ArchiveError(
                    f"archive {path.name} has columns {', '.join(map(str, frame.columns))}; "
                    "it needs 'architecture' and 'accuracy'"
                )
        if frame.empty:
            raise ArchiveError(f"archive {path.name} has no rows; give architectures with their accuracies")
        sides = _resolutions(path, frame) if "resolution" in frame.columns else None
        tokens = _tokens(path, frame["architecture"].tolist(), None if sides is None else sides.tolist(), space)
        test = _accuracies(path, frame, "test_accuracy") if "test_accuracy" in frame.columns else None
        splits = sorted({str(value) for value in frame["split"]}) if "split" in frame.columns else ["unknown"]
        if len(splits) > 1:
            raise ArchiveError(f"archive {path.name} mixes the splits {', '.join(splits)}; keep the rows of one")
        return cls(space, tokens, _accuracies(path, frame, "accuracy"), test, splits[0], source, sides)


def _read(path: Path) -> tuple[pd.DataFrame, dict[str, Any] | None]:
    """The rows, and our metadata if the file has it."""
    import pandas as pd

    if not path.is_file():
        raise ArchiveError(f"no archive at {path}; give a .parquet or .csv file")
    try:
        if path.suffix == ".csv":
            return pd.read_csv(path), None
        import pyarrow.parquet as pq

        table = pq.read_table(path)
        raw = (table.schema.metadata or {}).get(METADATA_KEY)
        metadata = None if raw is None else json.loads(raw)
        return table.to_pandas(), metadata
    except (OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise ArchiveError(f"archive {path} cannot be read ({reason}); give an intact .parquet or .csv file") from error


def _space_of(path: Path, metadata: Mapping[str, Any], space: SearchSpace) -> SearchSpace:
    version = metadata.get("schema_version")
    if version != SCHEMA_VERSION:
        raise ArchiveError(
            f"archive {path} has schema version {version}, this program reads {SCHEMA_VERSION}; convert it"
        )
    try:
        own = SearchSpace.from_dict(metadata.get("space", {}))
        space.require_same_family(own, f"archive {path.name}")
    except SpaceError as error:
        raise ArchiveError(str(error)) from error
    return own


def _tokens(path: Path, texts: Sequence[object], sides: Sequence[int] | None, space: SearchSpace) -> Tokens:
    seen: dict[tuple[Architecture, int | None], int] = {}
    for row, text in enumerate(texts, start=1):
        try:
            architecture = Architecture.parse(str(text))
            space.check(architecture)
        except ArchitectureError as error:
            raise ArchiveError(f"row {row} of archive {path.name}: {error}; correct or remove the row") from error
        one = (architecture, None if sides is None else sides[row - 1])
        if one in seen:
            at = "" if sides is None else f" at {sides[row - 1]} pixels"
            raise ArchiveError(
                f"rows {seen[one]} and {row} of archive {path.name} are both {architecture}{at}; keep one of them"
            )
        seen[one] = row
    return space.encode(architecture for architecture, _ in seen)


def _resolutions(path: Path, frame: pd.DataFrame) -> Sides:
    import pandas as pd

    values = pd.to_numeric(frame["resolution"], errors="coerce").to_numpy(dtype=float)
    wrong = np.flatnonzero(~((values >= _SMALLEST_SIDE) & (values == np.floor(values))))
    if len(wrong):
        row = int(wrong[0])
        raise ArchiveError(
            f"row {row + 1} of archive {path.name} has resolution {frame['resolution'].iloc[row]}; "
            f"write the side of the images in whole pixels, {_SMALLEST_SIDE} or more"
        )
    return values.astype(np.int64)


def _accuracies(path: Path, frame: pd.DataFrame, column: str) -> Array:
    import pandas as pd

    values = pd.to_numeric(frame[column], errors="coerce").to_numpy(dtype=float)
    wrong = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if len(wrong) == 0:
        return values
    row = int(wrong[0])
    given = frame[column].iloc[row]
    advice = "remove the row or measure it"
    if 1 < values[row] <= 100:
        advice = "divide accuracies in percent by 100"
    raise ArchiveError(
        f"row {row + 1} of archive {path.name} has {column} {given}; accuracies are shares from 0 to 1: {advice}"
    )
