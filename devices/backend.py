"""The seam between measuring and hardware: run one artefact on one device, return raw samples.

A back-end is a file beside this one with a class that satisfies `Backend`; `devices/testing.py` holds
what every one of them must do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

ArtefactFormat = Literal["onnx", "tflite", "torch", "specs"]


@dataclass(frozen=True)
class Artefact:
    """One block or network in the form a back-end runs.

    `name` is the block key or the architecture string, `input_shape` includes the batch, in the order the
    artefact takes it (channels last for tflite). Files (`onnx`, `tflite`) have a `path`; the format
    `torch` has a `module`, an eval-mode `torch.nn.Module`, instead. The format `specs` is for back-ends that
    compute and run nothing: its `module` is the tuple of the block specs. `activation_bytes` is what its layers'
    values take at its batch, 0 where that is not known.

    >>> Artefact("stem", "onnx", (1, 3, 224, 224), path=Path("stem.onnx")).format
    'onnx'
    """

    name: str
    format: ArtefactFormat
    input_shape: tuple[int, ...]
    path: Path | None = None
    module: Any = field(default=None, compare=False, repr=False)
    activation_bytes: int = 0


@dataclass(frozen=True)
class DeviceInfo:
    """The hardware that was really found. `fields` are JSON values with units in their keys.

    `fields` must hold what the specs' `match` tables refer to (for instance `cpu_model`, `gpu_name`, `soc`), and what
    `lut.identity` tells devices of this kind apart by. `unit` tells this one from others like it, where that can be
    known: it is for journals, and enters no table.

    >>> DeviceInfo("cpu", "Core i5-7400", {"cpu_model": "Core i5-7400", "memory_gib": 16.0}).fields["memory_gib"]
    16.0
    """

    kind: str
    model: str
    fields: Mapping[str, Any]
    unit: str = ""


@dataclass(frozen=True)
class DeviceState:
    """What may disturb a measurement, at one moment. None: cannot be read here.

    `load` is the number of other runnable tasks per core where that is known; `throttled` means that the
    device itself says so. `details` are JSON values with units in their keys.

    >>> DeviceState(temperature_c=61.5, load=0.1).throttled
    False
    """

    temperature_c: float | None = None
    clock_mhz: float | None = None
    load: float | None = None
    throttled: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Samples:
    """Raw times of consecutive calls, in milliseconds per call at the artefact's batch; warm-ups apart.

    A device that only reports an aggregate of one invocation gives one time per invocation (its median, or
    its mean where there is no median) and says in `runs` how many calls stand behind the times.

    Where the device can tell which calls another task disturbed, `times_ms` are without them. Then `wall_ms` are
    all calls as they happened, in order, and `disturbed` the indices in it of those that were left out. Both are
    empty where no call was disturbed, or none can be told.

    >>> Samples((1.21, 1.20, 1.22), warmup_ms=(3.4,)).runs
    3
    """

    times_ms: tuple[float, ...]
    warmup_ms: tuple[float, ...] = ()
    runs: int = 0
    flags: tuple[str, ...] = ()
    wall_ms: tuple[float, ...] = ()
    disturbed: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.runs == 0:
            object.__setattr__(self, "runs", len(self.times_ms))


@dataclass(frozen=True)
class Slice:
    """How long one visit to an artefact lasts: until `min_runs` calls and `min_time_s` seconds, both.

    Untimed calls of `warmup_s` seconds (at least `warmup_runs`) come first. With `cold_mib`, back-ends of this
    machine's CPU overwrite so many MiB of memory before each call, untimed: weights then come from where they come from
    inside a network, which uses all its other weights in between. Other back-ends pay no heed to it.

    >>> Slice(min_time_s=0.5, min_runs=10).warmup_runs
    1
    """

    min_time_s: float = 0.04
    min_runs: int = 3
    warmup_s: float = 0.0
    warmup_runs: int = 1
    cold_mib: int = 0


@runtime_checkable
class Program(Protocol):
    """An artefact that is loaded and ready to run."""

    def measure(self, how: Slice) -> Samples:
        """Warm up and time calls. Raises `MeasurementError` if the artefact fails, `ConnectionLostError`."""

    def close(self) -> None:
        """Free what loading took. Closing twice is harmless."""


@runtime_checkable
class Backend(Protocol):
    """One runtime on one device."""

    @property
    def artefact_format(self) -> ArtefactFormat:
        """What `load` takes."""

    def device(self) -> DeviceInfo:
        """Identify the hardware, whatever the spec says."""

    def runtime(self) -> Mapping[str, Any]:
        """Name, version, threads, precision and options of the runtime, as JSON values."""

    def state(self) -> DeviceState:
        """Temperatures, clocks and load now; cheap enough to call between rounds."""

    def get_ready(self, max_s: float) -> None:
        """Wait until the device is fit to be measured, `max_s` seconds at most.

        Called once, when all artefacts are made and before the first is loaded.
        """

    def load(self, artefact: Artefact) -> Program:
        """Make an artefact ready. Raises `MeasurementError` if the runtime refuses it."""

    def close(self) -> None:
        """Release the device. Closing twice is harmless."""
