"""A card that does not exist, behind the same seam as a real one: real arithmetic on the CPU, computed time.

Inside `current()` every operation of torch becomes a kernel on a card with a clock of its own: the host needs
time to launch it, the card runs what is queued in order and as soon as it is there, kernels leave a gap, and
event times are rounded down to the events' resolution. What a real capture forbids is an error here as well.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from devices.cuda.stream import Card

CARD = Card(0, "NVIDIA Stand-in 1", (8, 0), 8 << 30, 4 << 20, 40)
_VIEWS = ("view", "detach", "flatten", "alias", "t.", "expand", "reshape", "unsqueeze", "squeeze", "permute")
_SYNCS = ("_local_scalar_dense", "is_nonzero", "item")


@dataclass
class StandInStream:
    """Times in seconds. `bytes_per_s` and `flops_per_s` set how long a kernel takes, `floor_s` how long at least.

    `cold_factor` is by how much the first launch after a flush is slower. `fail_sync` is raised at the next
    wait, `fail_kernel` when a kernel is launched whose output has at least `fail_elements` elements.
    """

    launch_s: float = 5e-6
    graph_launch_s: float = 9e-6
    graph_start_s: float = 2e-6
    event_host_s: float = 0.6e-6
    event_s: float = 1.3e-6
    gap_s: float = 0.9e-6
    floor_s: float = 1.8e-6
    bytes_per_s: float = 400e9
    flops_per_s: float = 8e12
    flush_s: float = 60e-6
    resolution_s: float = 0.5e-6
    cold_factor: float = 1.4
    noise: float = 0.002
    fail_sync: Exception | None = None
    fail_kernel: Exception | None = None
    fail_elements: int = 1

    host_s: float = 0.0
    card_s: float = 0.0
    launches: int = 0
    flushes: int = 0
    captures: int = 0
    closed: bool = False
    _capturing: list[float] | None = None
    _warm: dict[Any, Any] = field(default_factory=dict)
    _cold: bool = False
    _inside: int = 0
    _random: random.Random = field(default_factory=lambda: random.Random(1))

    def clock(self) -> float:
        """The host's time; looking at it takes some."""
        self.host_s += 1e-7
        return self.host_s

    @contextmanager
    def current(self) -> Iterator[None]:
        self._inside += 1
        try:
            if self._inside > 1:  # as on a card, entering twice changes nothing
                yield
                return
            with _Kernels(self):
                yield
        finally:
            self._inside -= 1

    # -- what torch launches ------------------------------------------------------------------------------

    def kernel(self, seconds: float) -> None:
        if self._capturing is not None:
            self._capturing.append(seconds)
            return
        self.launches += 1
        self.host_s += self.launch_s
        self._run(self._noisy(seconds) + self.gap_s)

    def _run(self, seconds: float) -> None:
        self.card_s = max(self.card_s, self.host_s) + seconds

    def _noisy(self, seconds: float) -> float:
        factor = 1 + self.noise * self._random.gauss(0, 1)
        return seconds * factor * (self.cold_factor if self._cold else 1.0)

    # -- the seam -----------------------------------------------------------------------------------------

    def capture(self, work: Callable[[], object]) -> Callable[[], None]:
        if self._capturing is not None:
            raise RuntimeError("CUDA error: a capture is underway already")
        self.captures += 1
        self._capturing = []
        try:
            with self.current():
                work()
            kernels = self._capturing
        finally:
            self._capturing = None
        if not kernels:
            raise RuntimeError("The CUDA Graph is empty.")
        total = sum(kernels) + self.gap_s * len(kernels)

        def replay() -> None:
            assert self._inside, "a replay outside the stream would run on another one"
            self.launches += 1
            self.host_s += self.graph_launch_s
            self._run(self.graph_start_s + self._noisy(total))
            self._cold = False

        return replay

    def record(self) -> dict[str, float]:
        assert self._capturing is None, "an event recorded in a capture has no time"
        self.host_s += self.event_host_s
        self._run(self.event_s)
        return {"at_s": self.card_s}

    def elapsed_ms(self, start: dict[str, float], end: dict[str, float]) -> float:
        if max(start["at_s"], end["at_s"]) > self.host_s:
            raise RuntimeError("CUDA error: device not ready")
        passed_s = end.pop("at_s") - start.pop("at_s")  # using an event twice is a KeyError
        return 1e3 * self.resolution_s * math.floor(passed_s / self.resolution_s)

    def synchronize(self) -> None:
        if self._capturing is not None:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        self.host_s = max(self.host_s, self.card_s)
        if self.fail_sync is not None:
            raise self.fail_sync

    def flush_l2(self) -> None:
        assert self._inside, "a flush outside the stream would run beside the measurement"
        self.flushes += 1
        self.host_s += self.launch_s
        self._run(self.flush_s)
        self._cold = True

    def close(self) -> None:
        self.closed = True


class _Kernels(TorchDispatchMode):
    """Turns operations into kernels. In a capture nothing runs: outputs have the shapes of the warm-up's."""

    def __init__(self, stream: StandInStream) -> None:
        super().__init__()
        self._stream = stream

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        stream, kwargs, name = self._stream, kwargs or {}, str(func)
        if any(word in name for word in _VIEWS) and "mean" not in name:
            return func(*args, **kwargs)
        key = (name, tuple(_signature(arg) for arg in args))
        if any(word in name for word in _SYNCS):
            stream.synchronize()
            return func(*args, **kwargs)
        if stream._capturing is None:
            out = func(*args, **kwargs)
        elif key not in stream._warm:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        else:  # in place, or a new tensor
            shape, dtype = stream._warm[key]
            out = args[0] if name.split(".")[1].endswith("_") else torch.empty(shape, dtype=dtype)
        if isinstance(out, torch.Tensor):
            stream._warm[key] = (out.shape, out.dtype)
            if stream.fail_kernel is not None and out.numel() >= stream.fail_elements:
                raise stream.fail_kernel
            stream.kernel(_duration(stream, args, out))
        return out


def _signature(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), value.dtype
    return tuple(map(_signature, value)) if isinstance(value, list | tuple) else value


def _duration(stream: StandInStream, args: Any, out: torch.Tensor) -> float:
    tensors = [value for value in args if isinstance(value, torch.Tensor)]
    moved = sum(t.numel() * t.element_size() for t in (*tensors, out))
    flops = 2 * out.numel() * tensors[1][0].numel() if len(tensors) > 1 and tensors[1].dim() == 4 else 0
    return stream.floor_s + max(moved / stream.bytes_per_s, flops / stream.flops_per_s)
