"""The accuracy archive: which architectures have which accuracy, by whom it was measured, as a file."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from lut.files import replacing
from lut.formats.canonical import parse_json
from lut.formats.csvfile import separator_of
from lut.formats.parquet import read_arrow
from lut.words import first_line, printable, text_of
from pnag.accuracy.provenance import Provenance
from pnag.errors import ArchitectureError, ArchiveError, SpaceError
from pnag.space.architecture import Architecture
from pnag.space.form import MOST
from pnag.space.search_space import SearchSpace
from pnag.space.tokens import Tokens

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1
METADATA_KEY = b"archive"
_COLUMNS = ("architecture", "accuracy", "test_accuracy", "resolution", "split")
_MOST_BYTES = 256 << 20  # of all columns together: a million networks have less
_SMALLEST_SIDE = 1  # of images, in pixels: spaces of files may have images of any side
_SHIPPED_FOLDER = Path(__file__).parent / "archives"
# What comes with the program, by name: accuracies of networks of the default space, with their origin inside.
SHIPPED: Mapping[str, Path] = {
    "imagenet": _SHIPPED_FOLDER / "imagenet-w1.2.parquet",
    "cifar10": _SHIPPED_FOLDER / "cifar10-w1.2.parquet",
}
DEFAULT = "imagenet"

Array = NDArray[np.float64]


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
    so; empty for others' files. Where rows differ in resolution, it is a choice of `space`.
    """

    space: SearchSpace
    tokens: Tokens
    accuracy: Array
    test_accuracy: Array | None = None
    split: str = "val"
    source: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.accuracy)

    @property
    def architectures(self) -> list[Architecture]:
        """The architectures in order."""
        return self.space.decode(self.tokens)

    @property
    def sha256(self) -> str:
        """Hash over architectures and accuracies, whatever the order of the rows and the file's kind."""
        rows = zip(self.architectures, self.accuracy.tolist(), self._test_values(), strict=True)
        text = "\n".join(sorted(f"{architecture} {accuracy!r} {test!r}" for architecture, accuracy, test in rows))
        return hashlib.sha256(f"{self.split}\n{text}".encode()).hexdigest()

    @property
    def provenance(self) -> Provenance:
        """Of which images these accuracies are, and who says so."""
        return Provenance.of(self.source, split=self.split)

    def at(self, resolution: int) -> Self:
        """The rows of that resolution, or of the nearest that there is; the result's `space` tells which.

        Of two that are as near, the larger. An archive of one resolution is returned as it is.
        """
        if not self.space.resolutions:
            return self
        nearest = max(self.space.sides, key=lambda side: (-abs(side - resolution), side))
        rows = self.tokens[:, -1] == self.space.sides.index(nearest)
        return self._rows(rows, self.space.at(nearest), self.tokens[rows, :-1])

    def of_choice(self, sides: Sequence[int], name: str) -> Self:
        """The rows of these resolutions, in a space that chooses among them. Raises `ArchiveError` if one has none."""
        if not self.space.resolutions:
            raise ArchiveError(
                f"archive {name} does not say at which resolution its accuracies are, and the table has "
                f"{', '.join(map(str, sides))} pixels; give one with the column 'resolution', or profile one resolution"
            )
        if missing := sorted(set(sides) - set(self.space.sides)):
            raise ArchiveError(
                f"archive {name} has no accuracies at {missing[0]} pixels, which the table has; profile resolutions "
                f"among {', '.join(map(str, self.space.sides))}, or give another archive"
            )
        space = replace(self.space, resolution=max(sides), resolutions=tuple(sorted(sides)))
        of_side = np.array([space.sides.index(side) if side in sides else -1 for side in self.space.sides])
        index = of_side[self.tokens[:, -1]]
        rows = index >= 0
        tokens = np.concatenate([self.tokens[rows, :-1], index[rows, None].astype(np.int8)], axis=1)
        return self._rows(rows, space, tokens)

    def _rows(self, rows: NDArray[np.bool_], space: SearchSpace, tokens: Tokens) -> Self:
        test = None if self.test_accuracy is None else self.test_accuracy[rows]
        return replace(self, space=space, tokens=tokens, accuracy=self.accuracy[rows], test_accuracy=test)

    def _test_values(self) -> Sequence[float | None]:
        return [None] * len(self) if self.test_accuracy is None else self.test_accuracy.tolist()

    # -- files ------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write `.parquet` with all metadata, or `.csv` with the columns alone; whole or not at all."""
        import pandas as pd

        path = Path(path)
        networks = self.architectures
        columns: dict[str, Any] = {"architecture": [str(replace(a, resolution=None)) for a in networks]}
        if self.space.resolutions:
            columns["resolution"] = [architecture.resolution for architecture in networks]
        columns["accuracy"] = self.accuracy
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
        with replacing(path) as temporary, temporary.open("wb") as file:  # pyarrow takes no name that is not UTF-8
            pq.write_table(table.replace_schema_metadata(kept), file, compression="zstd")

    @classmethod
    def load(cls, path: str | Path, space: SearchSpace) -> Self:
        """Read a parquet or CSV file whose rows are of `space`.

        The columns `architecture` and `accuracy` are enough. In ours, width and choices of the file's space must
        be those of `space`, while resolution and classes may differ: the archive's `space` then tells them. Of a file
        with a column `resolution`, the rows of the space's are taken, or of the nearest: `whole` has all of them. A
        space of several resolutions needs accuracies at each. Raises `ArchiveError` naming the row.
        """
        archive = cls.whole(path, space)
        return archive.of_choice(space.sides, Path(path).name) if space.resolutions else archive.at(space.resolution)

    @classmethod
    def whole(cls, path: str | Path, space: SearchSpace) -> Self:
        """All rows of a file, whatever their resolution; otherwise as `load`."""
        path = Path(path)
        frame, metadata = _read(path)
        if metadata is not None:
            space = _space_of(path, metadata, space)
        source = (metadata or {}).get("source", {})
        try:
            Provenance.of(source)
        except (AttributeError, TypeError) as error:
            raise ArchiveError(
                f"archive {path.name} says in another form where it comes from ({printable(error, 80)}); make it again"
            ) from error
        archive = cls._from_frame(path, frame, space, source)
        if metadata is not None and archive.sha256 != metadata.get("content_sha256"):
            raise ArchiveError(f"archive {path} is damaged: its rows do not match its hash; make it again")
        return archive

    @classmethod
    def _from_frame(cls, path: Path, frame: pd.DataFrame, space: SearchSpace, source: Mapping[str, Any]) -> Self:
        for column in ("architecture", "accuracy"):
            if column not in frame.columns:
                raise ArchiveError(
                    f"archive {path.name} has columns {printable(', '.join(map(str, frame.columns)), 300)}; "
                    "it needs 'architecture' and 'accuracy'"
                )
        if frame.empty:
            raise ArchiveError(f"archive {path.name} has no rows; give architectures with their accuracies")
        sides = _resolutions(path, frame) if "resolution" in frame.columns else [None] * len(frame)
        networks = _architectures(path, frame["architecture"].tolist(), sides, space)
        found = sorted({side for network in networks if (side := network.resolution) is not None})
        if len(found) > 1:
            space = replace(space, resolution=found[-1], resolutions=tuple(found))
        elif found:
            space, networks = space.at(found[0]), [replace(network, resolution=None) for network in networks]
        else:
            space = space.at(space.resolution)
        test = _accuracies(path, frame, "test_accuracy") if "test_accuracy" in frame.columns else None
        splits = sorted({str(value) for value in frame["split"]}) if "split" in frame.columns else ["unknown"]
        if len(splits) > 1:
            raise ArchiveError(
                f"archive {path.name} mixes the splits {printable(', '.join(splits))}; keep the rows of one"
            )
        return cls(space, space.encode(networks), _accuracies(path, frame, "accuracy"), test, splits[0], source)


def _read(path: Path) -> tuple[pd.DataFrame, dict[str, Any] | None]:
    """The rows, and our metadata if the file has it."""
    if not path.is_file():
        raise ArchiveError(f"no archive at {path}; give a .parquet or .csv file")
    try:
        if path.suffix.lower() == ".csv":
            (frame, names), metadata = _csv_frame(path), None
        else:
            table = read_arrow(path, most_bytes=_MOST_BYTES)
            names, raw = table.column_names, (table.schema.metadata or {}).get(METADATA_KEY)
            metadata = None if raw is None else _mapping(parse_json(raw))
            frame = table.to_pandas(ignore_metadata=True)
    except Exception as error:  # damaged parquet leads to errors of every kind
        raise ArchiveError(
            f"archive {path} cannot be read ({first_line(error)}); give an intact .parquet or .csv file"
        ) from error
    if twice := next((name for name in _COLUMNS if names.count(name) > 1), None):
        raise ArchiveError(f"archive {path.name} has the column '{twice}' twice; keep one of them")
    return frame, metadata


def _csv_frame(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """The rows, and the columns' names as the file has them: pandas gives the second of two of a name another one."""
    import pandas as pd

    text = text_of(path.read_bytes())
    sign = separator_of(text)
    skipped = int(text.lower().startswith(f"sep={sign}"))  # a line that tells Excel
    how: dict[str, Any] = {"sep": sign, "decimal": "." if sign == "," else ",", "skiprows": skipped}
    first = pd.read_csv(io.StringIO(text), header=None, nrows=1, dtype=str, **how).iloc[0]
    frame = pd.read_csv(io.StringIO(text), float_precision="round_trip", low_memory=False, **how)
    return frame, [name.strip() for name in first.astype(str)]


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("what it says of itself is of another form")
    return value


def _space_of(path: Path, metadata: Mapping[str, Any], space: SearchSpace) -> SearchSpace:
    version = metadata.get("schema_version")
    if version != SCHEMA_VERSION:
        raise ArchiveError(
            f"archive {path} has schema version {version}, this program reads {SCHEMA_VERSION}; convert it"
        )
    try:
        own = SearchSpace.from_dict(metadata.get("space", {}))
    except SpaceError as error:
        raise ArchiveError(f"archive {path.name} is damaged ({printable(error, 160)}); make it again") from error
    try:
        space.require_same_family(own, f"archive {path.name}")
    except SpaceError as error:
        raise ArchiveError(str(error)) from error
    return own


def _architectures(
    path: Path, texts: Sequence[object], sides: Sequence[int | None], space: SearchSpace
) -> list[Architecture]:
    """Architectures with the resolution that their row has, in its column or in the text; None where it has none."""
    seen: dict[Architecture, int] = {}
    for row, (text, side) in enumerate(zip(texts, sides, strict=True), start=1):
        try:
            architecture = Architecture.parse(str(text))
            if side is not None and architecture.resolution not in (None, side):
                raise ArchitectureError(f"{architecture} in a row with resolution {side}")
            architecture = replace(architecture, resolution=side or architecture.resolution)
            space.at(architecture.resolution or space.resolution).check(architecture)
        except ArchitectureError as error:
            raise ArchiveError(f"row {row} of archive {path.name}: {error}; correct or remove the row") from error
        if architecture in seen:
            raise ArchiveError(
                f"rows {seen[architecture]} and {row} of archive {path.name} are both {architecture}; keep one of them"
            )
        seen[architecture] = row
    some = [architecture for architecture in seen if architecture.resolution is None]
    if some and len(some) < len(seen):
        raise ArchiveError(f"row {seen[some[0]]} of archive {path.name} has no resolution, others have; add it")
    return list(seen)


def _resolutions(path: Path, frame: pd.DataFrame) -> list[int]:

    values = _numbers(frame["resolution"])
    wrong = np.flatnonzero(~((values >= _SMALLEST_SIDE) & (values <= MOST) & (values == np.floor(values))))
    if len(wrong):
        row = int(wrong[0])
        raise ArchiveError(
            f"row {row + 1} of archive {path.name} has resolution {_shown(frame['resolution'], row)}; "
            f"write the side of the images in whole pixels, {_SMALLEST_SIDE} to {MOST}"
        )
    return [int(value) for value in values]


def _numbers(column: pd.Series[Any]) -> Array:
    """A column as numbers, texts of numbers too; NaN for what is none, such as true, dates and lists."""
    import pandas as pd

    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        column = column.astype(object).map(_plain)
    return np.asarray(pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=math.nan))


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    number = isinstance(value, int | float | str | np.integer | np.floating) and not isinstance(value, bool)
    return value if number else math.nan


def _shown(column: pd.Series[Any], row: int) -> str:
    return printable(column.iloc[row], 40)


def _accuracies(path: Path, frame: pd.DataFrame, column: str) -> Array:

    values = _numbers(frame[column])
    wrong = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if len(wrong) == 0:
        return values
    row = int(wrong[0])
    advice = "remove the row or measure it"
    if 1 < values[row] <= 100:
        advice = "divide accuracies in percent by 100"
    elif "%" in _shown(frame[column], row):
        advice = "write 0.75 for 75 %"
    raise ArchiveError(
        f"row {row + 1} of archive {path.name} has {column} {_shown(frame[column], row)}; "
        f"accuracies are shares from 0 to 1: {advice}"
    )
