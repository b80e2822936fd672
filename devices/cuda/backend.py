"""Networks on an NVIDIA GPU through torch: captured in CUDA graphs, timed by events, the card watched by NVML.

Blocks are measured as they run inside a network: batch-norm folded, many calls one after the other in one
graph, so that no launch is timed that a network would not have. Times are the card's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, cast
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from devices.backend import Artefact, ArtefactFormat, DeviceInfo, DeviceState, Program, Samples, Slice
from devices.cuda.cards import choose_card, list_cards
from devices.cuda.errors import explain
from devices.cuda.mode import OPTIONS, CudaMode
from devices.cuda.module import arithmetic, count_batch_norms, deploy, random_input
from devices.cuda.nvml import Nvml
from devices.cuda.stream import Card, CudaStream, find_card
from devices.cuda.timing import (
    EVENT_RESOLUTION_MS,
    PAIR_MS,
    Clock,
    EventTimer,
    Stream,
    Work,
    event_overhead_ms,
    unrolled_calls,
)
from devices.errors import DeviceError, MeasurementError
from devices.host.computer import cpu_model
from devices.spec import DeviceSpec

_cudnn: Any = torch.backends.cudnn  # has no types

Compiler = Callable[[nn.Module], Callable[[Tensor], Tensor]]

_WARM_UP_CALLS = 3
_SPIN_UP_S = 0.5
_ESTIMATE = Slice(min_time_s=0.0, min_runs=3, warmup_runs=2)


def open_cuda(
    spec: DeviceSpec,
    *,
    precision: str | None = None,
    mode: str | None = None,
    channels_last: bool | None = None,
    cold: bool | None = None,
    cudnn_benchmark: bool | None = None,
    gpu: int | None = None,
) -> CudaBackend:
    """The back-end of `spec`; what is given overrides the spec's own options. See `CudaMode`.

    Raises `RuntimeUnavailableError` where no GPU can be used, `DeviceOptionError` for what the card or the
    back-end cannot do.
    """
    given = {"precision": precision, "mode": mode, "channels_last": channels_last, "cold": cold,
             "cudnn_benchmark": cudnn_benchmark, "gpu": gpu}  # fmt: skip
    options = spec.settle(OPTIONS, **given)
    if options["gpu"] is None:
        options["gpu"] = choose_card(spec, [card.name for card in list_cards()])
    how = CudaMode.from_options(spec.precision, options)
    card = find_card(how.gpu)
    how.require(card.capability, card.name)
    nvml, why_not = Nvml.open(card.uuid, card.pci_bus_id)  # before the card is used: see foreign_processes
    try:
        stream = CudaStream(card)
    except RuntimeError as error:
        raise explain(error, "starting", card.name, 0) from error
    return CudaBackend(how, card, card.device, stream, nvml, nvml_missing=why_not)


def attached() -> list[str]:
    """The cards that torch sees, one line each; empty where there are none."""
    if not torch.cuda.is_available():
        return []
    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB (--gpu {index})" for index, gpu in enumerate(found)]


def _inductor(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """torch.compile with its usual back-end. Each module is compiled afresh.

    Modules of one class share a limit of recompilations, which a table's worth of blocks exceeds; what was
    compiled before has been captured by then and is not called again.
    """
    torch.compiler.reset()
    return cast(Callable[[Tensor], Tensor], torch.compile(module, fullgraph=True, dynamic=False))


class CudaBackend:
    """One card in one mode. `device` is where tensors live; the tests put it on the CPU, with a stream of theirs."""

    def __init__(
        self,
        mode: CudaMode,
        card: Card,
        device: torch.device,
        stream: Stream,
        nvml: Nvml | None,
        *,
        nvml_missing: str = "",
        compiler: Compiler = _inductor,
        clock: Clock = time.perf_counter,
    ) -> None:
        self._mode, self._card, self._device, self._stream = mode, card, device, stream
        self._nvml, self._nvml_missing, self._compiler, self._clock = nvml, nvml_missing, compiler, clock
        self._inputs: WeakValueDictionary[tuple[int, ...], Tensor] = WeakValueDictionary()
        self._shared_with_others = False
        self._spin_up()
        self._overhead_ms = event_overhead_ms(stream)

    def _spin_up(self) -> None:
        """Keep the card busy until its clocks have risen."""
        started_s = self._clock()
        with self._stream.current():
            while self._clock() - started_s < _SPIN_UP_S:
                for _ in range(8):
                    self._stream.flush_l2()
                self._stream.synchronize()

    @property
    def artefact_format(self) -> ArtefactFormat:
        """Modules of torch."""
        return "torch"

    def device(self) -> DeviceInfo:
        """The card, its events' overhead, and the host's processor, which launches what is not captured."""
        card = self._card
        facts = {
            "gpu_name": card.name,
            "compute_capability": f"{card.capability[0]}.{card.capability[1]}",
            "memory_bytes": card.memory_bytes,
            "l2_bytes": card.l2_bytes,
            "multiprocessors": card.multiprocessors,
            "event_overhead_us": round(self._overhead_ms * 1e3, 3),
            "host_cpu_model": cpu_model(),
        }
        known = self._nvml.describe() if self._nvml else {"nvml": self._nvml_missing}
        return DeviceInfo("gpu", card.name, facts | known)

    def runtime(self) -> Mapping[str, Any]:
        """torch, CUDA and cuDNN, the mode, and how times are taken; equal for sessions that may be mixed."""
        return {
            "name": "torch",
            "version": torch.__version__,
            "cuda": torch.version.cuda,
            "cudnn": _cudnn.version() if _cudnn.is_available() else None,
            "threads": 1,
            **self._mode.as_fields(),
            "batch_norm": "folded",
            "timer": "events",
            "event_overhead_subtracted": True,
            "event_resolution_us": EVENT_RESOLUTION_MS * 1e3,
            "pair_us": PAIR_MS * 1e3,
        }

    def get_ready(self, max_s: float) -> None:
        """Returns at once: opening has made the card ready."""

    def state(self) -> DeviceState:
        """The card now; nothing is known without NVML."""
        if self._nvml is None:
            return DeviceState()
        state = self._nvml.state()
        self._shared_with_others = bool(state.details.get("other_processes"))
        return state

    def load(self, artefact: Artefact) -> Program:
        """Copy, fold, convert, warm up and capture a module.

        Raises `MeasurementError` if it does not run or does not fit in memory, `ConnectionLostError` if the
        card does not answer any more.
        """
        module = artefact.module
        if not isinstance(module, nn.Module):
            raise MeasurementError(f"{artefact.name} has no torch module; give an artefact of format torch")
        with self.running(artefact):
            ready = deploy(module, self._mode, self._device)
            inputs = self._input(artefact.input_shape)
            call: Callable[[Tensor], Any] = self._compiler(ready) if self._mode.mode == "compile" else ready
            work = partial(call, inputs)
            with arithmetic(self._mode):
                flags = self._warm_up(work)
                launch, calls = self._capture(work) if self._mode.captured else (work, 1)
        if count_batch_norms(ready):
            flags.append("batch_norm_not_folded")
        return CudaProgram(self, artefact, self._timer(launch, calls), tuple(flags), keep=(ready, call, inputs))

    @contextmanager
    def running(self, artefact: Artefact) -> Iterator[None]:
        """On this card's stream; what goes wrong becomes one of this package's errors."""
        try:
            with self._stream.current():
                yield
        except DeviceError:
            raise
        except Exception as error:  # compilers, captures and kernels fail each with an exception of its own
            batch = artefact.input_shape[0] if artefact.input_shape else 0
            raise explain(error, artefact.name, self._card.name, batch) from error

    def measure(self, artefact: Artefact, timer: EventTimer, how: Slice) -> Samples:
        """Time the calls of one program in this mode's arithmetic.

        The flag `gpu_shared` says that other processes computed on the card when it was last looked at.
        """
        with self.running(artefact), arithmetic(self._mode):
            samples = timer.sample(how)
        return replace(samples, flags=(*samples.flags, "gpu_shared")) if self._shared_with_others else samples

    def _input(self, shape: tuple[int, ...]) -> Tensor:
        """The input of that shape, shared by all programs that take it: networks only read it."""
        inputs = self._inputs.get(shape)
        if inputs is None:
            inputs = random_input(shape, self._mode, self._device)
            self._inputs[shape] = inputs
        return inputs

    def _warm_up(self, work: Work) -> list[str]:
        """Run a few times, as a capture requires; says if the output is of no use to a network."""
        output: Any = None
        for _ in range(_WARM_UP_CALLS):
            output = work()
        self._stream.synchronize()
        finite = not isinstance(output, Tensor) or bool(torch.isfinite(output).all())
        return [] if finite else ["output_not_finite"]

    def _capture(self, work: Work) -> tuple[Work, int]:
        """A launch of one graph, and how many calls it holds: several where one call is short."""
        single = self._stream.capture(work)
        if self._mode.cold:
            return single, 1
        times = self._timer(single, 1).sample(_ESTIMATE).times_ms
        calls = unrolled_calls(min(times))
        if calls == 1:
            return single, 1

        def repeated() -> None:
            for _ in range(calls):
                work()

        return self._stream.capture(repeated), calls

    def _timer(self, launch: Work, calls: int) -> EventTimer:
        return EventTimer(self._stream, launch, calls, self._overhead_ms, self._clock, self._mode.cold)

    def close(self) -> None:
        """Let the card and NVML go. Closing twice is harmless."""
        if self._nvml is not None:
            self._nvml.close()
        self._stream.close()


class CudaProgram:
    """A module that is captured, or ready to be launched. `keep` holds what its launches read."""

    def __init__(
        self, backend: CudaBackend, artefact: Artefact, timer: EventTimer, flags: tuple[str, ...], keep: object
    ) -> None:
        self._backend, self._artefact, self._flags = backend, artefact, flags
        self._timer: EventTimer | None = timer
        self._keep: object = keep

    def measure(self, how: Slice) -> Samples:
        """Time calls. Raises `MeasurementError` if they fail or the program is closed, `ConnectionLostError`."""
        if self._timer is None:
            raise MeasurementError(f"{self._artefact.name} was closed; load it again")
        samples = self._backend.measure(self._artefact, self._timer, how)
        return replace(samples, flags=samples.flags + self._flags)

    def close(self) -> None:
        """Free the graph and the weights. Closing twice is harmless."""
        self._timer = self._keep = None
