from dataclasses import replace

import pytest

from devices import Artefact, Slice
from devices.errors import MeasurementError
from devices.fake import FakeBackend, FakeSettings
from profiler.measure.program_pool import ProgramPool


class Counting(FakeBackend):
    def __init__(self, **faults):
        super().__init__(FakeSettings(**faults))
        self.loaded = []

    def load(self, artefact):
        self.loaded.append(artefact.name)
        return super().load(artefact)


@pytest.fixture
def artefact_of(tmp_path):
    def make(name):
        path = tmp_path / name
        path.write_bytes(b"x" * 100)  # 300 bytes in memory by the pool's estimate
        return Artefact(name, "onnx", (1, 3, 8, 8), path)

    return make


def test_a_program_is_loaded_once_and_kept(artefact_of):
    backend = Counting()
    pool = ProgramPool(backend, artefact_of, limit_bytes=1000)
    assert pool.get("a") is pool.get("a")
    assert backend.loaded == ["a"]


def test_what_was_used_longest_ago_makes_room(artefact_of):
    backend = Counting()
    pool = ProgramPool(backend, artefact_of, limit_bytes=650)
    first = pool.get("a")
    second = pool.get("b")
    pool.get("a")
    pool.get("c")
    assert pool.get("a") is first
    assert pool.get("b") is not second
    assert backend.loaded == ["a", "b", "c", "b"]


def test_one_program_is_loaded_even_above_the_limit(artefact_of):
    assert ProgramPool(Counting(), artefact_of, limit_bytes=1).get("a") is not None


def roomy(name, path, batch):
    """An artefact of 100 bytes whose activations take ten an image."""
    return replace(Artefact(name, "onnx", (batch, 3, 8, 8), path), activation_bytes=10 * batch)


@pytest.mark.parametrize(("batch", "kept"), [(1, 3), (64, 1)])
def test_activations_count_and_grow_with_the_batch(artefact_of, batch, kept):
    backend = Counting()
    pool = ProgramPool(backend, lambda name: roomy(name, artefact_of(name).path, batch), limit_bytes=1000)
    programs = [pool.get(name) for name in "abc"]
    assert sum(program._closed for program in programs) == 3 - kept


def test_activations_on_a_phone_take_no_memory_here(artefact_of):
    class Phone(Counting):
        def device(self):
            return replace(super().device(), kind="phone")

    pool = ProgramPool(Phone(), lambda name: roomy(name, artefact_of(name).path, 64), 1000, free_bytes=lambda: 0)
    assert not any(pool.get(name)._closed for name in "abc")


def test_what_cannot_fit_is_refused_before_the_system_ends_the_process(artefact_of):
    pool = ProgramPool(Counting(), lambda name: roomy(name, artefact_of(name).path, 64), 1000, free_bytes=lambda: 700)
    with pytest.raises(MeasurementError, match=r"a needs 0\.0 GB for weights and activations.*smaller --batch"):
        pool.get("a")


def test_artefacts_without_a_file_are_all_kept():
    pool = ProgramPool(Counting(), lambda name: Artefact(name, "specs", (1, 3, 8, 8)), limit_bytes=0)
    programs = [pool.get(name) for name in "abc"]
    assert [pool.get(name) for name in "abc"] == programs


def test_a_dropped_program_is_closed_and_loaded_afresh(artefact_of):
    pool = ProgramPool(Counting(), artefact_of, limit_bytes=1000)
    first = pool.get("a")
    pool.drop("a")
    pool.drop("a")
    assert pool.get("a") is not first
    with pytest.raises(MeasurementError):
        first.measure(Slice())


def test_closing_closes_all(artefact_of):
    pool = ProgramPool(Counting(), artefact_of, limit_bytes=1000)
    programs = [pool.get("a"), pool.get("b")]
    pool.close()
    for program in programs:
        with pytest.raises(MeasurementError):
            program.measure(Slice())
