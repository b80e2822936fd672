"""Many blocks as `.tflite` files, converted by several processes in advance and kept by content."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import torch

from lut.blocks import BlockSpec, parse_block
from profiler.errors import ExportError
from profiler.export_tflite import export_tflite
from profiler.modules import build_block, randomise
from profiler.parity import Precision

_RECIPE = 1  # raise it when what is written for the same block changes
_CONVERTERS = ("litert-torch", "litert-converter", "ai-edge-quantizer", "torch")


@dataclass
class ConvertedBlocks:
    """Files by block key, and why the others have none."""

    paths: dict[str, Path] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    reused: int = 0


def block_path(spec: BlockSpec, out_dir: Path, precision: Precision = "float32", batch: int = 1) -> Path:
    """Where a block's file is kept. The name changes with everything that determines the file's content."""
    versions = ",".join(f"{name}={version(name)}" for name in _CONVERTERS)
    identity = f"{_RECIPE};{spec.key};{precision};{batch};{versions}"
    return out_dir / f"{spec.key}-{precision}-b{batch}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}.tflite"


def convert_blocks(
    specs: Iterable[BlockSpec],
    out_dir: Path,
    precision: Precision = "float32",
    workers: int | None = None,
    *,
    batch: int = 1,
    on_done: Callable[[str], None] | None = None,
) -> ConvertedBlocks:
    """Convert every block that `out_dir` does not hold yet, each with the same random weights every time.

    A file appears only when it was run and agrees with torch, so that what an interrupted call left is good
    and the next call goes on from there. `workers` processes (all cores without it) take about 2 s a block
    and 8 s to start; `on_done` is told each key as its file, or its failure, is there.
    """
    result = ConvertedBlocks()
    wanted = {spec.key: block_path(spec, out_dir, precision, batch) for spec in specs}
    missing = {key: path for key, path in wanted.items() if not path.is_file()}
    result.paths = {key: path for key, path in wanted.items() if key not in missing}
    result.reused = len(result.paths)
    if on_done:
        for key in result.paths:
            on_done(key)
    for key, failure in _convert_missing(missing, precision, batch, workers or os.cpu_count() or 1):
        if failure is None:
            result.paths[key] = missing[key]
        else:
            result.failures[key] = failure
        if on_done:
            on_done(key)
    return result


def _convert_missing(
    missing: Mapping[str, Path], precision: Precision, batch: int, workers: int
) -> Iterator[tuple[str, str | None]]:
    """Keys as they are done, with the reason where there is no file."""
    if not missing:
        return
    # Processes are spawned, not forked: torch and the converter hold threads that a fork would lose.
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(missing)), spawn, torch.set_num_threads, (1,))
    try:
        keys: dict[Future[None], str] = {
            pool.submit(_convert_one, key, path, precision, batch): key for key, path in missing.items()
        }
        for future in as_completed(keys):
            failure = future.exception()
            if isinstance(failure, BrokenProcessPool):
                yield keys[future], "a converting process died, perhaps for lack of memory; use fewer workers"
            elif isinstance(failure, ExportError):
                yield keys[future], str(failure)
            elif failure is not None:
                raise failure
            else:
                yield keys[future], None
    finally:
        pool.shutdown(cancel_futures=True)


def _convert_one(key: str, path: Path, precision: Precision, batch: int) -> None:
    spec = parse_block(key)
    export_tflite(randomise(build_block(spec)), (batch, *spec.input_shape), path, precision)
