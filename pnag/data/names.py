"""How people and programs name the parts of a data set, and what else they leave in its folders."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePath

from lut.words import printable
from pnag.errors import DataError

Tell = Callable[[str], None]

# The parts, each with the names in use for it, in any case.
PART_NAMES: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "validate", "dev"),
    "test": ("test", "testing", "tst", "eval", "evaluation", "holdout"),
}
_PARTS = {name: part for part, names in PART_NAMES.items() for name in names}
_WORDS = re.compile(r"[a-z]+", re.IGNORECASE)

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".ppm", ".pgm", ".pbm", ".pnm", ".bmp", ".dib", ".tif",
    ".tiff", ".webp", ".gif", ".jp2", ".tga", ".avif",
)  # fmt: skip
# Folders of operating systems, file servers, editors and version control. Hidden ones (`.name`) are all left out.
_STRAY_FOLDERS = (
    "__macosx", "@eadir", "#recycle", "@recycle", "$recycle.bin", "system volume information", "lost+found",
    "__pycache__", "_gsdata_",
)  # fmt: skip


def part_of(name: str) -> str | None:
    """`train`, `val` or `test` for the name of a folder or file with a word for one of them in it, else None."""
    found = {part for word in _WORDS.findall(name) if (part := _PARTS.get(word.lower()))}
    return found.pop() if len(found) == 1 else None


def is_stray(name: str) -> bool:
    """Whether a folder or file of that name is no one's data: hidden, or left by a system or a tool."""
    return name.startswith((".", "~$")) or name.lower() in _STRAY_FOLDERS


def is_image(name: str) -> bool:
    """Whether a file is a picture by its name."""
    return not is_stray(name) and PurePath(name).suffix.lower() in IMAGE_SUFFIXES


def one_of(found: Sequence[Path], folder: Path, what: str) -> Path:
    """The one candidate. Raises `DataError` that lists them where there are several."""
    if len(found) > 1:
        names = ", ".join(shown(path, folder) for path in found[:6]) + (", …" if len(found) > 6 else "")
        raise DataError(f"{printable(folder)} has {len(found)} candidates for {what}: {names}; keep or name one")
    return found[0]


def shown(path: Path, folder: Path) -> str:
    """`path` below `folder`, printably; `.` for the folder itself."""
    inside = path.relative_to(folder) if path.is_relative_to(folder) else path
    return printable(inside.as_posix())


def tell_left_out(left_out: Iterable[Path], folder: Path, tell: Tell) -> None:
    """One notice of the files that are no pictures by their names: how many, and of which kinds."""
    files = sorted(left_out)
    if not files:
        return
    kinds = Counter("._*" if path.name.startswith("._") else f"*{path.suffix.lower()}" if path.suffix else path.name
                    for path in files)  # fmt: skip
    most = ", ".join(f"{count} {printable(kind, 30)}" for kind, count in kinds.most_common(4))
    count = "1 file" if len(files) == 1 else f"{len(files)} files"
    tell(f"{count} of {printable(folder)} left out, no pictures by name ({most}), such as {shown(files[0], folder)}")
