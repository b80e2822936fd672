"""A device is set up for verification as it was for the table."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from devices import Artefact, DeviceInfo, DeviceSpec, Slice, load_spec, open_backend
from devices.cuda import backend as cuda
from devices.cuda.backend import CudaBackend
from devices.cuda.mode import CudaMode
from devices.errors import DeviceOptionError
from lut.blocks import parse_block
from lut.entry import Entry
from lut.table import LatencyTable, TableMetadata
from profiler.build.modules import build_network, randomise
from profiler.measure.session import Sampling
from profiler.measure.stopping import StopSettings
from profiler.verification import networks as measuring
from profiler.verification.as_profiled import as_profiled, difference
from profiler.verification.networks import measure_networks
from tests.devices.cuda.gpu_stand_in import CARD, StandInStream
from tests.tables import TINY, made_up_metadata

NETWORK = [
    parse_block("conv-i3-o24-k3-s2-hswish@16"),
    parse_block("mbconv-i24-o24-k3-e1-s1-relu-se0@8"),
    parse_block("head-i24-m32-f32-o10-hswish@8"),
]


SLICE = Slice(min_time_s=0.0, min_runs=3)
QUICK = Sampling(SLICE, SLICE, SLICE, warm_up_s=0.0, max_wait_s=0.0, stop=StopSettings(1.0, 3, 3))


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long is measured is another's affair."""
    monkeypatch.setattr(measuring, "sampling_for", lambda _: QUICK)


def made_on(device: str, batch: int = 1, options: dict[str, Any] | None = None, **runtime: Any) -> TableMetadata:
    """Metadata of a table of that device's."""
    about = {"spec": device, "model": "Abacus 3"} | ({"options": options} if options else {})
    return replace(made_up_metadata(TINY), batch=batch, device=about, runtime={"name": "beads", **runtime})


def settings(spec: DeviceSpec) -> tuple[int, int, str]:
    return spec.batch, spec.threads, spec.precision


@pytest.mark.parametrize(
    ("made", "measured", "expected"),
    [
        ("cuda", "cuda", (64, 1, "tf32")),
        ("titan_x", "cuda", (64, 1, "tf32")),
        ("cuda", "cpu", (64, 1, "float32")),
        ("cuda_ort", "cuda", (64, 1, "float32")),
    ],
)
def test_batch_and_precision_are_a_gpu_tables(made: str, measured: str, expected: tuple[int, int, str]) -> None:
    spec, _ = as_profiled(load_spec(measured), made_on(made, 64, threads=1, precision="tf32"))
    assert settings(spec) == expected


@pytest.mark.parametrize(
    ("measured", "precision"),
    [("android", "int8"), ("snapdragon821", "int8"), ("cpu_tflite", "int8"), ("cpu", "float32"), ("cuda", "float32")],
)
def test_a_phone_tables_threads_go_anywhere_and_its_precision_to_whoever_runs_the_same_files(
    measured: str, precision: str
) -> None:
    spec, _ = as_profiled(load_spec(measured), made_on("android", threads=2, precision="int8"))
    assert settings(spec) == (1, 2, precision)


def test_options_go_to_the_same_back_end_and_cores_to_the_same_device() -> None:
    table = made_on("snapdragon821", options={"delegate": "gpu", "affinity": "0-1"})
    assert as_profiled(load_spec("snapdragon821"), table)[1] == {"delegate": "gpu", "affinity": "0-1"}
    assert as_profiled(load_spec("android"), table)[1] == {"delegate": "gpu"}
    assert as_profiled(load_spec("cpu"), table)[1] == {}


def test_what_a_table_does_not_say_is_the_devices_own() -> None:
    spec = replace(load_spec("cpu"), threads=3)
    imported = replace(made_up_metadata(TINY), device={"name": "a board"}, runtime={})
    assert as_profiled(spec, imported) == (spec, {})


def test_a_device_of_the_users_own_is_known_by_its_name() -> None:
    mine = replace(load_spec("cuda"), name="mine")
    assert settings(as_profiled(mine, made_on("mine", 8, precision="bfloat16"))[0]) == (8, 1, "bfloat16")
    assert settings(as_profiled(mine, made_on("theirs", 8, precision="bfloat16"))[0]) == (8, 1, "float32")


def test_what_differs_all_the_same_is_said() -> None:
    table = made_on("android", threads=1, precision="int8", version="sha256 aa")
    same = {"name": "beads", "threads": 1, "precision": "int8", "version": "sha256 aa", "binary_bytes": 3}
    here = DeviceInfo("phone", "Abacus 3", {})
    assert difference(table, here, same) is None
    assert difference(table, here, same | {"version": "sha256 bb", "threads": 2}) == (
        "measured unlike the table: version sha256 bb (the table's: sha256 aa), threads 2 (the table's: 1)"
    )
    assert difference(table, DeviceInfo("cpu", "Sums", {}), {"name": "pebbles"}) == (
        "measured unlike the table: device Sums (the table's: Abacus 3), runtime pebbles (the table's: beads)"
    )


def test_another_processor_of_the_same_name_is_said_to_be_another() -> None:
    facts = {"kind": "cpu", "model": "AMD EPYC", "cpu_family_model_stepping": "26/2/1"}
    table = replace(made_on("cpu"), device={"spec": "cpu", **facts}, runtime={})
    here = DeviceInfo("cpu", "AMD EPYC", {"cpu_family_model_stepping": "25/1/1"})
    assert difference(table, here, {}) == (
        "measured unlike the table: cpu family model stepping 25/1/1 (the table's: 26/2/1)"
    )


@pytest.mark.usefixtures("_quick")
def test_a_gpu_measures_networks_at_the_tables_batch_precision_and_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    def open_stand_in(spec: DeviceSpec, **options: Any) -> CudaBackend:
        stream, mode = StandInStream(), CudaMode.from_options(spec.precision, spec.options, options)
        return CudaBackend(mode, CARD, torch.device("cpu"), stream, None, clock=stream.clock)

    monkeypatch.setattr(cuda, "open_cuda", open_stand_in)
    said: list[str] = []
    table = LatencyTable((), made_on("cuda", 8, {"mode": "eager", "cold": True}, threads=1, precision="bfloat16"))
    networks = {"a": randomise(build_network(NETWORK))}
    measured = measure_networks("cuda", networks, table=table, tell=said.append)
    runtime = measured.runtime
    assert (measured.batch, runtime["precision"], runtime["mode"], runtime["l2"]) == (8, "bfloat16", "eager", "cold")
    assert measured.results[0].now_ms > 0
    assert [line.partition(":")[0] for line in said] == ["measured unlike the table"]
    by_itself = measure_networks("cuda", networks, tell=said.append)
    assert (by_itself.batch, by_itself.runtime["precision"], by_itself.runtime["mode"]) == (1, "float32", "graph")


@pytest.mark.usefixtures("_quick")
def test_this_machine_measures_with_the_tables_batch_and_threads() -> None:
    networks = {"a": randomise(build_network(NETWORK))}
    one = measure_networks("cpu", networks, table=LatencyTable((), made_on("cpu", 1, threads=1)), tell=lambda _: None)
    many = measure_networks("cpu", networks, table=LatencyTable((), made_on("cpu", 16, threads=2)), tell=lambda _: None)
    assert (one.batch, one.runtime["threads"]) == (1, 1)
    assert (many.batch, many.runtime["threads"]) == (16, 2)
    assert many.results[0].now_ms > 2 * one.results[0].now_ms


@pytest.fixture
def fake_device(tmp_path: Path) -> str:
    path = tmp_path / "fake.toml"
    path.write_text('name = "fake"\ntitle = "fake device"\nbackend = "fake"\n[options]\nnoise = 0.001\n')
    return str(path)


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize("factor", [1.0, 2.0])
@pytest.mark.parametrize("by", ["block", "network"])
def test_a_device_that_is_slower_than_when_the_table_was_made_is_found_out(
    fake_device: str, factor: float, by: str
) -> None:
    backend = open_backend(load_spec(fake_device))
    watch = NETWORK if by == "network" else NETWORK[1:2]
    then_ms = backend.true_ms(Artefact("watch", "specs", (), module=tuple(watch))) / factor  # type: ignore[attr-defined]
    about = replace(
        made_up_metadata(TINY),
        device={"spec": "fake", "model": backend.device().model},
        runtime=dict(backend.runtime()),
        sampling={"quality": {"reference_block": str(NETWORK[1]), "reference_ms": then_ms}},
    )
    rows = [Entry("holdout", f"n{i}", then_ms, blocks=tuple(map(str, NETWORK))) for i in range(3)]
    table = LatencyTable(tuple(rows) if by == "network" else (), about)
    said: list[str] = []
    networks = {"a": randomise(build_network(NETWORK))}
    measured = measure_networks(fake_device, networks, table=table, tell=said.append)
    assert measured.slowdown == pytest.approx(factor - 1, abs=0.03)
    (result,) = measured.results
    assert result.partners == (("n0", "n1", "n2") if by == "network" else (str(NETWORK[1]),))
    assert result.latency_ms == pytest.approx(result.now_ms / factor, rel=0.03)
    slower = "the device is 100% slower than when the table was made"
    assert [line.partition(", by")[0] for line in said] == ([slower] if factor == 2 else [])
    assert measure_networks(fake_device, networks, tell=said.append).slowdown is None


def test_an_option_given_now_goes_before_the_tables() -> None:
    table = LatencyTable((), made_on("cpu", options={"affinity": "none"}))
    networks = {"a": randomise(build_network(NETWORK))}
    with pytest.raises(DeviceOptionError, match="not a list of cores"):
        measure_networks("cpu", networks, table=table, tell=lambda _: None, affinity="x")
