from pathlib import Path

import pytest

from devices import Artefact, Slice, load_spec, open_backend
from devices.fake import FakeBackend, FakeSettings
from profiler.errors import ProfilerError
from profiler.measure.session import Sampling
from profiler.measure.stopping import StopSettings
from profiler.verification.verify import measure_files


def files(*names):
    return [Artefact(name, "onnx", (1, 3, 224, 224)) for name in names]


def test_each_file_has_a_measurement_in_order():
    backend = FakeBackend()
    artefacts = files("a.onnx", "b.onnx", "c.onnx")
    measured = measure_files(backend, artefacts)
    assert [m.unit for m in measured] == ["a.onnx", "b.onnx", "c.onnx"]
    for measurement, artefact in zip(measured, artefacts, strict=True):
        assert measurement.latency_ms == pytest.approx(backend.true_ms(artefact), rel=0.005)
        assert measurement.relative_ci <= 0.01


def test_a_file_that_cannot_run_has_a_reason_and_the_others_a_number():
    good, bad = measure_files(FakeBackend(FakeSettings(fail_run="b")), files("a.onnx", "b.onnx"))
    assert good.failure == ""
    assert "failed to run b.onnx" in bad.failure


def test_a_reference_of_its_own_is_not_among_the_results():
    (only,) = measure_files(FakeBackend(), files("a.onnx"), reference=files("r.onnx")[0])
    assert only.unit == "a.onnx"


def test_two_files_of_one_name_are_refused():
    with pytest.raises(ProfilerError, match="same name"):
        measure_files(FakeBackend(), files("a.onnx", "a.onnx"))


def test_nothing_to_measure_is_nothing():
    assert measure_files(FakeBackend(), []) == []


def test_real_files_are_measured_on_this_machine():
    pytest.importorskip("ai_edge_litert")
    data = Path(__file__).parents[2] / "devices" / "data"
    artefacts = [Artefact(name, "tflite", (), data / f"{name}.tflite") for name in ("conv8", "conv16")]
    how = Slice(min_time_s=0.001, min_runs=5)
    quick = Sampling(network=how, reference=how, warm_up_s=0.0, max_wait_s=0.0, stop=StopSettings(1.0, 2, 2))
    measured = measure_files(open_backend(load_spec("cpu_tflite")), artefacts, sampling=quick)
    assert [(m.unit, m.failure, len(m.visits)) for m in measured] == [("conv8", "", 2), ("conv16", "", 2)]
    assert all(m.latency_ms > 0 for m in measured)
