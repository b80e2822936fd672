from __future__ import annotations

import os
import subprocess
import sys

import pytest

from profiler.build.quiet import cause_of, quiet

_SCRIPT = """
import ctypes, os, sys
from profiler.build.quiet import quiet
with quiet() as said:
    print("python")
    sys.stderr.write("to stderr\\n")
    os.write(1, b"descriptor\\n")
    ctypes.CDLL(None).printf(b"buffered by the C library\\n")
    ctypes.CDLL(None).fflush(None)
    heard = said()
print(sorted(heard.split("\\n")))
print("after", file=sys.stderr)
"""


def test_nothing_of_any_layer_gets_out_and_nothing_is_lost() -> None:
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout == "['', 'buffered by the C library', 'descriptor', 'python', 'to stderr']\n"
    assert done.stderr == "after\n"


def test_streams_are_back_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="inside"), quiet():
        raise ValueError(f"inside, after {os.write(2, b'hidden')} bytes")
    os.write(1, b"shown\n")
    assert capfd.readouterr() == ("shown\n", "")


def test_debugging_holds_nothing_back(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet(debug=True) as said:
        os.write(1, b"shown\n")
        assert said() == ""
    assert capfd.readouterr().out == "shown\n"


@pytest.mark.parametrize(
    ("error", "log", "cause"),
    [
        (RuntimeError("first\nsecond"), "I0000 working\n", "first"),
        (RuntimeError("failed"), 'loc("x"): error: op is not\t legal\n', 'loc("x"): error: op is not legal'),
        (KeyError(), "", "KeyError"),
        (RuntimeError("x" * 400), "", "x" * 299 + "…"),
    ],
)
def test_the_cause_is_one_line(error: Exception, log: str, cause: str) -> None:
    assert cause_of(error, log) == cause
