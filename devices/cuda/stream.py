"""The only module that talks to torch.cuda: finding a card, and a stream on it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from devices.cuda.cards import NO_CARD
from devices.cuda.timing import Work
from devices.errors import RuntimeUnavailableError

_cuda: Any = torch.cuda  # much of it has no types

# What is overwritten to flush a cache whose size torch does not tell; larger than any card's so far.
_UNKNOWN_L2_BYTES = 128 << 20


@dataclass(frozen=True)
class Card:
    """A card as the CUDA runtime describes it. `uuid` and `pci_bus_id` find it in NVML; they are not kept."""

    index: int
    name: str
    capability: tuple[int, int]
    memory_bytes: int
    l2_bytes: int
    multiprocessors: int
    uuid: str = ""
    pci_bus_id: str = ""

    @property
    def device(self) -> torch.device:
        """The card as torch names it."""
        return torch.device("cuda", self.index)


def find_card(index: int) -> Card:
    """The card of that index, ready to run. Raises `RuntimeUnavailableError` in one line for each cause."""
    if torch.version.cuda is None:
        raise RuntimeUnavailableError(f"torch {torch.__version__} is built without CUDA; install a CUDA build of torch")
    try:
        _cuda.init()
        count = _cuda.device_count()
    except (RuntimeError, AssertionError) as error:
        raise RuntimeUnavailableError(_why_unusable(str(error))) from error
    if count == 0:
        raise RuntimeUnavailableError(NO_CARD)
    if index >= count:
        raise RuntimeUnavailableError(f"no GPU {index}: {count} found, counted from 0; choose another")
    found = _cuda.get_device_properties(index)
    card = Card(
        index=index,
        name=found.name,
        capability=(found.major, found.minor),
        memory_bytes=found.total_memory,
        l2_bytes=int(getattr(found, "L2_cache_size", 0)),
        multiprocessors=found.multi_processor_count,
        uuid=str(getattr(found, "uuid", "")),
        pci_bus_id=_pci_bus_id(found),
    )
    built_for = _cuda.get_arch_list()
    if not runs_on(card.capability, built_for):
        raise RuntimeUnavailableError(
            f"{card.name} is sm_{card.capability[0]}{card.capability[1]}, and torch {torch.__version__} is built for "
            f"{', '.join(built_for)}; install a torch build for an older CUDA, which includes it"
        )
    return card


def _why_unusable(message: str) -> str:
    """One line from what torch says when CUDA does not start."""
    first = " ".join(message.split())
    if "too old" in first:
        return (
            f"the NVIDIA driver is too old for torch {torch.__version__} (CUDA {torch.version.cuda}); "
            "update the driver, or install a torch build for an older CUDA"
        )
    if "no NVIDIA driver" in first:
        return "no NVIDIA driver on this machine; install one, or use --device cpu"
    if "No CUDA GPUs" in first or "no CUDA-capable device" in first:
        return NO_CARD
    return f"CUDA does not start ({first[:200]}); check nvidia-smi"


def runs_on(capability: tuple[int, int], built_for: list[str]) -> bool:
    """Whether code for those architectures runs on a card of that compute capability.

    Machine code (`sm_86`) runs within its major version on the same or a later minor one, `compute_90`
    on everything later; suffixes as in `sm_90a` bind to that one. An empty list says nothing, and passes.
    """
    if not built_for:
        return True
    own = capability[0] * 10 + capability[1]
    for name in built_for:
        kind, _, number = name.partition("_")
        if not number.isdecimal():
            fits = number[:-1] == str(own)
        else:
            fits = int(number) <= own and (kind == "compute" or int(number) // 10 == capability[0])
        if fits:
            return True
    return False


def _pci_bus_id(properties: Any) -> str:
    """The address as NVML writes it; empty where torch does not tell it."""
    domain, bus, device = (getattr(properties, f"pci_{part}_id", None) for part in ("domain", "bus", "device"))
    if domain is None or bus is None or device is None:
        return ""
    return f"{domain:08X}:{bus:02X}:{device:02X}.0"


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """What a collection frees on the card in the middle of a capture would end the capture."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


class CudaStream:
    """A `Stream` on a card, for warm-up, capture and replay alike.

    One stream for all three, since cuBLAS and cuDNN keep handles and workspaces per stream, and must not
    create them during a capture. All graphs share one memory pool: graphs here never run at the same time
    and never read each other's memory. `_anchor` is a graph that stays: a pool may not be used again once
    its last graph is gone, and the state that torch keeps for all graphs is made by the first, which must not
    be captured in inference mode.
    """

    def __init__(self, card: Card) -> None:
        self._card = card
        self._stream = _cuda.Stream(card.device)
        self._events: list[Any] = []
        self._flush: torch.Tensor | None = None
        self._pool: Any = _cuda.graph_pool_handle()
        self._scratch = torch.ones(1024, device=card.device)
        _cuda.synchronize(card.device)  # the scratch is filled on another stream
        with self.current():
            self._touch()
        self.synchronize()
        self._anchor: Work | None = self.capture(self._touch)

    def _touch(self) -> None:
        self._scratch.mul_(1.0)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Inside, torch launches on this stream."""
        with _cuda.device(self._card.device), _cuda.stream(self._stream):
            yield

    def capture(self, work: Work) -> Work:
        """Record what `work` launches in a CUDA graph; the result launches it on the current stream."""
        graph = _cuda.CUDAGraph()
        on_card = _cuda.device(self._card.device)
        with _no_garbage_collection(), on_card, _cuda.graph(graph, pool=self._pool, stream=self._stream):
            work()
        replay: Work = graph.replay
        return replay

    def record(self) -> Any:
        """Queue an event, one that was used before where there is one: creating them takes time."""
        event = self._events.pop() if self._events else _cuda.Event(enable_timing=True)
        event.record(self._stream)
        return event

    def elapsed_ms(self, start: Any, end: Any) -> float:
        """Milliseconds on the card between two passed events, which are free for use again."""
        passed = float(start.elapsed_time(end))
        self._events += (start, end)
        return passed

    def synchronize(self) -> None:
        """Wait for all that is queued."""
        self._stream.synchronize()

    def flush_l2(self) -> None:
        """Queue a write of twice the L2 cache's size."""
        if self._flush is None:
            size = 2 * (self._card.l2_bytes or _UNKNOWN_L2_BYTES)
            self._flush = torch.empty(size, dtype=torch.uint8, device=self._card.device)
        self._flush.fill_(1)

    def close(self) -> None:
        """Give the memory back. Closing twice is harmless."""
        self._anchor = self._flush = None
        self._events.clear()
        _cuda.empty_cache()
