import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from devices import locks
from devices.locks import HeldError, holding

_HOLDER = """
import sys
from pathlib import Path
from devices.locks import holding
with holding(Path(sys.argv[1]), "it", "wait"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lut" / "x.lock"


@pytest.fixture
def holder(path):
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def test_the_second_is_refused_in_one_line_that_names_the_first(path, holder):
    with pytest.raises(HeldError) as caught, holding(path, "x.parquet", "wait"):
        pass
    assert str(caught.value) == f"x.parquet is in use by process {holder.pid}; wait"
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_death_lets_it_go(path, holder, end):
    holder.send_signal(end)
    holder.wait()
    assert path.exists()
    with holding(path, "x", "wait"):
        assert path.read_text() == f"{os.getpid()}\n"
    assert not path.exists()


def test_it_can_be_held_again_after_the_end_or_an_error(path):
    for _ in range(2):
        with holding(path, "x", "wait"):
            pass
    with pytest.raises(ValueError, match="no"), holding(path, "x", "wait"):
        raise ValueError("no")
    with holding(path, "x", "wait"):
        pass


def test_it_is_held_against_the_same_process_too(path):
    with holding(path, "x", "wait"):
        with pytest.raises(HeldError, match=f"process {os.getpid()}"), holding(path, "x", "wait"):
            pass
        assert path.exists()


def test_a_file_that_its_holder_removed_meanwhile_is_not_taken_for_the_lock(path, monkeypatch):
    """Between our opening and our locking, the last holder ends: the file that we locked is nobody's any more."""
    before = locks.fcntl.flock
    calls = []

    def late(handle, how):
        if not calls:
            path.unlink()
        calls.append(handle)
        return before(handle, how)

    monkeypatch.setattr(locks.fcntl, "flock", late)
    with holding(path, "x", "wait"):
        assert len(calls) == 2
        assert path.exists()


def test_where_files_cannot_be_locked_work_goes_on(path, monkeypatch):
    def refuse(handle, how):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with holding(path, "x", "wait"):
        pass


def test_who_only_looks_at_a_lock_does_not_keep_it_from_being_taken(path, monkeypatch):
    """A check looks at what a dead session left, at the moment at which the next one begins."""
    path.parent.mkdir()
    path.write_text("a dead process")
    looking = os.open(path, os.O_RDONLY)
    locks.fcntl.flock(looking, locks.fcntl.LOCK_SH)
    monkeypatch.setattr(locks.time, "sleep", lambda s: os.close(looking))
    with holding(path, "x", "wait"):
        assert locks.holder(path) == f"process {os.getpid()}"


def test_a_lock_that_is_looked_at_for_ever_is_taken_for_held(path, monkeypatch):
    path.parent.mkdir()
    monkeypatch.setattr(locks.time, "sleep", lambda s: None)
    with path.open("w") as looking:
        locks.fcntl.flock(looking, locks.fcntl.LOCK_SH)
        with pytest.raises(HeldError), holding(path, "x", "wait"):
            pass
