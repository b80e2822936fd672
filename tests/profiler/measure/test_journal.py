import os

import pytest

from profiler.errors import JournalError
from profiler.measure.journal import Journal
from profiler.measure.measurement import Visit

VISITS = tuple(Visit(f"block {i}", i, (1.5, 2.5), runs=2) for i in range(3))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lut" / "cpu.journal"


def write(path, visits=VISITS, mark="a"):
    with Journal(path, mark) as journal:
        journal.append(visits)


def read(path, mark="a", **options):
    with Journal(path, mark, **options) as journal:
        return journal.visits


def test_what_was_appended_is_there_when_it_is_opened_again(path):
    write(path)
    write(path, VISITS[:1])
    assert read(path) == (*VISITS, VISITS[0])


def test_it_is_on_disk_before_append_returns(path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(path.read_bytes()))
    with Journal(path, "a") as journal:
        journal.append(VISITS[:1])
        journal.append(VISITS[1:2])
    assert [content.count(b"\n") for content in synced] == [1, 2, 3]


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_torn_last_line_is_dropped_and_written_over(path, cut):
    write(path)
    content = path.read_bytes()
    path.write_bytes(content[:-cut])
    assert read(path) == VISITS[:2]
    write(path, VISITS[2:])
    assert path.read_bytes() == content


def test_a_torn_header_is_a_new_journal(path):
    write(path)
    path.write_bytes(path.read_bytes()[:10])
    assert read(path) == ()


def test_damage_elsewhere_is_an_error_that_offers_to_start_over(path):
    write(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:20] + b"\n" + lines[2])
    with pytest.raises(JournalError, match=r"damaged.*--fresh"):
        read(path)


def test_another_sessions_journal_is_refused_and_left_alone(path):
    write(path)
    before = path.read_bytes()
    with pytest.raises(JournalError, match=r"other settings.*--fresh"):
        read(path, "b")
    assert path.read_bytes() == before


def test_fresh_drops_what_is_there(path):
    write(path)
    assert read(path, "b", fresh=True) == ()
    assert read(path, "b") == ()


def test_remove_takes_the_file_away(path):
    journal = Journal(path, "a")
    journal.remove()
    assert not path.exists()


def test_an_unwritable_place_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="cannot write"):
        Journal(tmp_path / "file" / "x.journal", "a")


def test_a_full_disk_is_one_line(path, monkeypatch):
    with Journal(path, "a") as journal:

        def full(fd):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(JournalError, match="No space left on device; make room"):
            journal.append(VISITS)


def test_sessions_are_the_same_whatever_the_order_of_keys(path):
    write(path, mark={"a": 1, "b": (2, 3)})
    assert read(path, {"b": [2, 3], "a": 1}) == VISITS
    with pytest.raises(JournalError, match="other settings"):
        read(path, {"a": 2, "b": [2, 3]})


def test_what_differs_from_the_other_session_is_named(path):
    write(path, mark={"device": {"unit": "aa", "cores_used": [1]}, "seed": 0, "batch": 1})
    with pytest.raises(JournalError) as caught:
        read(path, {"device": {"unit": "bb", "cores_used": [1]}, "seed": 0, "batch": 64})
    assert "(device.unit was aa, now bb; batch was 1, now 64)" in str(caught.value)


def test_a_journal_without_a_measurement_is_nobodys(path):
    write(path, ())
    assert read(path, "b") == ()
    write(path, mark="b")
    assert read(path, "b") == VISITS


def test_a_journal_of_another_release_is_refused(path):
    write(path)
    content = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([b'{"journal": 1, "fingerprint": "ab"}', *content[1:]]))
    with pytest.raises(JournalError, match=r"another release.*--fresh"):
        read(path)
