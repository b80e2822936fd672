"""The fixture is a network of a few kilobytes: a convolution of an (1, 8, 8, 3) image, converted once."""

from dataclasses import replace
from pathlib import Path

import pytest

from devices import Artefact, load_spec, open_backend
from devices.errors import DeviceOptionError, MeasurementError
from devices.testing import QUICK, BackendContract

pytest.importorskip("ai_edge_litert")

DATA = Path(__file__).parents[1] / "data"
SMALL, LARGE = DATA / "conv8.tflite", DATA / "conv16.tflite"


class TestLiteRt(BackendContract):
    @pytest.fixture
    def backend(self):
        backend = open_backend(load_spec("cpu_tflite"))
        yield backend
        backend.close()

    @pytest.fixture
    def artefact(self):
        return Artefact("small", "tflite", (1, 8, 8, 3), SMALL)

    @pytest.fixture
    def other(self):
        return Artefact("large", "tflite", (1, 16, 16, 3), LARGE)

    @pytest.fixture
    def broken(self, tmp_path):
        path = tmp_path / "broken.tflite"
        path.write_bytes(SMALL.read_bytes()[:100])
        return Artefact("broken", "tflite", (1, 8, 8, 3), path)


def test_without_a_file_there_is_nothing_to_load():
    with pytest.raises(MeasurementError, match="no TFLite file"):
        open_backend(load_spec("cpu_tflite")).load(Artefact("x", "tflite", (1, 8, 8, 3)))


def test_the_runtime_is_named_with_its_version():
    runtime = open_backend(load_spec("cpu_tflite")).runtime()
    assert runtime["name"] in ("ai-edge-litert", "tflite-runtime")
    assert runtime["version"][0].isdigit()


def test_half_precision_is_refused_since_such_files_are_computed_in_single():
    with pytest.raises(DeviceOptionError, match="computes such files in float32, not float16"):
        open_backend(replace(load_spec("cpu_tflite"), precision="float16"))


def test_inputs_survive_many_calls():
    program = open_backend(load_spec("cpu_tflite")).load(Artefact("small", "tflite", (1, 8, 8, 3), SMALL))
    assert program.measure(QUICK).times_ms
    assert program.measure(QUICK).runs >= QUICK.min_runs
