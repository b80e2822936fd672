import os

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from devices import Artefact, DeviceSpec, Slice, load_spec, open_backend
from devices.errors import DeviceOptionError, MeasurementError
from devices.testing import QUICK, BackendContract


def write_matmuls(path, layers=1, width=64, *, operator="MatMul"):
    """A chain of matrix products of (1, width), or of a named operator."""
    weights = [numpy_helper.from_array(np.full((width, width), 0.01, np.float32), f"w{i}") for i in range(layers)]
    nodes = [helper.make_node(operator, [f"x{i}", f"w{i}"], [f"x{i + 1}"]) for i in range(layers)]
    shape = [1, width]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(f"x{layers}", TensorProto.FLOAT, shape)],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return Artefact(path.stem, "onnx", (1, width), path)


class OnnxFiles:
    """The files that every back-end of ONNX Runtime is tested with."""

    @pytest.fixture
    def artefact(self, tmp_path):
        return write_matmuls(tmp_path / "short.onnx")

    @pytest.fixture
    def other(self, tmp_path):
        return write_matmuls(tmp_path / "long.onnx", layers=20, width=256)

    @pytest.fixture
    def broken(self, tmp_path):
        path = tmp_path / "broken.onnx"
        path.write_bytes(b"not a network")
        return Artefact("broken", "onnx", (1, 64), path)


class TestOnnxRuntime(OnnxFiles, BackendContract):
    @pytest.fixture
    def backend(self):
        backend = open_backend(load_spec("cpu"))
        yield backend
        backend.close()


def test_without_a_file_there_is_nothing_to_load():
    with pytest.raises(MeasurementError, match="no ONNX file"):
        open_backend(load_spec("cpu")).load(Artefact("x", "onnx", (1, 3, 8, 8)))


def test_a_wrong_input_shape_is_a_measurement_error(tmp_path):
    good = write_matmuls(tmp_path / "m.onnx")
    with pytest.raises(MeasurementError, match="cannot load"):
        open_backend(load_spec("cpu")).load(Artefact("m", "onnx", (1, 63), good.path))


def test_the_shape_may_be_left_to_the_file(tmp_path):
    good = write_matmuls(tmp_path / "m.onnx")
    program = open_backend(load_spec("cpu")).load(Artefact("m", "onnx", (), good.path))
    assert program.measure(QUICK).times_ms


def test_threads_and_cores_are_as_asked_and_recorded():
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    backend = open_backend(DeviceSpec("two", "two", "onnxruntime", threads=2), affinity=str(cores[0]))
    assert backend.runtime()["threads"] == 2
    assert backend.device().fields["cores_used"] in ([cores[0]], [])


def test_measuring_leaves_this_threads_cores_as_they_were(tmp_path):
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("the system cannot pin threads")
    before = os.sched_getaffinity(0)
    program = open_backend(load_spec("cpu")).load(write_matmuls(tmp_path / "m.onnx"))
    program.measure(QUICK)
    assert os.sched_getaffinity(0) == before


def test_more_work_takes_more_time(tmp_path):
    backend = open_backend(load_spec("cpu"))
    short, long = (backend.load(write_matmuls(tmp_path / f"{n}.onnx", layers=n, width=256)) for n in (1, 40))
    how = Slice(min_time_s=0.005, min_runs=10)
    assert min(long.measure(how).times_ms) > 4 * min(short.measure(how).times_ms)


@pytest.mark.parametrize("options", [{"graph_optimization": "most"}, {"affinity": "first"}, {"spinning": "no"}])
def test_wrong_options_are_refused(options):
    with pytest.raises(DeviceOptionError):
        open_backend(load_spec("cpu"), **options)


@pytest.mark.parametrize(
    ("asked", "threads", "spins"), [(None, 2, True), (False, 2, False), (True, 2, True), (None, 1, False)]
)
def test_threads_that_wait_spin_as_in_deployments_unless_told_otherwise(tmp_path, asked, threads, spins):
    options = {} if asked is None else {"spinning": asked}
    backend = open_backend(DeviceSpec("x", "x", "onnxruntime", threads=threads, options=options))
    made = []

    class Recorder:
        def __getattr__(self, name):
            return getattr(onnxruntime, name)

        def SessionOptions(self):  # noqa: N802
            made.append(onnxruntime.SessionOptions())
            return made[-1]

    backend._ort = Recorder()
    backend.load(write_matmuls(tmp_path / "m.onnx"))
    assert made[0].get_session_config_entry("session.intra_op.allow_spinning") == str(int(spins))
    assert backend.runtime()["spinning"] is spins


def test_another_precision_is_refused():
    with pytest.raises(DeviceOptionError, match="float32, not float16"):
        open_backend(DeviceSpec("x", "x", "onnxruntime", precision="float16"))
