import os
import pickle
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest
import torch

from devices.backend import ArtefactFormat
from lut.blocks import parse_block
from profiler.build import export_onnx, files_in_use, modules
from profiler.build.artefacts import FORMATS, ArtefactCache, default_cache_dir, open_factory
from profiler.errors import CacheError, ExportError

ROOT = Path(__file__).parents[3]
BLOCK = parse_block("mbconv-i24-o32-k5-e4-s2-relu-se0@112")


def writer(text, calls=None):
    def write(path):
        if calls is not None:
            calls.append(path)
        path.write_text(text)

    return write


def files(root):
    return sorted(path.read_text() for path in root.glob("artefacts/??/*") if path.is_file())


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


def test_what_another_process_finishes_meanwhile_is_no_error(tmp_path):
    """Between looking into a folder and looking at a file, the file may have got its name."""
    path = ArtefactCache(tmp_path).path({"i": 0}, ".onnx", writer("x"))
    path.with_name(".1.half.onnx").symlink_to(tmp_path / "gone")
    assert ArtefactCache(tmp_path).path({"i": 1}, ".onnx", writer("y")).read_text() == "y"


def test_files_in_use_stay_whatever_the_limit(tmp_path):
    cache = ArtefactCache(tmp_path, limit_bytes=1)
    paths = [cache.path({"i": i}, ".onnx", writer("xx")) for i in range(3)]
    assert all(path.exists() for path in paths)


_USER = """
import sys
from pathlib import Path
from profiler.build.artefacts import ArtefactCache
cache = ArtefactCache(Path(sys.argv[1]))
if sys.argv[2] == "make":
    cache.path({"name": "theirs"}, ".onnx", lambda path: path.write_text("theirs"))
elif cache.find({"name": "theirs"}, ".onnx") is None:
    sys.exit(1)
print("in use", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("how", ["make", "find"])
def test_what_another_process_uses_stays_until_it_ends(tmp_path, how):
    """It may be about to open the file, or to load it again: this process must not trim it away."""
    if how == "find":
        ArtefactCache(tmp_path).path({"name": "theirs"}, ".onnx", writer("theirs"))
    other = subprocess.Popen(
        [sys.executable, "-c", _USER, str(tmp_path), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    try:
        assert other.stdout.readline() == b"in use\n"
        full = ArtefactCache(tmp_path, limit_bytes=1)
        full.path({"name": "one"}, ".onnx", writer("one"))
        assert files(tmp_path) == ["one", "theirs"]
    finally:
        other.kill()
        other.communicate()
    full.path({"name": "two"}, ".onnx", writer("two"))
    assert files(tmp_path) == ["one", "two"]
    lists = [path.name for path in (tmp_path / "artefacts/.in-use").glob("*.names")]
    assert [name.partition("-")[0] for name in lists] == [str(os.getpid())]


def test_a_cache_in_another_process_is_one_of_its_own(tmp_path):
    cache = ArtefactCache(tmp_path, limit_bytes=1)
    cache.path({"name": "a"}, ".onnx", writer("a"))
    copy = pickle.loads(pickle.dumps(cache))
    copy.path({"name": "b"}, ".onnx", writer("b"))
    assert files(tmp_path) == ["a", "b"]


def test_what_a_killed_process_had_begun_goes_after_a_day(tmp_path):
    cache = ArtefactCache(tmp_path)
    path = cache.path({"name": "a"}, ".onnx", writer("a"))
    for name, age_s in ((".1.old.onnx", 2 * 86400), (".2.new.onnx", 60)):
        torn = path.with_name(name)
        torn.write_text("half")
        os.utime(torn, (torn.stat().st_atime - age_s, torn.stat().st_mtime - age_s))
    cache.path({"name": "b"}, ".onnx", writer("b"))
    assert [torn.name for torn in path.parent.glob(".*")] == [".2.new.onnx"]


def test_a_cache_that_cannot_be_written_is_read_all_the_same(tmp_path, monkeypatch):
    cache = ArtefactCache(tmp_path)
    path = cache.path({"name": "a"}, ".onnx", writer("a"))

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files_in_use, "taking_turns", refuse)
    assert ArtefactCache(tmp_path).find({"name": "a"}, ".onnx") == path
    assert ArtefactCache(tmp_path / "none").find({"name": "a"}, ".onnx") is None


@pytest.mark.parametrize("what", ["torch", "onnx", "scheme", "batch", "block"])
def test_a_file_is_made_again_when_what_it_depends_on_is_another(tmp_path, monkeypatch, what):
    """Exporter, weights and layers: none of them is in the file's name by chance."""
    cache, made = ArtefactCache(tmp_path), []
    monkeypatch.setattr(
        export_onnx, "write_onnx", lambda module, shape, path, precision: made.append(path) or path.touch()
    )
    factory, spec = open_factory("onnx", cache, 1), BLOCK
    factory.make("a", [spec])
    factory.make("a", [spec])
    assert len(made) == 1
    if what == "torch":
        monkeypatch.setattr(torch, "__version__", "0.0")
    elif what == "onnx":
        monkeypatch.setattr(export_onnx, "version", lambda name: "0.0")
    elif what == "scheme":
        monkeypatch.setattr(export_onnx, "scheme_sha256", lambda: "another")
    elif what == "batch":
        factory = open_factory("onnx", cache, 2)
    else:
        spec = replace(BLOCK, kernel=7)
    factory.make("a", [spec])
    assert len(made) == 2


def test_the_scheme_of_weights_is_known_by_what_it_makes(monkeypatch):
    """Another initialisation, or another layer, is another scheme, though nobody counted a version up."""
    known = modules.scheme_sha256()
    fresh = modules.scheme_sha256.__wrapped__
    assert fresh() == known
    monkeypatch.setattr(modules, "randomise", lambda module: module.apply(lambda layer: None).eval())
    torch.manual_seed(0)
    assert fresh() != known
    monkeypatch.undo()
    monkeypatch.setattr(modules, "BN_EPSILON", 1e-3)
    assert fresh() != known


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


def test_every_format_that_a_back_end_may_name_has_its_functions():
    assert set(FORMATS) == set(get_args(ArtefactFormat))
    for known in FORMATS.values():
        for target in filter(None, (known.factory, known.ahead)):
            module, _, function = target.partition(":")
            assert callable(getattr(import_module(module), function))


def test_an_unknown_format_lists_the_known_ones(tmp_path):
    with pytest.raises(ExportError, match=r"'coreml'; known are onnx"):
        open_factory("coreml", ArtefactCache(tmp_path), 1)
