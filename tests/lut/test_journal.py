import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lut.errors import OutputError
from lut.journal import DamagedJournalError, LineJournal, read_lines

ROWS = ({"n": 1}, {"n": 2, "text": "\u2026"}, {"n": 3})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs" / "x.jsonl"


def write(path, rows=ROWS):
    with LineJournal(path) as journal:
        journal.append(rows)


def test_what_was_appended_is_read_again(path):
    write(path)
    write(path, ROWS[:1])
    assert read_lines(path) == (*ROWS, ROWS[0])
    assert read_lines(path.with_name("none")) == ()


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_torn_last_line_is_dropped_and_written_over(path, cut):
    write(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    assert read_lines(path) == ROWS[:2]
    write(path, ROWS[2:])
    assert path.read_bytes() == whole


def test_a_last_line_whose_content_never_came_is_dropped_too(path):
    """After a power cut a file may be as long as it was to be, and hold zeros."""
    write(path)
    path.write_bytes(path.read_bytes() + bytes(4096))
    write(path, [{"n": 4}])
    assert read_lines(path) == (*ROWS, {"n": 4})


def test_reading_changes_nothing(path):
    write(path)
    torn = path.read_bytes() + b'{"n":'
    path.write_bytes(torn)
    assert read_lines(path) == ROWS
    assert path.read_bytes() == torn


@pytest.mark.parametrize("middle", [b"{", b"", b"\x00\x00", b'{"n": 1}{"n": 2}'])
def test_damage_before_the_end_is_an_error_and_left_as_it_is(path, middle):
    write(path)
    lines = path.read_bytes().split(b"\n")
    damaged = b"\n".join([lines[0], middle, *lines[2:]])
    path.write_bytes(damaged)
    for look in (read_lines, LineJournal):
        with pytest.raises(DamagedJournalError, match="damaged"):
            look(path)
    assert path.read_bytes() == damaged


def test_a_full_disk_leaves_no_torn_line_for_later_ones_to_end(path, monkeypatch):
    journal = LineJournal(path)
    journal.append(ROWS[:1])

    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device; make room"):
        journal.append(ROWS[1:2])
    monkeypatch.undo()
    journal.append(ROWS[2:])
    assert read_lines(path) == (ROWS[0], ROWS[2])


def test_a_value_that_is_no_json_adds_nothing(path):
    with LineJournal(path) as journal:
        with pytest.raises(ValueError, match="JSON"):
            journal.append([{"n": 1}, {"n": float("nan")}])
        journal.append(ROWS)
    assert read_lines(path) == ROWS


_WRITER = """
import sys
from pathlib import Path
from lut.journal import LineJournal
with LineJournal(Path(sys.argv[1])) as journal:
    start = len(journal.rows)
    for n in range(start, 100000):
        journal.append([{"n": n, "filler": "x" * 500}])
"""


def test_whatever_a_killed_writer_had_told_is_there(path):
    """Killed in the middle of its work, again and again: no line is lost, none is there twice."""
    seen = 0
    for _ in range(2):
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], cwd=Path(__file__).parents[2])
        while not path.exists() or len(path.read_bytes().splitlines()) < seen + 20:
            assert writer.poll() is None
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        rows = read_lines(path)
        assert [row["n"] for row in rows] == list(range(len(rows)))
        assert len(rows) >= seen + 20 - 1
        seen = len(rows)
