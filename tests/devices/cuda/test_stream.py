"""`CudaStream` and `find_card` against torch.cuda's own signatures: what is called, in which order."""

from __future__ import annotations

import gc
import inspect
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from devices.cuda.stream import Card, CudaStream, find_card
from devices.errors import RuntimeUnavailableError

REAL_TENSOR = {name: getattr(torch, name) for name in ("ones", "empty")}


class FakeCuda:
    """Stands in for the parts of torch.cuda that are used; calls are bound to the real signatures first."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.streams: list[Any] = []
        self.pools: list[Any] = []
        self._at_ms = 0.0
        for name in ("Stream", "Event", "CUDAGraph", "graph", "graph_pool_handle", "synchronize", "device", "stream",
                     "empty_cache"):  # fmt: skip
            self._replace(monkeypatch, name)
        for name, real in REAL_TENSOR.items():
            monkeypatch.setattr(torch, name, self._on_cpu(real))

    def _replace(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        signature = inspect.signature(getattr(torch.cuda, name))
        stand_in = getattr(self, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            signature.bind(*args, **kwargs)
            return stand_in(*args, **kwargs)

        monkeypatch.setattr(torch.cuda, name, call)

    def _on_cpu(self, real: Any) -> Any:
        def make(*args: Any, device: Any = None, **kwargs: Any) -> torch.Tensor:
            assert torch.device(device).type == "cuda"
            made: torch.Tensor = real(*args, **kwargs)
            return made

        return make

    def Stream(self, device: Any) -> Any:  # noqa: N802
        made = SimpleNamespace(synchronize=lambda: self.log.append("wait"))
        self.streams.append(made)
        return made

    def Event(self, enable_timing: bool = False) -> Any:  # noqa: N802
        assert enable_timing
        self.log.append("new event")
        event = SimpleNamespace(at=None)

        def record(stream: Any) -> None:
            assert stream is self.streams[0]
            self._at_ms += 1.0
            event.at = self._at_ms

        event.record = record
        event.elapsed_time = lambda end: end.at - event.at
        return event

    def CUDAGraph(self) -> Any:  # noqa: N802
        assert not torch.is_inference_mode_enabled() or "first graph" in self.log
        return SimpleNamespace(replay=lambda: self.log.append("replay"))

    @contextmanager
    def graph(self, graph: Any, pool: Any = None, stream: Any = None) -> Any:
        assert stream is self.streams[0]
        self.pools.append(pool)
        self.log.append("capture" if "first graph" in self.log else "first graph")
        yield
        self.log.append("captured")

    def graph_pool_handle(self) -> Any:
        return (0, 1)

    def synchronize(self, device: Any = None) -> None:
        self.log.append("wait for all")

    @contextmanager
    def device(self, device: Any) -> Any:
        yield

    @contextmanager
    def stream(self, stream: Any) -> Any:
        assert stream is self.streams[0]
        self.log.append("on the stream")
        yield

    def empty_cache(self) -> None:
        self.log.append("empty")


CARD = Card(0, "X", (9, 0), 80 << 30, 50 << 20, 132)


def test_a_graph_is_captured_at_the_start_after_its_work_ran_on_the_same_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda = FakeCuda(monkeypatch)
    CudaStream(CARD)
    assert len(cuda.streams) == 1
    assert cuda.log == ["wait for all", "on the stream", "wait", "first graph", "captured"]


def test_every_graph_shares_one_pool_and_runs_its_work_in_the_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda(monkeypatch)
    stream = CudaStream(CARD)
    cuda.log.clear()
    cuda.log.append("first graph")
    with torch.inference_mode():
        launch = stream.capture(lambda: cuda.log.append("collecting" if gc.isenabled() else "work"))
    assert gc.isenabled()
    launch()
    launch()
    assert cuda.log[1:] == ["capture", "work", "captured", "replay", "replay"]
    assert cuda.pools == [(0, 1), (0, 1)]


def test_events_are_used_again_and_measure_on_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda(monkeypatch)
    stream = CudaStream(CARD)
    for _ in range(5):
        start, end = stream.record(), stream.record()
        stream.synchronize()
        assert stream.elapsed_ms(start, end) == 1.0
    assert cuda.log.count("new event") == 2


@pytest.mark.parametrize(("l2_bytes", "flushed"), [(4 << 20, 8 << 20), (0, 256 << 20)])
def test_a_flush_writes_twice_the_cache_or_enough_where_its_size_is_unknown(
    monkeypatch: pytest.MonkeyPatch, l2_bytes: int, flushed: int
) -> None:
    FakeCuda(monkeypatch)
    stream = CudaStream(Card(0, "X", (9, 0), 80 << 30, l2_bytes, 132))
    stream.flush_l2()
    stream.flush_l2()
    assert stream._flush is not None
    assert stream._flush.nbytes == flushed
    stream.close()
    stream.close()


def properties(**changes: Any) -> Any:
    known = {"name": "NVIDIA H100", "major": 9, "minor": 0, "total_memory": 80 << 30, "L2_cache_size": 50 << 20,
             "multi_processor_count": 132, "uuid": "1234"}  # fmt: skip
    return SimpleNamespace(**(known | changes))


def found(monkeypatch: pytest.MonkeyPatch, index: int = 0, *, count: int = 1, cuda: str | None = "13.0",
          **changes: Any) -> Card:  # fmt: skip
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties(**changes))
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80", "sm_90"])
    return find_card(index)


def test_a_card_is_what_torch_says_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(monkeypatch) == Card(0, "NVIDIA H100", (9, 0), 80 << 30, 50 << 20, 132, "1234")
    assert found(monkeypatch).device == torch.device("cuda:0")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cuda": None}, "is built without CUDA; install a CUDA build"),
        ({"count": 0}, "no NVIDIA GPU is visible"),
        ({"index": 3}, "no GPU 3: 1 found, counted from 0"),
        ({"name": "NVIDIA TITAN X (Pascal)", "major": 6, "minor": 1},
         r"NVIDIA TITAN X \(Pascal\) is sm_61, and torch .* is built for sm_75, sm_80, sm_90; install a torch build"),
    ],
)  # fmt: skip
def test_a_card_that_cannot_be_used_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(RuntimeUnavailableError, match=message):
        found(monkeypatch, **changes)


def test_a_driver_that_is_too_old_is_told_from_one_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def init() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040). Please update your GPU")

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "init", init)
    with pytest.raises(RuntimeUnavailableError, match=r"driver is too old for torch .*CUDA 13\.0"):
        find_card(0)
