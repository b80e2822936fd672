"""The demo in a short form: a space of 15 blocks, the real commands, at first in processes of their own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from pnag import demo
from pnag.demo import DEVICE, budgets_within, demonstrate, report
from tests.pnag.commands import MAIN, runner

SPACE = """
name = "small"
width = 0.5
depths = [1, 2]
kernels = [3, 5, 7]
expands = [3, 6]
unit_channels = [24]
unit_strides = [2]
unit_activations = ["hswish"]
unit_squeeze_excite = [true]
final_expand_channels = 64
feature_channels = 64
"""
SIZE = "--resolution 32 --classes 10 --calibrate 4 --holdout 3 --max-minutes 2 --stop rounds,min_rounds=3"
LEARNING = "--epochs 0.5 --architectures 20 --method random"
_LONGEST_S = 240.0


def test_budgets_lie_within_the_range():
    assert budgets_within(1.0, 3.0) == ["1.5ms", "2ms", "2.5ms"]


def test_the_report_has_what_is_now_beside_what_is_at_the_tables_speed():
    network = {
        "budget_ms": 2.0, "cost_ms": 1.8, "measured_ms": 1.9, "kept": True, "measured_now_ms": 2.5,
        "test_accuracy": 0.5, "file_accuracy": {"tflite": 0.5},
    }  # fmt: skip
    heads, line = report([network]).splitlines()
    assert heads.split()[:5] == ["budget", "predicted", "measured", "kept", "now"]
    assert line.split()[:9] == ["2.000", "ms", "1.800", "ms", "1.900", "ms", "yes", "2.500", "ms"]


@pytest.fixture
def commands_here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From when it is called, the demo's commands run in this process, which has loaded what they need."""

    def run(words: Sequence[str], **_: object) -> subprocess.CompletedProcess[str]:
        ended = runner(MAIN[Path(words[0]).name], capsys, monkeypatch)(*words[1:])
        return subprocess.CompletedProcess(words, ended.code, ended.out, ended.err)

    return lambda: monkeypatch.setattr(demo, "subprocess", SimpleNamespace(run=run, PIPE=subprocess.PIPE))


@pytest.mark.slow
def test_it_works_after_an_interrupt_and_again_at_once(tmp_path: Path, commands_here: Callable[[], None]) -> None:
    code = (
        "import pathlib, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # whoever started us
        "from pnag.demo import demonstrate; demonstrate(pathlib.Path(sys.argv[1]), *sys.argv[2:])"
    )
    words = [sys.executable, "-c", code, str(tmp_path), SIZE, LEARNING, SPACE]
    first = subprocess.Popen(words, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until_s = time.monotonic() + _LONGEST_S
    while not (tmp_path / f"{DEVICE}.journal").exists() and first.poll() is None and time.monotonic() < until_s:
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGINT)
    assert first.wait() != 0
    for _ in range(2):
        networks = demonstrate(tmp_path, SIZE, LEARNING, SPACE)
        assert len(networks) == 3
        for network in networks:
            assert network["measured_ms"] > 0
            assert network["kept"] == (network["measured_ms"] <= network["budget_ms"])
            assert network["device_slowdown"] is not None
            assert network["test_accuracy"] is not None
        commands_here()
