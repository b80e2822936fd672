"""LiteRT (TFLite) with XNNPACK on this machine's CPU; tflite-runtime where that is installed instead.

Inputs are random, set once: the runtime keeps them over calls. With one thread the work is done in the
calling thread, which is pinned while it loads and measures.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np

from devices.backend import Artefact, ArtefactFormat, DeviceInfo, DeviceState, Samples, Slice
from devices.errors import DeviceOptionError, MeasurementError, one_line
from devices.host.computer import AFFINITY, describe_host, pinned, resolve_cores
from devices.host.inputs import random_input
from devices.host.litert_runtime import find_runtime
from devices.host.watch import HostWatch
from devices.spec import DeviceSpec
from devices.timing import time_calls

OPTIONS = (AFFINITY,)


def open_litert(spec: DeviceSpec, *, affinity: str | None = None) -> LiteRtBackend:
    """The back-end of `spec`. `affinity`: cores such as `1` or `0,2-3`, `none`, or None for the quietest.

    Raises `RuntimeUnavailableError` where neither runtime is installed, `DeviceOptionError` for a wrong option.
    """
    cores = resolve_cores(spec.settle(OPTIONS, affinity=affinity)["affinity"], spec.threads)
    if spec.precision == "float16":
        raise DeviceOptionError(
            f"device {spec.name} computes such files in float32, not float16; leave --precision out"
        )
    name, module = find_runtime()
    return LiteRtBackend(
        module.Interpreter, name, version(name), threads=spec.threads, precision=spec.precision, cores=cores
    )


class LiteRtBackend:
    """The interpreter with its default delegate, XNNPACK."""

    def __init__(
        self, interpreter: Any, name: str, version: str, *, threads: int, precision: str, cores: tuple[int, ...]
    ) -> None:
        self._interpreter, self._name, self._version = interpreter, name, version
        self._threads, self._precision, self._cores = threads, precision, cores
        self._device, self._watch = describe_host(cores), HostWatch(cores)

    @property
    def artefact_format(self) -> ArtefactFormat:
        """TFLite files."""
        return "tflite"

    def device(self) -> DeviceInfo:
        """This machine, as it was when the back-end was opened."""
        return self._device

    def runtime(self) -> Mapping[str, Any]:
        """The runtime's version and settings; `precision` is that of the files."""
        return {
            "name": self._name,
            "version": self._version,
            "delegate": "xnnpack",
            "precision": self._precision,
            "threads": self._threads,
        }

    def get_ready(self, max_s: float) -> None:
        """Returns at once: this machine has nothing to wait for."""

    def state(self) -> DeviceState:
        """This machine's state now."""
        return self._watch.state()

    def load(self, artefact: Artefact) -> LiteRtProgram:
        """Open a TFLite file. Raises `MeasurementError` if the runtime refuses it."""
        if artefact.path is None:
            raise MeasurementError(f"{artefact.name} has no TFLite file; export it first")
        try:
            with pinned(self._cores):
                interpreter = self._interpreter(model_path=str(artefact.path), num_threads=self._threads)
                interpreter.allocate_tensors()
                return LiteRtProgram(interpreter, artefact.name, self._threads, self._cores)
        except (ValueError, RuntimeError, OSError) as error:
            raise MeasurementError(f"{self._name} cannot load {artefact.path}: {one_line(error)}") from error

    def close(self) -> None:
        """Does nothing: nothing is held."""


class LiteRtProgram:
    """An interpreter with its input set."""

    def __init__(self, interpreter: Any, name: str, threads: int, cores: tuple[int, ...]) -> None:
        self._interpreter: Any = interpreter
        self._name, self._threads, self._cores = name, threads, cores
        self._inputs: list[tuple[int, Any]] = []
        for tensor in interpreter.get_input_details():
            dtype = np.dtype(tensor["dtype"]).name
            values = random_input(tuple(map(int, tensor["shape"])), dtype)
            self._inputs.append((tensor["index"], values))
        self._renew()

    def _renew(self) -> None:
        """Write the inputs anew."""
        for index, values in self._inputs:
            self._interpreter.set_tensor(index, values)

    def measure(self, how: Slice) -> Samples:
        """Time calls. Raises `MeasurementError` if the runtime fails or the program is closed."""
        if self._interpreter is None:
            raise MeasurementError(f"{self._name} was closed; load it again")
        try:
            with pinned(self._cores):
                call = self._interpreter.invoke
                return time_calls(call, how, own_thread_only=self._threads == 1, renew=self._renew)
        except (ValueError, RuntimeError) as error:
            raise MeasurementError(f"LiteRT failed to run {self._name}: {one_line(error)}") from error

    def close(self) -> None:
        """Free the interpreter."""
        self._interpreter = None
