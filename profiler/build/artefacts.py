"""Blocks and networks as the files that a back-end runs, kept in a cache by content.

A factory makes artefacts of one format; the session asks a back-end for its format and takes the factory from
`FORMATS`. Files are named by the hash of all that determines them, appear whole or not at all, and
the least recently used go when the cache is full.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from devices.backend import Artefact, ArtefactFormat
from devices.host.places import cache_folder
from lut.blocks import BlockSpec
from profiler.build.files_in_use import FilesInUse
from profiler.errors import CacheError, ExportError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Format:
    """An artefact format by its functions, as "module:function": they are imported when they are used.

    `factory` takes a cache, the batch and the device's precision, and returns a `NetworkFactory`, which knows all else
    of its format. `ahead` fills the cache with many files at once, by several processes; None where making one file
    after the other is quick enough.
    """

    factory: str
    ahead: str | None = None


FORMATS: Mapping[ArtefactFormat, Format] = {
    "onnx": Format("profiler.build.export_onnx:onnx_factory"),
    "tflite": Format("profiler.build.export_tflite:tflite_factory", "profiler.build.convert_blocks:convert_blocks"),
    "torch": Format("profiler.build.export_torch:torch_factory"),
    "specs": Format("profiler.build.artefacts:specs_factory"),
}

_DEFAULT_LIMIT_BYTES = 4 << 30
_TORN_S = 86400.0  # nothing takes so long to write

# Specs by name, who is told each name as it is dealt with, and the seconds it may take; returns the reasons of those
# that failed.
Ahead = Callable[[Mapping[str, Sequence[BlockSpec]], Callable[[str], None], float], dict[str, str]]


class ArtefactFactory(Protocol):
    """Makes artefacts of one format at one batch size.

    A factory with `is_cached(specs)` makes files that take a while, unless they are there already.
    """

    def identity(self) -> Mapping[str, Any]:
        """What its artefacts depend on beside their blocks: format, versions, weights; JSON values."""

    def make(self, name: str, specs: Sequence[BlockSpec]) -> Artefact:
        """The block (one spec) or network of that name. Raises `ExportError` if it cannot be exported."""


class NetworkFactory(ArtefactFactory, Protocol):
    """One that takes networks with weights of their own too."""

    def of_network(self, name: str, network: nn.Module, specs: Sequence[BlockSpec], stem: Path) -> Artefact:
        """A network (eval mode) made of these blocks; a format of files writes one at `stem` and its suffix.

        Raises `ExportError` if it cannot be exported.
        """

    def of_file(self, name: str, specs: Sequence[BlockSpec], path: Path) -> Artefact:
        """A network made of these blocks that is in a file already, byte for byte."""

    def of_module(
        self, name: str, build: Callable[[], nn.Module], image: tuple[int, int, int], about: Mapping[str, Any]
    ) -> Artefact:
        """A network of other layers, which `build` makes, with random weights, for images of that shape (C, H, W).

        A format of files keeps it in the cache: `about` (JSON values) and the image determine it. Raises `ExportError`.
        """


def open_factory(
    format: ArtefactFormat, cache: ArtefactCache, batch: int, precision: str = "float32"
) -> NetworkFactory:
    """The factory of a format, for a device that computes in `precision`."""
    known = FORMATS.get(format)
    if known is None:
        raise ExportError(f"no factory makes artefacts of format '{format}'; known are {', '.join(FORMATS)}")
    return cast(NetworkFactory, _function(known.factory)(cache, batch, precision))


def ahead_of(format: ArtefactFormat, factory: ArtefactFactory) -> Ahead | None:
    """How to fill the factory's cache in advance; None where making one file after the other is quick enough."""
    ahead = FORMATS[format].ahead
    if ahead is None or not hasattr(factory, "is_cached"):
        return None
    convert = _function(ahead)
    return lambda wanted, on_done, max_s: cast(dict[str, str], convert(wanted, factory, on_done=on_done, max_s=max_s))


def _function(target: str) -> Callable[..., Any]:
    module, _, function = target.partition(":")
    return cast(Callable[..., Any], getattr(import_module(module), function))


def input_shape(specs: Sequence[BlockSpec], batch: int) -> tuple[int, int, int, int]:
    """Batch, channels, height and width of what a sequence of blocks takes."""
    return (batch, *specs[0].input_shape)


class SpecsFactory:
    """Artefacts without a file, for back-ends that compute."""

    def __init__(self, batch: int) -> None:
        self._batch = batch

    def identity(self) -> Mapping[str, Any]:
        """Nothing but the batch."""
        return {"format": "specs", "batch": self._batch}

    def make(self, name: str, specs: Sequence[BlockSpec]) -> Artefact:
        """The specs themselves."""
        return Artefact(name, "specs", input_shape(specs, self._batch), module=tuple(specs))

    def of_network(self, name: str, network: nn.Module, specs: Sequence[BlockSpec], stem: Path) -> Artefact:
        """The specs: what a network costs does not depend on its weights."""
        return self.make(name, specs)

    def of_file(self, name: str, specs: Sequence[BlockSpec], path: Path) -> Artefact:
        """The same."""
        return self.make(name, specs)

    def of_module(
        self, name: str, build: Callable[[], nn.Module], image: tuple[int, int, int], about: Mapping[str, Any]
    ) -> Artefact:
        """A name and a shape: what it costs is made up, and nothing is built."""
        return Artefact(name, "specs", (self._batch, *image))


def specs_factory(cache: ArtefactCache, batch: int, precision: str) -> SpecsFactory:
    """A factory that needs neither a cache nor a precision."""
    return SpecsFactory(batch)


def default_cache_dir() -> Path:
    """$PNAG_CACHE, or pnag under the user's cache directory. Raises `CacheError` where there is no home folder."""
    folder = cache_folder()
    if folder is None:
        raise CacheError("there is no home folder to keep exported files in; set --cache or $PNAG_CACHE")
    return folder


class ArtefactCache:
    """Files by content under one directory, at most `limit_bytes` of them in all.

    What this object has handed out, or was asked for, stays as long as its process lives, whatever the limit and
    whoever trims: several processes may share a directory.
    """

    def __init__(self, directory: Path | None = None, limit_bytes: int = _DEFAULT_LIMIT_BYTES) -> None:
        self._directory = (directory or default_cache_dir()) / "artefacts"
        self._limit_bytes = limit_bytes
        self._in_use = FilesInUse(self._directory / ".in-use")

    def path(self, identity: Mapping[str, Any], suffix: str, write: Callable[[Path], None]) -> Path:
        """The file that `identity` (JSON values) determines; `write` makes it at the path that it is given.

        Raises `CacheError` where the cache cannot be written; errors of `write` leave nothing behind.
        """
        path = self._locate(identity, suffix)
        try:
            if self._is_there(path):
                return path
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{os.getpid()}.{path.name}")
            try:
                write(temporary)
                temporary.replace(path)
            finally:
                with suppress(OSError):
                    temporary.unlink(missing_ok=True)
            self._trim()
        except OSError as error:
            raise CacheError(
                f"cannot write the cache at {self._directory}: {error.strerror or error}; set --cache or $PNAG_CACHE"
            ) from error
        return path

    def find(self, identity: Mapping[str, Any], suffix: str) -> Path | None:
        """The file that `identity` determines, if it is there already."""
        path = self._locate(identity, suffix)
        try:
            return path if self._directory.is_dir() and self._is_there(path) else None
        except OSError:  # it cannot be written: then nothing is removed from it either
            return path if path.is_file() else None

    def _is_there(self, path: Path) -> bool:
        """Whether the file is there; from now on it is in use."""
        with self._in_use.turn():
            self._in_use.add(path.name)
            there = path.is_file()
            if there:
                os.utime(path)
        return there

    def _locate(self, identity: Mapping[str, Any], suffix: str) -> Path:
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        name = hashlib.sha256(text.encode()).hexdigest()
        return self._directory / name[:2] / f"{name}{suffix}"

    def _trim(self) -> None:
        with self._in_use.turn():
            self._drop_torn()
            files = [(entry.stat().st_mtime, entry.stat().st_size, entry) for entry in self._directory.glob("??/[!.]*")]
            total = sum(size for _, size, _ in files)
            used = self._in_use.names() if total > self._limit_bytes else set()
            for _, size, path in sorted(files):
                if total <= self._limit_bytes:
                    return
                if path.name not in used:
                    path.unlink(missing_ok=True)
                    total -= size

    def _drop_torn(self) -> None:
        """Remove what processes that were killed had begun to write."""
        for path in self._directory.glob("??/.*"):
            with suppress(FileNotFoundError):  # another process was just done with it
                if time.time() - path.stat().st_mtime > _TORN_S:
                    path.unlink(missing_ok=True)
