"""How many threads compute: one for fitting, learning and answering, all for networks that run on images.

What is fitted and learnt is many small matrix products. Several threads wait for one another there, far longer than
they work where the machine has other work: five times the processor time on two busy cores.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import ParamSpec, TypeVar

from threadpoolctl import threadpool_info, threadpool_limits

_P = ParamSpec("_P")
_R = TypeVar("_R")


@dataclass(frozen=True)
class Threads:
    """So many threads of BLAS and of torch."""

    blas: int
    torch: int

    @classmethod
    def now(cls) -> Threads:
        """As they are set."""
        of_blas = [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]
        torch = sys.modules.get("torch")
        return cls(max(of_blas, default=1), torch.get_num_threads() if torch else 1)

    def given(self, work: Callable[_P, _R]) -> Callable[_P, _R]:
        """The same function; it has these threads as long as it runs."""

        @wraps(work)
        def called(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            with _set(self):
                return work(*args, **kwargs)

        return called


@contextmanager
def one_thread() -> Iterator[Threads]:
    """Within, or in a function that it decorates, numpy, scipy and torch compute on one thread.

    Yields how many there were before.

    >>> with one_thread() as before:
    ...     all_threads = before.given(sum)
    """
    before = Threads.now()
    with _set(Threads(1, 1)):
        yield before


@contextmanager
def _set(threads: Threads) -> Iterator[None]:
    torch = sys.modules.get("torch")  # never imported for this: answering does without it
    before = torch.get_num_threads() if torch else 1
    with threadpool_limits(threads.blas, "blas"):
        if torch:
            torch.set_num_threads(threads.torch)
        try:
            yield
        finally:
            if torch:
                torch.set_num_threads(before)
