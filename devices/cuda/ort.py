"""ONNX Runtime on an NVIDIA GPU, by its CUDA provider or by TensorRT: the same card, other runtimes.

Needs a build of onnxruntime with these providers. Times are the host's, of calls that wait for the card; input
and output stay on the card. Nothing falls back to the CPU silently: a network that would is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from devices.backend import Artefact, ArtefactFormat, DeviceInfo, DeviceState, Samples, Slice
from devices.cuda.cards import DriverCard, choose_card, list_cards
from devices.cuda.errors import explain
from devices.cuda.nvml import Nvml
from devices.errors import DeviceError, DeviceOptionError, MeasurementError, RuntimeUnavailableError, one_line
from devices.host.computer import cpu_model
from devices.host.inputs import random_input
from devices.options import Option
from devices.spec import DeviceSpec
from devices.timing import time_calls

_CUDA, _TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"
# TensorRT builds its engines with TF32 unless told otherwise by the environment, so it offers no plain float32.
_PRECISIONS = {"cuda": ("float32", "tf32"), "tensorrt": ("tf32", "float16")}


OPTIONS = (
    Option("provider", str, "ONNX Runtime's way onto the card", "cuda", tuple(_PRECISIONS)),
    Option("mode", str, "how calls reach the card", "graph", ("graph", "eager"), taker="onnxruntime"),
    Option("gpu", int, "which card, counted from 0 as CUDA does; the first that the spec matches unless given", low=0),
)


@dataclass(frozen=True)
class Provider:
    """Which execution provider, computing how, with or without CUDA graphs, on which card."""

    name: str
    precision: str
    graph: bool
    gpu: int

    def __post_init__(self) -> None:
        known = _PRECISIONS.get(self.name)
        if known is None:
            raise DeviceOptionError(f"provider '{self.name}' is unknown; choose from {', '.join(_PRECISIONS)}")
        if self.precision not in known:
            raise DeviceOptionError(
                f"provider {self.name} computes in {' or '.join(known)}, not {self.precision}; set --precision"
            )

    @property
    def wanted(self) -> str:
        """The execution provider's own name."""
        return _TENSORRT if self.name == "tensorrt" else _CUDA

    @property
    def providers(self) -> list[tuple[str, dict[str, str]]]:
        """What a session takes; TensorRT leaves to CUDA what it cannot do."""
        card = {"device_id": str(self.gpu)}
        if self.name == "cuda":
            tf32 = str(int(self.precision == "tf32"))
            return [(_CUDA, card | {"use_tf32": tf32, "enable_cuda_graph": str(int(self.graph))})]
        half, graph = str(self.precision == "float16"), str(self.graph)
        return [(_TENSORRT, card | {"trt_fp16_enable": half, "trt_cuda_graph_enable": graph}), (_CUDA, card)]


def open_ort_gpu(spec: DeviceSpec, *, mode: str | None = None, gpu: int | None = None) -> OrtGpuBackend:
    """The back-end of `spec`; its options are `provider` (cuda, tensorrt), `mode` (graph, eager) and `gpu`.

    Raises `RuntimeUnavailableError` where onnxruntime has no such provider, `DeviceOptionError`.
    """
    options = spec.settle(OPTIONS, mode=mode, gpu=gpu)
    try:
        import onnxruntime
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"onnxruntime cannot be imported ({error}); pip install onnxruntime-gpu"
        ) from error
    cards = list_cards()
    index = options["gpu"]
    if index is None:
        index = choose_card(spec, [card.name for card in cards])
    if cards and index >= len(cards):
        raise RuntimeUnavailableError(f"no GPU {index}: {len(cards)} found, counted from 0; choose another")
    provider = Provider(options["provider"], spec.precision, options["mode"] == "graph", index)
    card = cards[index] if cards else DriverCard()
    return OrtGpuBackend(onnxruntime, provider, *Nvml.open(card.uuid, card.pci_bus_id), card_name=card.name)


class OrtGpuBackend:
    """One execution provider on one card."""

    def __init__(
        self, onnxruntime: Any, provider: Provider, nvml: Nvml | None, nvml_missing: str = "", *, card_name: str = ""
    ) -> None:
        self._ort, self._provider, self._nvml, self._nvml_missing = onnxruntime, provider, nvml, nvml_missing
        self._card_name = card_name
        available = onnxruntime.get_available_providers()
        if provider.wanted not in available:
            raise RuntimeUnavailableError(
                f"this onnxruntime has no {provider.wanted} (it has {', '.join(available)}); "
                "install onnxruntime-gpu in its place"
            )
        if hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()  # CUDA and cuDNN from their Python packages, where they are

    @property
    def artefact_format(self) -> ArtefactFormat:
        """ONNX files."""
        return "onnx"

    def device(self) -> DeviceInfo:
        """The card as NVML knows it, and the host's processor."""
        known = self._nvml.describe() if self._nvml else {"nvml": self._nvml_missing}
        name = self._card_name or (self._nvml and self._nvml.name()) or "NVIDIA GPU"
        return DeviceInfo("gpu", name, {"gpu_name": name, "host_cpu_model": cpu_model(), **known})

    def runtime(self) -> Mapping[str, Any]:
        """ONNX Runtime's version, the provider and its options."""
        return {
            "name": "onnxruntime",
            "version": self._ort.__version__,
            "provider": self._provider.wanted,
            "precision": self._provider.precision,
            "mode": "graph" if self._provider.graph else "eager",
            "threads": 1,
            "timer": "host",
            "l2": "warm",
        }

    def get_ready(self, max_s: float) -> None:
        """Returns at once: a session warms the card up itself."""

    def state(self) -> DeviceState:
        """The card now; nothing is known without NVML."""
        return self._nvml.state() if self._nvml else DeviceState()

    def load(self, artefact: Artefact) -> OrtGpuProgram:
        """Open an ONNX file on the card. Raises `MeasurementError`, `RuntimeUnavailableError`."""
        if artefact.path is None:
            raise MeasurementError(f"{artefact.name} has no ONNX file; export it first")
        options = self._ort.SessionOptions()
        options.log_severity_level = 4
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        try:
            session = self._ort.InferenceSession(str(artefact.path), options, providers=self._provider.providers)
            if self._provider.wanted not in session.get_providers():
                raise RuntimeUnavailableError(
                    f"{self._provider.wanted} does not start: its CUDA libraries cannot be loaded; install those "
                    "that this onnxruntime was built for"
                )
            return OrtGpuProgram(self._ort, session, artefact, self._provider.gpu)
        except DeviceError:
            raise
        except Exception as error:  # the runtime's exceptions share no base of their own
            raise _explained(error, artefact) from error

    def close(self) -> None:
        """Let NVML go. Closing twice is harmless."""
        if self._nvml is not None:
            self._nvml.close()


class OrtGpuProgram:
    """A session whose input and output lie on the card at fixed addresses, as CUDA graphs need them."""

    def __init__(self, ort: Any, session: Any, artefact: Artefact, gpu: int) -> None:
        self._artefact, self._session = artefact, session
        self._binding: Any = session.io_binding()
        given, result = session.get_inputs()[0], session.get_outputs()[0]
        shape = artefact.input_shape or tuple(given.shape)
        self._values = [
            ort.OrtValue.ortvalue_from_numpy(random_input(shape, "float32"), "cuda", gpu),
            ort.OrtValue.ortvalue_from_shape_and_type(list(result.shape), random_input((1,), "float32").dtype.type,
                                                      "cuda", gpu),
        ]  # fmt: skip
        self._binding.bind_ortvalue_input(given.name, self._values[0])
        self._binding.bind_ortvalue_output(result.name, self._values[1])
        self._call()

    def _call(self) -> None:
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()

    def measure(self, how: Slice) -> Samples:
        """Time calls. Raises `MeasurementError` if the runtime fails or the program is closed."""
        if self._session is None:
            raise MeasurementError(f"{self._artefact.name} was closed; load it again")
        try:
            return time_calls(self._call, how, own_thread_only=False)
        except Exception as error:  # the runtime's exceptions share no base of their own
            raise _explained(error, self._artefact) from error

    def close(self) -> None:
        """Free the session."""
        self._session = self._binding = None
        self._values = []


def _explained(error: Exception, artefact: Artefact) -> DeviceError:
    batch = artefact.input_shape[0] if artefact.input_shape else 0
    return explain(RuntimeError(one_line(error)), artefact.name, "the GPU", batch)
