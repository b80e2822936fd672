import errno
from pathlib import Path

import pytest

from lut.errors import OutputError
from lut.files import replacing, require_writable


def write(path, text="new"):
    with replacing(path) as temporary:
        temporary.write_text(text)


def test_the_file_appears_whole_with_its_folders(tmp_path):
    write(tmp_path / "a" / "b" / "t.txt")
    assert (tmp_path / "a" / "b" / "t.txt").read_text() == "new"
    assert [p.name for p in (tmp_path / "a" / "b").iterdir()] == ["t.txt"]


def test_the_temporary_file_keeps_the_suffix_and_lies_beside(tmp_path):
    with replacing(tmp_path / "t.png") as temporary:
        assert temporary.suffix == ".png"
        assert temporary.parent == tmp_path
        temporary.write_text("x")


FULL = OSError(errno.ENOSPC, "No space left on device")


def fail_half_way(path, error):
    with replacing(path) as temporary:
        temporary.write_text("half")
        raise error


@pytest.mark.parametrize(
    ("error", "kind"), [(FULL, OutputError), (ValueError("no"), ValueError), (KeyboardInterrupt(), KeyboardInterrupt)]
)
def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path, error, kind):
    path = tmp_path / "t.txt"
    write(path, "old")
    with pytest.raises(kind):
        fail_half_way(path, error)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_line_with_the_path(tmp_path):
    with pytest.raises(OutputError) as caught:
        fail_half_way(tmp_path / "t.txt", FULL)
    assert str(caught.value) == f"cannot write {tmp_path / 't.txt'}: No space left on device; choose another place"


def test_a_folder_or_a_device_is_not_replaced(tmp_path):
    with pytest.raises(OutputError, match="not a file"):
        write(tmp_path)
    if Path("/dev/full").exists():
        with pytest.raises(OutputError, match="not a file"):
            write("/dev/full")
        assert Path("/dev/full").is_char_device()


def test_a_body_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(OutputError), replacing(tmp_path / "t.txt"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_whether_a_file_could_be_written_is_told_without_making_anything(tmp_path):
    require_writable(tmp_path / "a" / "b" / "t.txt")
    write(tmp_path / "t.txt", "old")
    require_writable(tmp_path / "t.txt")
    assert [p.name for p in tmp_path.iterdir()] == ["t.txt"]
    for path, reason in ((tmp_path / "t.txt" / "below", "t.txt is not a folder"), (tmp_path, "it is a folder")):
        with pytest.raises(OutputError, match=reason):
            require_writable(path)
    assert (tmp_path / "t.txt").read_text() == "old"
