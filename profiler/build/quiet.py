"""Converters that print to the process's own stdout and stderr, kept quiet without losing what they say."""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress

_STREAMS = (1, 2)


@contextmanager
def quiet(*, debug: bool = False) -> Iterator[Callable[[], str]]:
    """Keep everything written to file descriptors 1 and 2 in the body out of sight, C++ libraries' too.

    Gives a function that returns what was said so far. With `debug` nothing is held back, and the function
    returns "". The redirection is the whole process's: other threads' output is held back too.
    """
    if debug:
        yield lambda: ""
        return
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:

        def said() -> str:
            log.flush()
            text = os.pread(log.fileno(), os.fstat(log.fileno()).st_size, 0)
            return text.decode("utf-8", "replace")

        _flush()
        saved = [os.dup(stream) for stream in _STREAMS]
        try:
            for stream in _STREAMS:
                os.dup2(log.fileno(), stream)
            with redirect_stdout(log), redirect_stderr(log):
                yield said
        finally:
            _flush()
            for stream, copy in zip(_STREAMS, saved, strict=True):
                os.dup2(copy, stream)
                os.close(copy)


def _flush() -> None:
    """Empty the buffers above the descriptors: Python's, and the C library's of every loaded extension."""
    for python_stream in (sys.stdout, sys.stderr):
        with suppress(ValueError, OSError):
            python_stream.flush()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).fflush(None)


def cause_of(error: BaseException, log: str = "", limit: int = 300) -> str:
    """Why a conversion failed, as one line: the compiler's own complaint from `log`, else the exception's text."""
    complaints = [line for line in log.splitlines() if "error:" in line.lower()]
    lines = [line for line in (*complaints, *str(error).splitlines()) if line.strip()]
    line = " ".join(lines[0].split()) if lines else type(error).__name__
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
