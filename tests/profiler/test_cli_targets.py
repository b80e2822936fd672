"""Several devices in one command."""

import threading
from pathlib import Path

import pytest

from profiler.cli_targets import SharedWatcher, StoppedError, run_each, targets
from profiler.errors import ProfilerError


class Log:
    def __init__(self):
        self.notes, self.total = [], 0

    def advance(self, amount=1.0, note=""):
        self.notes.append(note)

    def extend(self, amount):
        self.total += amount


def test_one_device_keeps_the_tables_name():
    (only,) = targets(["abc"], [], Path("lut/x.parquet"))
    assert (only.out, only.serial, only.label) == (Path("lut/x.parquet"), "abc", "")
    (none,) = targets([], [], Path("lut/x.parquet"))
    assert (none.serial, none.adb) == (None, None)


def test_several_have_tables_by_their_names():
    found = targets(["abc"], ["10.0.0.2:5555"], Path("lut/x.parquet"))
    assert [target.out.name for target in found] == ["x-abc.parquet", "x-10.0.0.2-5555.parquet"]
    assert [target.label for target in found] == ["abc", "10.0.0.2:5555"]


def test_the_same_device_twice_is_an_error():
    with pytest.raises(ProfilerError, match="named twice"):
        targets(["abc", "abc"], [], Path("x"))


def test_workers_run_together_and_one_view_names_each():
    log = Log()

    def work(index, watcher):
        watcher.extend(2)
        watcher.advance(1, "round 1")
        if index == 1:
            raise ValueError("broken")
        return index

    first, second = run_each(["a", "b"], work, log)
    assert first == 0
    assert isinstance(second, ValueError)
    assert sorted(log.notes) == ["a: round 1", "b: round 1"]
    assert log.total == 4


def test_an_interrupt_stops_every_worker():
    stopped = []

    class Interrupted(Log):
        def advance(self, amount=1.0, note=""):
            raise KeyboardInterrupt

    def work(index, watcher):
        try:
            watcher.advance()
        except KeyboardInterrupt:
            raise
        finally:
            stopped.append(index)

    with pytest.raises(KeyboardInterrupt):
        run_each(["a", "b"], work, Interrupted())
    assert sorted(stopped) == [0, 1]


def test_a_stopped_worker_says_how_to_go_on():
    stop = threading.Event()
    stop.set()
    with pytest.raises(StoppedError, match="run the same command again"):
        SharedWatcher(Log(), "a", threading.Lock(), stop).advance()
