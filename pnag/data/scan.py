"""Which folder holds which part of a data set, which class folders it has, and which of their files are pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lut.words import printable
from pnag.data.names import PART_NAMES, Tell, is_image, is_stray, one_of, part_of, shown
from pnag.errors import DataError


@dataclass(frozen=True)
class Part:
    """A part's pictures by class folder, both in order, and the files that are none by their names."""

    folder: Path
    classes: Mapping[str, Sequence[Path]]
    left_out: Sequence[Path]


def find_parts(folder: Path, tell: Tell) -> tuple[Part, Part]:
    """The parts to train and to test on, of `folder` or the one folder in it that has them. Raises `DataError`."""
    base = _base(folder)
    train = scan(_part_folder(base, folder, "train"))
    tests = [scan(_part_folder(base, folder, part)) for part in ("test", "val") if _candidates(base, part)]
    if not tests:
        names = f"{_spellings('test')} or {_spellings('val')}"
        raise DataError(f"{printable(base)} has no part to test on; name a folder {names}")
    test = tests[0]
    if len(tests) > 1 and not test.classes.keys() & train.classes.keys():
        test = tests[1]
        tell(f"{shown(tests[0].folder, folder)} has no folder of a class, so {shown(test.folder, folder)} is tested on")
    for part in (train, test):
        if not part.classes:
            raise DataError(
                f"{printable(part.folder)} is not a folder of classes with images; "
                f"give a folder for each class, with pictures in it{_what_is_there(part)}"
            )
    odd = sorted(train.classes.keys() ^ test.classes.keys())
    if odd:
        raise DataError(
            f"class '{printable(odd[0])}' of {printable(folder)} is not in both the training and the test folder "
            f"({shown(train.folder, folder)} and {shown(test.folder, folder)}); give it in both"
        )
    for part in (train, test):
        empty = [name for name, files in part.classes.items() if not files]
        if empty:
            raise DataError(
                f"class '{printable(empty[0])}' has no picture in {printable(part.folder)}; "
                f"give it some, or remove it everywhere{_what_is_there(part)}"
            )
    return train, test


def _what_is_there(part: Part) -> str:
    if not part.left_out:
        return ""
    suffixes = sorted({path.suffix.lower() or path.name for path in part.left_out})
    return f" ({len(part.left_out)} files there are no pictures by name: {', '.join(map(printable, suffixes[:5]))})"


def _spellings(part: str) -> str:
    return ", ".join(PART_NAMES[part][:3])


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not is_stray(path.name))
    except OSError as error:
        raise _unlisted(folder, error) from error


def _candidates(base: Path, part: str) -> list[Path]:
    return [path for path in _folders(base) if part_of(path.name) == part]


def _base(folder: Path) -> Path:
    """The folder that has a training part: `folder`, or the one in it that does."""
    if _candidates(folder, "train"):
        return folder
    inside = [path for path in _folders(folder) if _candidates(path, "train")]
    if inside:
        return one_of(inside, folder, "a data set")
    there = ", ".join(printable(path.name, 40) for path in _folders(folder)[:6]) or "none"
    raise DataError(
        f"{printable(folder)} is not a folder of classes with images in parts: its folders are {there}, "
        f"and none is named {_spellings('train')}; see imagefolder:DIR"
    )


def _part_folder(base: Path, folder: Path, part: str) -> Path:
    """The folder of a part. What was unpacked into a folder of its own name lies one deeper."""
    found = one_of(_candidates(base, part), folder, f"the {part} part")
    inside = _folders(found)
    return inside[0] if len(inside) == 1 and part_of(inside[0].name) == part else found


def _below(folder: Path, within: tuple[tuple[int, int], ...]) -> Iterator[tuple[Path, list[str]]]:
    """A folder and those in it, links too, each with its files in order; none within itself, where a link leads back.

    `within` are the folders above, as the system numbers them. Raises `DataError` for one that cannot be listed.
    """
    about = folder.stat()
    here = (about.st_dev, about.st_ino)
    if here in within:
        return
    try:
        with os.scandir(folder) as listed:
            entries = sorted((entry.name, entry.is_dir()) for entry in listed)
    except OSError as error:
        raise _unlisted(folder, error) from error
    yield folder, [name for name, is_folder in entries if not is_folder]
    for name, is_folder in entries:
        if is_folder and not is_stray(name):
            yield from _below(folder / name, (*within, here))


def _unlisted(folder: Path, error: OSError) -> DataError:
    return DataError(f"{printable(folder)} cannot be listed ({error.strerror}); check its permissions")


def scan(folder: Path) -> Part:
    """Class folders with their pictures, those in deeper folders too."""
    classes: dict[str, Sequence[Path]] = {}
    left_out: list[Path] = []
    for place in _folders(folder):
        pictures: list[Path] = []
        for above, files in _below(place, ()):
            for name in files:
                (pictures if is_image(name) else left_out).append(above / name)
        classes[place.name] = pictures
    if not any(classes.values()):
        classes = {}
    return Part(folder, classes, left_out)
