"""Blocks and networks as `.tflite` files in advance, by several processes."""

from __future__ import annotations

import math
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

import torch

from devices.host.allowance import usable_cores, usable_memory_bytes
from lut.blocks import BlockSpec
from profiler.build.export_tflite import TfliteFactory
from profiler.build.memory import activation_bytes
from profiler.errors import ExportError

Wanted = Mapping[str, Sequence[BlockSpec]]

_WORKER_BYTES = 1_500_000_000  # a converting process was seen to hold 1.3 GB
_DIED = "a converting process died, perhaps for lack of memory; use fewer workers"


def convert_blocks(
    wanted: Wanted,
    factory: TfliteFactory,
    workers: int | None = None,
    *,
    on_done: Callable[[str], None] | None = None,
    max_s: float = math.inf,
) -> dict[str, str]:
    """Put the file of every block and network (specs by name) into the factory's cache, if it is not there.

    Returns the reasons of those that could not be made, by name; `factory.make` then finds all others at once.
    `on_done` is told each name as it is dealt with. The converter first does the templates that are missing, then
    files are made in the order of `wanted`. `workers` processes (without it as many as cores and memory allow) take
    some seconds to start. After `max_s` all work stops: what is done is in the cache, the rest neither there nor among
    the reasons. A file appears only when it was run and agrees with torch. Raises `CacheError` where the cache cannot
    be written.
    """
    end_s = time.monotonic() + max_s
    missing = {name: tuple(specs) for name, specs in wanted.items() if not factory.is_cached(specs)}
    if on_done:
        for name in wanted.keys() - missing.keys():
            on_done(name)
    failures: dict[str, str] = {}
    most = max((activation_bytes(specs, factory.batch) for specs in missing.values()), default=0)
    workers = workers or workers_allowed(most)
    for name, failure in _convert_missing(missing, factory, workers, end_s):
        if failure is not None:
            failures[name] = failure
        if on_done:
            on_done(name)
    return failures


def workers_allowed(largest_bytes: int = 0) -> int:
    """How many converting processes this process may have: one for each core that it may use, if memory allows.

    `largest_bytes` are the activations of the largest file: it is run by torch and by the runtime, to be compared.
    """
    return max(1, min(usable_cores(), usable_memory_bytes() // (_WORKER_BYTES + 4 * largest_bytes)))


def _convert_missing(
    missing: Wanted, factory: TfliteFactory, workers: int, end_s: float
) -> Iterator[tuple[str, str | None]]:
    """Names as they are done, with the reason where there is no file."""
    if not missing:
        return
    # Processes are spawned, not forked: torch and the converter hold threads that a fork would lose.
    spawn = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(min(workers, len(missing)), spawn, _start_worker)
    try:
        patterns = factory.missing_templates(spec for specs in missing.values() for spec in specs)
        for learnt in _as_completed([pool.submit(factory.learn_template, pattern) for pattern in patterns], end_s):
            if isinstance(error := learnt.exception(), BrokenProcessPool):
                yield from ((name, _DIED) for name in missing)
                return
            if error is not None:
                raise error
        names = {pool.submit(_convert_one, factory, name, specs): name for name, specs in missing.items()}
        for future in _as_completed(list(names), end_s):
            failure = future.exception()
            if isinstance(failure, BrokenProcessPool):
                yield names[future], _DIED
            elif isinstance(failure, ExportError):
                yield names[future], str(failure)
            elif failure is not None:
                raise failure
            else:
                yield names[future], None
    except TimeoutError:
        _end(set(multiprocessing.active_children()) - others)
    except BaseException:  # an interrupt, too: nobody wants to wait for what is being converted
        _end(set(multiprocessing.active_children()) - others)
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _as_completed(futures: Sequence[Future[None]], end_s: float) -> Iterator[Future[None]]:
    """Futures as they are done; `TimeoutError` at `end_s`, a reading of the monotonic clock."""
    yield from as_completed(futures, None if math.isinf(end_s) else max(0.0, end_s - time.monotonic()))


def _end(workers: set[multiprocessing.process.BaseProcess]) -> None:
    for worker in workers:
        worker.terminate()


def _start_worker() -> None:
    """Workers leave an interrupt to the process that started them: in the middle of a queue it would block all."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def _convert_one(factory: TfliteFactory, name: str, specs: Sequence[BlockSpec]) -> None:
    factory.make(name, specs)
