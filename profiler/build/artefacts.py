"""Blocks and networks as the files that a back-end runs, kept in a cache by content.

A factory makes artefacts of one format; the session asks a back-end for its format and takes the factory from
`FACTORIES`. Files are named by the hash of all that determines them, appear whole or not at all, and
the least recently used go when the cache is full.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from devices.backend import Artefact, ArtefactFormat
from lut.blocks import BlockSpec
from profiler.build.files_in_use import FilesInUse
from profiler.errors import CacheError, ExportError

# format -> "module:function"; the function takes a cache, the batch and keyword options, returns a factory.
FACTORIES: Mapping[str, str] = {
    "onnx": "profiler.build.export_onnx:onnx_factory",
    "tflite": "profiler.build.export_tflite:tflite_factory",
    "torch": "profiler.build.export_torch:torch_factory",
    "specs": "profiler.build.artefacts:specs_factory",
}

# format -> "module:function" that fills the cache with many files at once, by several processes.
CONVERTERS: Mapping[str, str] = {"tflite": "profiler.build.convert_blocks:convert_blocks"}

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


def open_factory(format: ArtefactFormat, cache: ArtefactCache, batch: int, **options: Any) -> ArtefactFactory:
    """The factory of a format. `options` (for instance precision) are the factory's own."""
    target = FACTORIES.get(format)
    if target is None:
        raise ExportError(f"no factory makes artefacts of format '{format}'; known are {', '.join(FACTORIES)}")
    module, _, function = target.partition(":")
    return cast(ArtefactFactory, getattr(import_module(module), function)(cache, batch, **options))


def ahead_of(format: ArtefactFormat, factory: ArtefactFactory) -> Ahead | None:
    """How to fill the factory's cache in advance; None where making one file after the other is quick enough."""
    target = CONVERTERS.get(format)
    if target is None or not hasattr(factory, "is_cached"):
        return None
    module, _, function = target.partition(":")
    convert = getattr(import_module(module), function)
    return lambda wanted, on_done, max_s: cast(dict[str, str], convert(wanted, factory, on_done=on_done, max_s=max_s))


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


def specs_factory(cache: ArtefactCache, batch: int, **options: Any) -> SpecsFactory:
    """A factory that needs no cache and has no options."""
    return SpecsFactory(batch)


def default_cache_dir() -> Path:
    """$PNAG_CACHE, or pnag under the user's cache directory."""
    if own := os.environ.get("PNAG_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pnag"


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
