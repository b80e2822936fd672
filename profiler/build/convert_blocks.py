"""Blocks and networks as `.tflite` files in advance, by several processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

import torch

from lut.blocks import BlockSpec
from profiler.build.export_tflite import TfliteFactory
from profiler.errors import ExportError

Wanted = Mapping[str, Sequence[BlockSpec]]


def convert_blocks(
    wanted: Wanted, factory: TfliteFactory, workers: int | None = None, *, on_done: Callable[[str], None] | None = None
) -> dict[str, str]:
    """Put the file of every block and network (specs by name) into the factory's cache, if it is not there.

    Returns the reasons of those that could not be converted, by name; `factory.make` then finds all others
    at once. `on_done` is told each name as it is dealt with. `workers` processes (all cores without it) take
    some seconds to start, then about 2 s a block and 13 s a network of 20 layers each. A file appears only
    when it was run and agrees with torch: after an interruption the next call goes on from there. Raises
    `CacheError` where the cache cannot be written.
    """
    missing = {name: tuple(specs) for name, specs in wanted.items() if not factory.is_cached(specs)}
    if on_done:
        for name in wanted.keys() - missing.keys():
            on_done(name)
    failures: dict[str, str] = {}
    for name, failure in _convert_missing(missing, factory, workers or os.cpu_count() or 1):
        if failure is not None:
            failures[name] = failure
        if on_done:
            on_done(name)
    return failures


def _convert_missing(missing: Wanted, factory: TfliteFactory, workers: int) -> Iterator[tuple[str, str | None]]:
    """Names as they are done, with the reason where there is no file."""
    if not missing:
        return
    # Processes are spawned, not forked: torch and the converter hold threads that a fork would lose.
    spawn = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(min(workers, len(missing)), spawn, _start_worker)
    try:
        # Networks first: the longest work last would leave all processes but one idle at the end.
        by_length = sorted(missing, key=lambda name: -len(missing[name]))
        names: dict[Future[None], str] = {
            pool.submit(_convert_one, factory, name, missing[name]): name for name in by_length
        }
        for future in as_completed(names):
            failure = future.exception()
            if isinstance(failure, BrokenProcessPool):
                yield names[future], "a converting process died, perhaps for lack of memory; use fewer workers"
            elif isinstance(failure, ExportError):
                yield names[future], str(failure)
            elif failure is not None:
                raise failure
            else:
                yield names[future], None
    except BaseException:  # an interrupt, too: nobody wants to wait for what is being converted
        for worker in set(multiprocessing.active_children()) - others:
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """Workers leave an interrupt to the process that started them: in the middle of a queue it would block all."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def _convert_one(factory: TfliteFactory, name: str, specs: Sequence[BlockSpec]) -> None:
    factory.make(name, specs)
