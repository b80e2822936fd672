"""PyTorch on the CPU, as a back-end: a whole runtime in a file of its own."""

from collections.abc import Mapping
from typing import Any

import torch

from devices import Artefact, DeviceInfo, DeviceSpec, DeviceState, Samples, Slice
from devices.errors import MeasurementError, one_line
from devices.host import describe_host
from devices.timing import time_calls


def open_torch_cpu(spec: DeviceSpec) -> "TorchCpu":
    """What the spec names as its back-end: it takes the spec and gives the device, open."""
    torch.set_num_threads(spec.threads)
    return TorchCpu(spec.threads)


class TorchCpu:
    """The device. The six methods of `devices.Backend`, and the format that it takes."""

    artefact_format = "torch"  # modules in memory; files would be "onnx" or "tflite"

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def device(self) -> DeviceInfo:
        """What was found, whatever the spec says. It goes into the table."""
        return describe_host()

    def runtime(self) -> Mapping[str, Any]:
        """What the latencies depend on besides the device. It goes into the table too."""
        return {"name": "torch", "version": torch.__version__, "threads": self._threads, "precision": "float32"}

    def state(self) -> DeviceState:
        """Temperature, clock, load: nothing is known here."""
        return DeviceState()

    def get_ready(self, max_s: float) -> None:
        """Called once before the first block: a phone would cool down here, for `max_s` seconds at most."""

    def load(self, artefact: Artefact) -> "TorchProgram":
        """Make a block or a network ready to run, or say in one line why that cannot be."""
        if artefact.module is None:
            raise MeasurementError(f"{artefact.name} has no module; this back-end runs no files")
        return TorchProgram(artefact.name, artefact.module, artefact.input_shape, self._threads)

    def close(self) -> None:
        """Nothing is held."""


class TorchProgram:
    """A module with its input: what a session visits again and again."""

    def __init__(self, name: str, module: Any, shape: tuple[int, ...], threads: int) -> None:
        self._name, self._module, self._threads = name, module, threads
        self._images = torch.rand(shape, generator=torch.Generator().manual_seed(0))

    @torch.inference_mode()
    def measure(self, how: Slice) -> Samples:
        """One visit: untimed calls, then as many timed ones as `how` asks for."""
        if self._module is None:
            raise MeasurementError(f"{self._name} was closed; load it again")
        try:
            return time_calls(lambda: self._module(self._images), how, own_thread_only=self._threads == 1)
        except RuntimeError as error:
            raise MeasurementError(f"torch failed to run {self._name}: {one_line(error)}") from error

    def close(self) -> None:
        """Free the module. Closing twice is harmless."""
        self._module = None
