import pytest

from devices import Artefact
from devices.fake import FakeBackend, FakeSettings
from profiler.errors import ProfilerError
from profiler.verify import measure_files


def files(*names):
    return [Artefact(name, "onnx", (1, 3, 224, 224)) for name in names]


def test_each_file_has_a_measurement_in_order():
    backend = FakeBackend()
    artefacts = files("a.onnx", "b.onnx", "c.onnx")
    measured = measure_files(backend, artefacts)
    assert [m.unit for m in measured] == ["a.onnx", "b.onnx", "c.onnx"]
    for measurement, artefact in zip(measured, artefacts, strict=True):
        assert measurement.median_ms == pytest.approx(backend.true_ms(artefact), rel=0.005)
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
