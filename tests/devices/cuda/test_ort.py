"""ONNX Runtime's GPU providers: what they are asked, with the CPU computing in their place."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest

from devices import Artefact, DeviceSpec, load_spec, open_backend
from devices.cuda.ort import OrtGpuBackend, Provider
from devices.errors import DeviceOptionError, MeasurementError, RuntimeUnavailableError
from devices.testing import BackendContract
from tests.devices.host.test_ort import OnnxFiles, write_matmuls

CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"


class OnCpu:
    """onnxruntime, but its GPU providers and memory are the CPU's. `started` is what a session really gets."""

    def __init__(self, *, started: tuple[str, ...] = (TENSORRT, CUDA)) -> None:
        self.asked: list[Any] = []
        self.started = started
        self.SessionOptions = onnxruntime.SessionOptions
        self.OrtValue = SimpleNamespace(
            ortvalue_from_numpy=lambda values, device, card: onnxruntime.OrtValue.ortvalue_from_numpy(values),
            ortvalue_from_shape_and_type=lambda shape, kind, device, card: (
                onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, kind)
            ),
        )
        self.__version__ = onnxruntime.__version__

    def get_available_providers(self) -> list[str]:
        return [TENSORRT, CUDA, "CPUExecutionProvider"]

    def InferenceSession(self, path: str, options: Any, providers: Any) -> Any:  # noqa: N802
        self.asked.append(providers)
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "0")
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        session.get_providers = lambda: list(self.started)
        return session


def backend(runtime: OnCpu | None = None, name: str = "cuda", precision: str = "float32") -> OrtGpuBackend:
    return OrtGpuBackend(runtime or OnCpu(), Provider(name, precision, True, 0), None, "not asked")


class TestOnnxRuntimeOnAGpu(OnnxFiles, BackendContract):
    @pytest.fixture
    def backend(self):
        return backend()


@pytest.mark.parametrize(
    ("name", "precision", "graph", "expected"),
    [
        ("cuda", "float32", True, [(CUDA, {"device_id": "1", "use_tf32": "0", "enable_cuda_graph": "1"})]),
        ("cuda", "tf32", False, [(CUDA, {"device_id": "1", "use_tf32": "1", "enable_cuda_graph": "0"})]),
        (
            "tensorrt",
            "float16",
            True,
            [
                (TENSORRT, {"device_id": "1", "trt_fp16_enable": "True", "trt_cuda_graph_enable": "True"}),
                (CUDA, {"device_id": "1"}),
            ],
        ),
    ],
)
def test_a_provider_is_asked_for_precision_graph_and_card(name, precision, graph, expected, tmp_path):
    provider = Provider(name, precision, graph, 1)
    assert provider.providers == expected
    runtime = OnCpu()
    OrtGpuBackend(runtime, provider, None).load(write_matmuls(tmp_path / "m.onnx"))
    assert runtime.asked == [expected]


@pytest.mark.parametrize(
    ("name", "precision", "message"),
    [
        ("directml", "float32", "provider 'directml' is unknown; choose from cuda, tensorrt"),
        ("cuda", "float16", "provider cuda computes in float32 or tf32, not float16"),
        ("tensorrt", "float32", "provider tensorrt computes in tf32 or float16, not float32"),
    ],
)
def test_what_a_provider_cannot_do_is_refused(name, precision, message):
    with pytest.raises(DeviceOptionError, match=message):
        Provider(name, precision, True, 0)


def test_a_silent_fall_back_to_the_cpu_is_an_error(tmp_path):
    fallen = backend(OnCpu(started=("CPUExecutionProvider",)))
    with pytest.raises(RuntimeUnavailableError, match="CUDAExecutionProvider does not start"):
        fallen.load(write_matmuls(tmp_path / "m.onnx"))


def test_a_build_without_the_provider_says_what_to_install():
    runtime = OnCpu()
    runtime.get_available_providers = lambda: ["CPUExecutionProvider"]
    with pytest.raises(RuntimeUnavailableError, match=r"has no CUDAExecutionProvider.*install onnxruntime-gpu"):
        backend(runtime)


@pytest.mark.skipif(CUDA in onnxruntime.get_available_providers(), reason="this onnxruntime has the provider")
@pytest.mark.parametrize("name", ["cuda_ort", "cuda_trt"])
def test_the_specs_say_what_is_missing_here(name):
    with pytest.raises(RuntimeUnavailableError, match="install onnxruntime-gpu"):
        open_backend(load_spec(name))


def test_a_mode_that_onnxruntime_does_not_have_is_refused():
    with pytest.raises(DeviceOptionError, match="mode 'compile' is unknown to onnxruntime"):
        open_backend(DeviceSpec("x", "x", "onnxruntime-gpu"), mode="compile")


def test_without_a_file_there_is_nothing_to_load():
    with pytest.raises(MeasurementError, match="no ONNX file"):
        backend().load(Artefact("x", "onnx", (1, 64)))


def test_without_nvml_the_card_has_no_name_and_a_reason():
    info = backend().device()
    assert (info.kind, info.fields["gpu_name"], info.fields["nvml"]) == ("gpu", "NVIDIA GPU", "not asked")
    assert backend().runtime()["mode"] == "graph"
