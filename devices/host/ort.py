"""ONNX Runtime on this machine's CPU.

The session is set up as a default deployment has it: all graph optimisations, memory arena, denormal numbers
not flushed, waiting threads spin (unless the option `spinning` is false; with one thread none waits). One thing
differs, for the sake of repeatable numbers: threads and cores are fixed. Inputs are random normal numbers, allocated
once and bound, as are the outputs.

With one thread the work is done in the calling thread, which is pinned while it loads and measures; with
more, the runtime's threads inherit the cores of the thread that creates them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from devices.backend import Artefact, ArtefactFormat, DeviceInfo, DeviceState, Samples, Slice
from devices.errors import DeviceOptionError, MeasurementError, RuntimeUnavailableError, one_line
from devices.host.computer import AFFINITY, describe_host, pinned, resolve_cores
from devices.host.inputs import random_input
from devices.host.watch import HostWatch
from devices.options import Option
from devices.spec import DeviceSpec
from devices.timing import time_calls

_LEVELS = {"none": "ORT_DISABLE_ALL", "basic": "ORT_ENABLE_BASIC", "extended": "ORT_ENABLE_EXTENDED",
           "all": "ORT_ENABLE_ALL"}  # fmt: skip
_PRECISIONS = ("float32", "dynamic-int8", "int8")  # 8 bits are in the file
_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64",
           "tensor(uint8)": "uint8", "tensor(int8)": "int8"}  # fmt: skip

OPTIONS = (
    AFFINITY,
    Option("graph_optimization", str, "how far the runtime rewrites the graph", "all", tuple(_LEVELS)),
    Option("spinning", bool, "threads that wait for others spin, rather than sleep", True),
)


def open_ort(
    spec: DeviceSpec,
    *,
    affinity: str | None = None,
    graph_optimization: str | None = None,
    spinning: bool | None = None,
) -> OrtBackend:
    """The back-end of `spec`. `affinity`: cores such as `1` or `0,2-3`, `none`, or None for the quietest.

    `spinning`: whether threads that wait for others spin, as the runtime's default is, or sleep.

    Raises `RuntimeUnavailableError` without onnxruntime, `DeviceOptionError` for a wrong option.
    """
    options = spec.settle(OPTIONS, affinity=affinity, graph_optimization=graph_optimization, spinning=spinning)
    try:
        import onnxruntime
    except ImportError as error:
        raise RuntimeUnavailableError(f"onnxruntime cannot be imported ({error}); pip install onnxruntime") from error
    if spec.precision not in _PRECISIONS:
        raise DeviceOptionError(f"device {spec.name} measures float32, not {spec.precision}; leave the precision out")
    cores = resolve_cores(options["affinity"], spec.threads)
    return OrtBackend(
        onnxruntime, spec.threads, cores, options["graph_optimization"], spinning=options["spinning"],
        precision=spec.precision,
    )  # fmt: skip


class OrtBackend:
    """ONNX Runtime's CPU provider; see the module for the settings."""

    def __init__(
        self,
        onnxruntime: Any,
        threads: int,
        cores: tuple[int, ...],
        level: str,
        *,
        spinning: bool = True,
        precision: str = "float32",
    ) -> None:
        self._ort, self._threads, self._cores, self._level = onnxruntime, threads, cores, level
        self._precision = precision
        self._spinning = spinning and threads > 1  # one thread has none to wait for
        self._device, self._watch = describe_host(cores), HostWatch(cores)

    @property
    def artefact_format(self) -> ArtefactFormat:
        """ONNX files."""
        return "onnx"

    def device(self) -> DeviceInfo:
        """This machine, as it was when the back-end was opened."""
        return self._device

    def runtime(self) -> Mapping[str, Any]:
        """ONNX Runtime's version and the session options that differ or matter."""
        return {
            "name": "onnxruntime",
            "version": self._ort.__version__,
            "provider": "CPUExecutionProvider",
            "precision": self._precision,
            "threads": self._threads,
            "inter_op_threads": 1,
            "execution": "sequential",
            "graph_optimization": self._level,
            "spinning": self._spinning,
            "denormal_as_zero": False,
        }

    def get_ready(self, max_s: float) -> None:
        """Returns at once: this machine has nothing to wait for."""

    def state(self) -> DeviceState:
        """This machine's state now."""
        return self._watch.state()

    def load(self, artefact: Artefact) -> OrtProgram:
        """Open an ONNX file. Raises `MeasurementError` if the runtime refuses it."""
        if artefact.path is None:
            raise MeasurementError(f"{artefact.name} has no ONNX file; export it first")
        ort = self._ort
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, _LEVELS[self._level])
        options.log_severity_level = 4
        for kind in ("intra_op", "inter_op"):
            options.add_session_config_entry(f"session.{kind}.allow_spinning", str(int(self._spinning)))
        try:
            with pinned(self._cores):
                session = ort.InferenceSession(str(artefact.path), options, providers=["CPUExecutionProvider"])
                return OrtProgram(ort, session, artefact, self._threads, self._cores)
        except MeasurementError:
            raise
        except Exception as error:  # the runtime's exceptions share no base of their own
            raise MeasurementError(f"onnxruntime cannot load {artefact.path}: {one_line(error)}") from error

    def close(self) -> None:
        """Does nothing: nothing is held."""


class OrtProgram:
    """A session with its input and output bound."""

    def __init__(self, ort: Any, session: Any, artefact: Artefact, threads: int, cores: tuple[int, ...]) -> None:
        self._name, self._threads, self._cores = artefact.name, threads, cores
        self._session: Any = session
        self._binding: Any = session.io_binding()
        inputs = session.get_inputs()
        if len(inputs) != 1 or inputs[0].type not in _DTYPES:
            raise MeasurementError(f"{artefact.path} takes {len(inputs)} inputs; give a network with one image input")
        shape = artefact.input_shape or tuple(d if isinstance(d, int) else 1 for d in inputs[0].shape)
        values = random_input(shape, _DTYPES[inputs[0].type])
        self._input = ort.OrtValue.ortvalue_from_numpy(values)
        self._renew: Any = partial(self._input.update_inplace, values)
        self._binding.bind_ortvalue_input(inputs[0].name, self._input)
        self._outputs: list[Any] = []
        first = session.run(None, {inputs[0].name: self._input.numpy()})
        for output, value in zip(session.get_outputs(), first, strict=True):
            bound = ort.OrtValue.ortvalue_from_numpy(value)
            self._binding.bind_ortvalue_output(output.name, bound)
            self._outputs.append(bound)

    def measure(self, how: Slice) -> Samples:
        """Time calls. Raises `MeasurementError` if the runtime fails or the program is closed."""
        if self._session is None:
            raise MeasurementError(f"{self._name} was closed; load it again")
        call = partial(self._session.run_with_iobinding, self._binding)
        try:
            with pinned(self._cores):
                return time_calls(call, how, own_thread_only=self._threads == 1, renew=self._renew)
        except Exception as error:  # the runtime's exceptions share no base of their own
            raise MeasurementError(f"onnxruntime failed to run {self._name}: {one_line(error)}") from error

    def close(self) -> None:
        """Free the session."""
        self._session = self._binding = self._input = self._renew = None
        self._outputs = []
