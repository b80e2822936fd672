import os

import pytest

from lut.blocks import parse_block
from profiler.build.artefacts import ArtefactCache, default_cache_dir, open_factory
from profiler.errors import CacheError, ExportError

BLOCK = parse_block("mbconv-i24-o32-k5-e4-s2-relu-se0@112")


def writer(text, calls=None):
    def write(path):
        if calls is not None:
            calls.append(path)
        path.write_text(text)

    return write


def files(root):
    return sorted(path.read_text() for path in root.rglob("*") if path.is_file())


def test_the_same_identity_is_written_once(tmp_path):
    calls = []
    first = ArtefactCache(tmp_path).path({"a": 1}, ".onnx", writer("x", calls))
    again = ArtefactCache(tmp_path).path({"a": 1}, ".onnx", writer("y", calls))
    assert first == again
    assert first.suffix == ".onnx"
    assert first.read_text() == "x"
    assert len(calls) == 1


def test_another_identity_is_another_file(tmp_path):
    cache = ArtefactCache(tmp_path)
    assert cache.path({"a": 1}, ".onnx", writer("x")) != cache.path({"a": 2}, ".onnx", writer("x"))


def test_a_failure_leaves_nothing_behind(tmp_path):
    def fail(path):
        path.write_text("half")
        raise ExportError("no")

    with pytest.raises(ExportError):
        ArtefactCache(tmp_path).path({"a": 1}, ".onnx", fail)
    assert files(tmp_path) == []


def test_the_least_recently_used_files_go_when_it_is_full(tmp_path):
    for age, name in ((300, "old"), (200, "used again"), (100, "young")):
        path = ArtefactCache(tmp_path).path({"name": name}, ".onnx", writer(f"{name:12}"))
        os.utime(path, (path.stat().st_atime - age, path.stat().st_mtime - age))
    full = ArtefactCache(tmp_path, limit_bytes=36)
    full.path({"name": "used again"}, ".onnx", writer(""))
    full.path({"name": "new"}, ".onnx", writer(f"{'new':12}"))
    assert [text.strip() for text in files(tmp_path)] == ["new", "used again", "young"]


def test_files_in_use_stay_whatever_the_limit(tmp_path):
    cache = ArtefactCache(tmp_path, limit_bytes=1)
    paths = [cache.path({"i": i}, ".onnx", writer("xx")) for i in range(3)]
    assert all(path.exists() for path in paths)


def test_an_unwritable_cache_says_how_to_choose_another(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match=r"--cache or \$PNAG_CACHE"):
        ArtefactCache(tmp_path / "file").path({"a": 1}, ".onnx", writer("x"))


def test_the_environment_chooses_the_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("PNAG_CACHE", str(tmp_path / "own"))
    assert default_cache_dir() == tmp_path / "own"
    monkeypatch.delenv("PNAG_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "pnag"


def test_back_ends_that_compute_need_no_file(tmp_path):
    artefact = open_factory("specs", ArtefactCache(tmp_path), 4).make("n", [BLOCK])
    assert artefact.path is None
    assert artefact.module == (BLOCK,)
    assert artefact.input_shape == (4, 24, 112, 112)


def test_an_unknown_format_lists_the_known_ones(tmp_path):
    with pytest.raises(ExportError, match=r"'coreml'; known are onnx"):
        open_factory("coreml", ArtefactCache(tmp_path), 1)
