"""The GPU back-end on a stand-in for the card's stream, and on a card where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from statistics import median
from typing import Any

import pytest
import torch
from torch import nn

from devices import Artefact, Slice, load_spec, open_backend
from devices.cuda.backend import CudaBackend, _inductor
from devices.cuda.errors import explain
from devices.cuda.mode import CudaMode
from devices.cuda.module import arithmetic, count_batch_norms, deploy, random_input
from devices.cuda.stream import Card, _pci_bus_id, _why_unusable, runs_on
from devices.cuda.timing import EventTimer, event_overhead_ms, unrolled_calls
from devices.errors import ConnectionLostError, DeviceOptionError, MeasurementError, RuntimeUnavailableError
from devices.folding import fold_batch_norm
from devices.testing import BackendContract
from lut.blocks import parse_block
from profiler.build.modules import build_block, build_network, randomise
from tests.devices.cuda.gpu_stand_in import CARD, StandInStream

KEYS = (
    "conv-i3-o24-k3-s2-hswish@32",
    "mbconv-i24-o24-k3-e1-s1-relu-se0@16",
    "mbconv-i24-o32-k5-e4-s2-relu-se0@16",
    "mbconv-i32-o32-k7-e3-s1-hswish-se1@8",
    "head-i32-m64-f96-o10-hswish@8",
)
SLICE = Slice(min_time_s=0.01, min_runs=5)
CPU = torch.device("cpu")


def block(key: str, seed: int = 0) -> nn.Module:
    return randomise(build_block(parse_block(key)), seed)


def artefact(key: str = KEYS[2], batch: int = 1) -> Artefact:
    return Artefact(key, "torch", (batch, *parse_block(key).input_shape), module=block(key))


def backend(stream: StandInStream | None = None, **mode: Any) -> CudaBackend:
    stream = stream or StandInStream()
    how = CudaMode.from_options("float32", mode)
    return CudaBackend(how, CARD, CPU, stream, None, nvml_missing="not asked", clock=stream.clock)


def steady(stream: StandInStream, seconds: float) -> Any:
    """A launch of one kernel of that length, as a graph."""

    def launch() -> None:
        stream.launches += 1
        stream.host_s += stream.graph_launch_s
        stream._run(stream._noisy(seconds))
        stream._cold = False

    return launch


class TestCudaContract(BackendContract):
    @pytest.fixture(params=[{}, {"mode": "eager", "precision": "bfloat16"}, {"cold": True, "channels_last": True}])
    def backend(self, request: pytest.FixtureRequest) -> Iterator[CudaBackend]:
        gpu = backend(**request.param)
        yield gpu
        gpu.close()

    @pytest.fixture
    def artefact(self) -> Artefact:
        return artefact()

    @pytest.fixture
    def other(self) -> Artefact:
        return artefact(batch=8)

    @pytest.fixture
    def broken(self) -> Artefact:
        return Artefact("broken", "torch", (1, 5, 16, 16), module=block(KEYS[1]))


# -- timing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [4e-6, 30e-6, 700e-6, 20e-3])
def test_a_launch_of_any_length_is_timed_within_a_percent_unless_the_host_is_slower(seconds: float) -> None:
    stream = StandInStream()
    timer = EventTimer(stream, steady(stream, seconds), 1, event_overhead_ms(stream), stream.clock)
    samples = timer.sample(SLICE)
    true = max(seconds, stream.graph_launch_s)  # shorter than its launch: the card waits for the host
    assert median(samples.times_ms) / 1e3 == pytest.approx(true, rel=0.01)
    assert samples.runs >= len(samples.times_ms) >= 5
    assert "below_resolution" not in samples.flags


def test_short_launches_share_a_pair_of_events() -> None:
    stream = StandInStream(noise=0)
    samples = EventTimer(stream, steady(stream, 10e-6), 1, 0.0, stream.clock).sample(SLICE)
    assert samples.runs / len(samples.times_ms) >= 20


def test_the_overhead_of_events_is_measured_and_taken_off() -> None:
    stream = StandInStream(noise=0, event_s=3e-6)
    overhead_ms = event_overhead_ms(stream)
    assert overhead_ms == pytest.approx(0.003, abs=0.0005)
    timed = {
        overhead: median(EventTimer(stream, steady(stream, 250e-6), 1, overhead, stream.clock).sample(SLICE).times_ms)
        for overhead in (0.0, overhead_ms)
    }
    assert timed[0.0] - timed[overhead_ms] == pytest.approx(0.003, abs=0.0011)
    assert timed[overhead_ms] == pytest.approx(0.250, abs=0.001)


def test_a_visit_lasts_as_long_as_asked_and_has_as_many_samples() -> None:
    stream = StandInStream()
    timer = EventTimer(stream, steady(stream, 1e-3), 1, 0.0, stream.clock)
    before = stream.clock()
    samples = timer.sample(Slice(min_time_s=0.05, min_runs=3, warmup_s=0.02, warmup_runs=4))
    assert 0.07 <= stream.clock() - before <= 0.1
    assert 50 <= len(samples.times_ms) <= 60
    assert len(samples.warmup_ms) >= 4
    assert len(timer.sample(Slice(min_time_s=0.0, min_runs=40)).times_ms) >= 40


def test_cold_launches_each_follow_a_flush_and_stand_alone_between_events() -> None:
    stream = StandInStream(noise=0)
    launch = steady(stream, 100e-6)
    cold = EventTimer(stream, launch, 1, event_overhead_ms(stream), stream.clock, cold=True)
    flushed = stream.flushes
    samples = cold.sample(SLICE)
    assert samples.runs == len(samples.times_ms)
    assert stream.flushes - flushed == len(samples.times_ms) + len(samples.warmup_ms)
    assert median(samples.times_ms) == pytest.approx(0.140, rel=0.01)  # the stand-in's cold factor, no flush inside


def test_a_pair_too_short_for_the_events_is_flagged_and_positive() -> None:
    stream = StandInStream(noise=0, event_s=3e-6)
    samples = EventTimer(stream, steady(stream, 2e-6), 1, 0.02, stream.clock, cold=True).sample(SLICE)
    assert "below_resolution" in samples.flags
    assert min(samples.times_ms) > 0


@pytest.mark.parametrize(("call_ms", "calls"), [(0.0, 64), (0.001, 64), (0.01, 20), (0.19, 2), (0.2, 1), (50.0, 1)])
def test_calls_in_a_graph_are_as_many_as_fill_a_pair(call_ms: float, calls: int) -> None:
    assert unrolled_calls(call_ms) == calls


# -- back-end -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", KEYS)
def test_in_a_graph_a_block_costs_its_kernels_and_no_launches(key: str) -> None:
    stream = StandInStream(noise=0)
    program = backend(stream).load(artefact(key))
    kernels_s = _kernels_s(key)
    samples = program.measure(SLICE)
    assert median(samples.times_ms) / 1e3 == pytest.approx(kernels_s, rel=0.06)
    assert samples.flags == ()


def _kernels_s(key: str) -> float:
    """What the stand-in's kernels of a block take, launched one by one."""
    stream, seconds = StandInStream(noise=0), 0.0
    module, inputs = fold_batch_norm(block(key)), torch.randn(1, *parse_block(key).input_shape)
    with stream.current(), torch.inference_mode():
        before = stream.launches
        module(inputs)
        stream.launch_s = stream.host_s = stream.card_s = 0.0
        module(inputs)
        seconds = stream.card_s
        assert stream.launches > before
    return seconds


def test_eager_execution_waits_for_the_host_where_kernels_are_short() -> None:
    graph, eager = (backend(mode=mode).load(artefact()).measure(SLICE) for mode in ("graph", "eager"))
    assert median(eager.times_ms) > 1.3 * median(graph.times_ms)


def test_cold_calls_are_slower_than_warm_ones_and_not_repeated_in_a_graph() -> None:
    warm_stream, cold_stream = StandInStream(noise=0), StandInStream(noise=0)
    warm = backend(warm_stream, cold=False).load(artefact()).measure(SLICE)
    cold = backend(cold_stream, cold=True).load(artefact()).measure(SLICE)
    assert median(cold.times_ms) > 1.3 * median(warm.times_ms)
    assert (warm_stream.captures, cold_stream.captures) == (2, 1)
    assert cold.runs == len(cold.times_ms)


@pytest.mark.parametrize("batch", [1, 64, 256])
def test_the_batch_is_the_artefacts(batch: int) -> None:
    stream = StandInStream(floor_s=0, gap_s=0, graph_start_s=0, noise=0)
    samples = backend(stream).load(artefact(KEYS[1], batch)).measure(SLICE)
    single = backend(StandInStream(floor_s=0, gap_s=0, graph_start_s=0, noise=0)).load(artefact(KEYS[1])).measure(SLICE)
    if batch > 1:  # kernels without a floor: in proportion, but for the weights
        assert median(samples.times_ms) / median(single.times_ms) == pytest.approx(batch, rel=0.25)


def test_compiled_modules_are_compiled_from_the_deployed_copy_and_captured() -> None:
    stream, compiled = StandInStream(), []

    def compiler(module: nn.Module) -> nn.Module:
        compiled.append(module)
        return module

    how = CudaMode(mode="compile", precision="bfloat16")
    gpu = CudaBackend(how, CARD, CPU, stream, None, compiler=compiler, clock=stream.clock)
    assert gpu.load(artefact()).measure(SLICE).runs > 0
    assert count_batch_norms(compiled[0]) == 0
    assert {p.dtype for p in compiled[0].parameters()} == {torch.bfloat16}
    assert stream.captures == 2


def test_more_blocks_of_one_class_are_compiled_than_torch_recompiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    for channels in range(8, 8 * 11, 8):
        key = f"mbconv-i{channels}-o{channels}-k3-e1-s1-relu-se0@4"
        inputs = torch.randn(1, channels, 4, 4)
        with torch.inference_mode():
            assert _inductor(block(key))(inputs).shape == inputs.shape


def test_programs_of_one_input_shape_share_the_input_and_give_it_back() -> None:
    gpu = backend()
    first, second = gpu.load(artefact(KEYS[1])), gpu.load(artefact(KEYS[1]))
    assert len(gpu._inputs) == 1
    first.close()
    second.close()
    assert len(gpu._inputs) == 0
    with pytest.raises(MeasurementError, match="was closed; load it again"):
        first.measure(SLICE)


def test_a_module_is_never_changed_by_measuring_it() -> None:
    given = artefact()
    before = {name: value.clone() for name, value in given.module.state_dict().items()}
    given.module.train()
    backend(precision="float16", channels_last=True).load(given).measure(SLICE)
    after = given.module.state_dict()
    assert given.module.training
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) and before[name].dtype == after[name].dtype for name in before)


def test_the_runtime_records_the_whole_mode_and_the_events_overhead() -> None:
    gpu = backend(precision="tf32", mode="eager", channels_last=True, cold=True)
    runtime = gpu.runtime()
    expected = {
        "name": "torch",
        "precision": "tf32",
        "mode": "eager",
        "memory_format": "channels_last",
        "l2": "cold",
        "batch_norm": "folded",
        "cudnn_benchmark": False,
        "event_overhead_subtracted": True,
    }
    assert expected.items() <= runtime.items()
    assert gpu.device().fields["event_overhead_us"] == pytest.approx(1.3, abs=0.5)
    assert backend().runtime() == backend(StandInStream(event_s=5e-6)).runtime()  # a session resumes on another day


def test_a_card_is_described_without_serial_numbers() -> None:
    info = backend().device()
    assert info.fields["gpu_name"] == "NVIDIA Stand-in 1"
    assert info.fields["nvml"] == "not asked"
    assert not {"uuid", "serial", "pci_bus_id"} & set(info.fields)


def test_an_output_that_overflows_is_flagged() -> None:
    class Overflow(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 1e30 * 1e30

    loaded = backend().load(Artefact("overflow", "torch", (1, 3), module=Overflow().eval()))
    assert "output_not_finite" in loaded.measure(SLICE).flags


# -- errors -------------------------------------------------------------------------------------------------


def test_out_of_memory_names_the_block_the_card_and_the_batch() -> None:
    gone = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nMore\nlines")
    gpu = backend(StandInStream(fail_kernel=gone, fail_elements=2000))
    with pytest.raises(MeasurementError, match=r"out of memory on NVIDIA Stand-in 1 at batch 256; take a smaller"):
        gpu.load(artefact(batch=256))
    gpu._stream.fail_kernel = None  # type: ignore[attr-defined]
    assert gpu.load(artefact()).measure(SLICE).runs > 0  # and the session can go on


def test_a_dead_context_is_a_lost_connection() -> None:
    stream = StandInStream()
    program = backend(stream).load(artefact())
    stream.fail_sync = RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might")
    with pytest.raises(ConnectionLostError, match=r"failed at mbconv.*illegal memory access.*run the same command"):
        program.measure(SLICE)


def test_a_module_that_waits_for_the_card_cannot_be_captured_and_is_told_about_eager() -> None:
    class Waits(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * float(x.sum().item())

    waits = Artefact("waits", "torch", (1, 3), module=Waits().eval())
    with pytest.raises(MeasurementError, match=r"waits cannot be captured in a CUDA graph.*use --mode eager"):
        backend().load(waits)
    assert backend(mode="eager").load(waits).measure(SLICE).runs > 0


def test_a_failed_capture_that_hides_a_lack_of_memory_is_a_lack_of_memory() -> None:
    hidden = RuntimeError("CUDA error: operation failed due to a previous error during capture")
    hidden.__context__ = torch.OutOfMemoryError("CUDA out of memory.")
    assert "out of memory on X at batch 4" in str(explain(hidden, "b", "X", 4))


def test_a_module_that_fails_says_so_in_one_line() -> None:
    wrong = Artefact("wrong", "torch", (1, 5, 16, 16), module=block(KEYS[1]))
    with pytest.raises(MeasurementError, match=r"wrong does not run on NVIDIA Stand-in 1: .*") as caught:
        backend().load(wrong)
    assert "\n" not in str(caught.value)
    with pytest.raises(MeasurementError, match="has no torch module"):
        backend().load(Artefact("file", "onnx", (1, 3)))


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Found no NVIDIA driver on your system. Please check", "no NVIDIA driver on this machine"),
        ("The NVIDIA driver on your system is too old (found version 11040). Please", "driver is too old for torch"),
        ("No CUDA GPUs are available", "no NVIDIA GPU is visible"),
        ("Unexpected error from cudaGetDeviceCount().\nError 802", "CUDA does not start (Unexpected error"),
    ],
)
def test_each_reason_why_cuda_does_not_start_has_its_line(message: str, expected: str) -> None:
    line = _why_unusable(message)
    assert expected in line
    assert "\n" not in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("name", ["cuda", "titan_x"])
def test_without_a_gpu_opening_says_so(name: str) -> None:
    with pytest.raises(RuntimeUnavailableError, match=r"no NVIDIA|without CUDA"):
        open_backend(load_spec(name))


@pytest.mark.parametrize(
    ("capability", "built_for", "runs"),
    [
        ((8, 6), ["sm_75", "sm_80"], True),
        ((9, 0), ["sm_75", "sm_80"], False),
        ((9, 0), ["sm_80", "compute_80"], True),
        ((6, 1), ["sm_50", "sm_60", "sm_70"], True),
        ((6, 1), ["sm_75", "sm_80", "sm_90"], False),
        ((5, 2), ["sm_75"], False),
        ((9, 0), ["sm_90a"], True),
        ((12, 0), ["sm_90a"], False),
        ((8, 0), [], True),
    ],
)
def test_a_card_runs_code_of_its_major_version_and_older_portable_code(
    capability: tuple[int, int], built_for: list[str], runs: bool
) -> None:
    assert runs_on(capability, built_for) is runs


def test_a_pci_address_is_written_as_nvml_writes_it() -> None:
    class Properties:
        pci_domain_id, pci_bus_id, pci_device_id = 0, 0x3B, 0

    assert _pci_bus_id(Properties()) == "00000000:3B:00.0"
    assert _pci_bus_id(object()) == ""


# -- modes --------------------------------------------------------------------------------------------------


def test_options_override_a_specs_and_none_does_not() -> None:
    spec = load_spec("titan_x")
    how = CudaMode.from_options(spec.precision, spec.options, {"precision": "float16", "mode": None, "cold": True})
    assert how == CudaMode("float16", "graph", cold=True)
    assert spec.batch == 64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int8"}, "precision 'int8' is unknown.*float32, tf32, float16, bfloat16"),
        ({"mode": "fast"}, "mode 'fast' is unknown.*eager, graph, compile"),
        ({"delegate": "gpu"}, "no option 'delegate'; it takes channels_last"),
        ({"cold": 1}, "cold is 1, which is not a bool"),
        ({"gpu": True}, "gpu is True, which is not a int"),
        ({"gpu": -1}, "count from 0"),
    ],
)
def test_an_option_that_is_wrong_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DeviceOptionError, match=message):
        CudaMode.from_options("float32", options)


@pytest.mark.parametrize(
    ("precision", "capability", "allowed"),
    [
        ("float32", (5, 2), True),
        ("float16", (5, 2), False),
        ("float16", (6, 1), True),
        ("tf32", (7, 5), False),
        ("bfloat16", (7, 5), False),
        ("tf32", (8, 0), True),
        ("bfloat16", (9, 0), True),
    ],
)
def test_a_precision_that_the_card_would_imitate_is_refused(
    precision: str, capability: tuple[int, int], allowed: bool
) -> None:
    mode = CudaMode(precision)
    if allowed:
        mode.require(capability, "X")
    else:
        with pytest.raises(DeviceOptionError, match="use --precision float32"):
            mode.require(capability, "X")


@pytest.mark.parametrize(("precision", "tf32"), [("float32", False), ("tf32", True), ("float16", False)])
def test_arithmetic_sets_torchs_switches_and_puts_them_back(precision: str, tf32: bool) -> None:
    def switches() -> tuple[Any, ...]:
        cudnn = torch.backends.cudnn
        return torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark, cudnn.enabled

    before = switches()
    with arithmetic(CudaMode(precision, cudnn_benchmark=True)):
        assert switches() == ("high" if tf32 else "highest", tf32, True, True)
        assert torch.is_inference_mode_enabled()
    with pytest.raises(ZeroDivisionError), arithmetic(CudaMode(precision)):
        1 / 0  # noqa: B018
    assert switches() == before


# -- modules ------------------------------------------------------------------------------------------------


def test_folding_leaves_no_batch_norm_and_the_same_outputs() -> None:
    network = randomise(build_network([parse_block(key) for key in KEYS]))
    folded = fold_batch_norm(network)
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        expected = network(images)
        assert torch.allclose(folded(images), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert count_batch_norms(network) > 0
    assert count_batch_norms(folded) == 0


def test_a_batch_norm_that_no_convolution_precedes_stays_and_is_flagged() -> None:
    module = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1)).eval()
    loaded = backend().load(Artefact("norm first", "torch", (1, 3, 8, 8), module=module))
    assert "batch_norm_not_folded" in loaded.measure(SLICE).flags


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("float32", torch.float32), ("tf32", torch.float32), ("float16", torch.float16), ("bfloat16", torch.bfloat16)],
)
@pytest.mark.parametrize("channels_last", [False, True])
def test_weights_and_inputs_have_the_modes_type_and_layout(
    precision: str, dtype: torch.dtype, channels_last: bool
) -> None:
    mode = CudaMode(precision, channels_last=channels_last)
    ready = deploy(block(KEYS[2]), mode, CPU)
    inputs = random_input((2, 24, 16, 16), mode, CPU)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert inputs.dtype == dtype
    assert inputs.is_contiguous(memory_format=layout)
    assert all(p.dtype == dtype and not p.requires_grad for p in ready.parameters())
    convolutions = [m for m in ready.modules() if isinstance(m, nn.Conv2d)]
    assert all(m.weight.is_contiguous(memory_format=layout) for m in convolutions)
    assert float((inputs == 0).float().mean()) < 0.001
    assert torch.equal(inputs, random_input((2, 24, 16, 16), mode, CPU))
    with torch.inference_mode():
        outputs = ready(inputs)
        reference = block(KEYS[2])(inputs.float())
    assert outputs.is_contiguous(memory_format=layout)
    assert torch.allclose(outputs.float(), reference, atol=0.1 * float(reference.abs().max()))


# -- a card -------------------------------------------------------------------------------------------------

gpu_only = pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here")


@pytest.mark.gpu
@gpu_only
@pytest.mark.parametrize("options", [{}, {"mode": "eager"}, {"cold": True}, {"precision": "float16"}, {"gpu": 0}])
def test_a_real_card_measures_a_block_twice_alike(options: dict[str, Any]) -> None:
    gpu = open_backend(load_spec("cuda"), **options)
    program = gpu.load(artefact("mbconv-i32-o32-k7-e6-s1-relu-se0@56", 16))
    gpu.load(artefact(KEYS[0])).close()  # another graph comes and goes in the shared pool
    first, second = (median(program.measure(Slice(0.1, 10)).times_ms) for _ in range(2))
    assert first == pytest.approx(second, rel=0.1)
    gpu.close()


@pytest.mark.gpu
@gpu_only
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_replayed_graph_computes_what_the_module_computes(precision: str) -> None:
    from devices.cuda.stream import CudaStream, find_card

    stream, mode = CudaStream(find_card(0)), CudaMode(precision)
    with stream.current():
        ready, inputs = deploy(block(KEYS[2]), mode, torch.device("cuda")), None
        inputs = random_input((4, 24, 16, 16), mode, torch.device("cuda"))
        outputs: list[torch.Tensor] = []
        with arithmetic(mode):
            for _ in range(3):
                expected = ready(inputs)
            replay = stream.capture(lambda: outputs.append(ready(inputs)))
            replay()
            stream.synchronize()
            assert torch.allclose(outputs[0], expected, rtol=1e-2, atol=1e-2)


def test_the_stand_in_is_no_card_that_anyone_has() -> None:
    assert isinstance(CARD, Card)
    assert load_spec("titan_x").mismatch(backend().device()) is not None
