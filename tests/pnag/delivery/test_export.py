from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lut.errors import OutputError
from pnag.delivery.export import FORMATS, QUANTISED, ExportReport, check_target, export_network
from pnag.delivery.files.sizes import FORMS as SIZES
from pnag.delivery.metadata import describe_network, describe_tflite, read_metadata
from pnag.errors import ModelFileError
from pnag.runs.run import sha256_of
from pnag.space.architecture import Architecture
from pnag.space.search_space import SearchSpace
from pnag.space.spaces import load_space
from profiler.build import parity
from profiler.build.modules import Network, build_network, randomise
from profiler.build.quiet import quiet
from profiler.errors import ExportError
from tests.tflite_runtime_env import old_python, run_with_tflite_runtime

SPACE = SearchSpace(
    "tiny",
    0.25,
    resolution=32,
    classes=3,
    depths=(1,),
    unit_channels=(24, 40),
    unit_strides=(2, 2),
    unit_activations=("relu", "hswish"),
    unit_squeeze_excite=(False, True),
    final_expand_channels=96,
    feature_channels=128,
)
ARCHITECTURE = SPACE.extremes()[1]
SHAPE = (1, 3, 32, 32)
LABELS = ["Katze", "chien", "鳥"]
SUFFIXES = (".tflite", ".onnx", ".pt2", ".json")


def network_of(space: SearchSpace, architecture: Architecture) -> Network:
    network = randomise(build_network(space.decompose(architecture)))
    assert isinstance(network, Network)
    return network


def description(**changes: Any) -> dict[str, Any]:
    known: dict[str, Any] = {
        "trained": True,
        "labels": LABELS,
        "budget_ms": 20.0,
        "cost_ms": 18.5,
        "device": "cpu",
        "accuracy": 0.98,
        "accuracy_source": "measured on digits test",
        "hashes": {"table": "a" * 64, "supernet": "b" * 64, "generator": "c" * 64, "archive": None},
    }
    return describe_network(ARCHITECTURE, SPACE, **{**known, **changes})


@pytest.fixture(scope="module")
def network() -> Network:
    return network_of(SPACE, ARCHITECTURE)


@pytest.fixture(scope="module")
def printed() -> list[str]:
    """What reached stdout and stderr while `exported` was made."""
    return []


@pytest.fixture(scope="module")
def exported(network: Network, printed: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, ExportReport]:
    """The same network in each format."""
    folder = tmp_path_factory.mktemp("exported")
    with quiet() as said:
        reports = {
            suffix: export_network(network, folder / f"net{suffix}", input_shape=SHAPE, metadata=description())
            for suffix in SUFFIXES
        }
        printed.append(said())
    return reports


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_says_where_it_comes_from(exported: dict[str, ExportReport], suffix: str) -> None:
    found = read_metadata(exported[suffix].path)
    assert found == json.loads(json.dumps(exported[suffix].metadata))
    assert found.items() >= description().items()
    assert found["sha256"] == {"table": "a" * 64, "supernet": "b" * 64, "generator": "c" * 64}
    assert found["weights"] == "trained"
    assert Architecture.parse(found["architecture"]) == ARCHITECTURE
    assert SearchSpace.from_dict(found["space"]) == SPACE


@pytest.mark.parametrize("suffix", [".tflite", ".onnx", ".pt2"])
def test_a_file_computes_what_torch_computes(exported: dict[str, ExportReport], suffix: str) -> None:
    difference = exported[suffix].relative_difference
    assert difference is not None
    assert difference <= 1e-4


def test_a_json_file_has_no_weights_to_compare(exported: dict[str, ExportReport]) -> None:
    assert exported[".json"].relative_difference is None


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_report_is_of_the_file(exported: dict[str, ExportReport], suffix: str) -> None:
    report = exported[suffix]
    assert report.bytes == report.path.stat().st_size
    assert report.sha256 == sha256_of(report.path)
    assert json.loads(json.dumps(report.to_json()))["format"] == suffix[1:]


def test_a_tflite_file_carries_its_labels_as_tflite_does(exported: dict[str, ExportReport]) -> None:
    with zipfile.ZipFile(exported[".tflite"].path) as archive:
        assert archive.testzip() is None
        assert archive.read("labels.txt").decode() == "Katze\nchien\n鳥\n"


def test_constants_of_a_described_tflite_file_are_aligned(exported: dict[str, ExportReport]) -> None:
    from ai_edge_litert import schema_py_generated as schema

    content = exported[".tflite"].path.read_bytes()
    model = schema.Model.GetRootAs(content, 0)
    start = np.frombuffer(content, np.uint8).__array_interface__["data"][0]
    buffers = [model.Buffers(index).DataAsNumpy() for index in range(model.BuffersLength())]
    addresses = [b.__array_interface__["data"][0] - start for b in buffers if isinstance(b, np.ndarray) and b.size]
    assert len(addresses) > 10
    assert all(address % 16 == 0 for address in addresses)


def empty_tflite() -> bytes:
    """A model without operators."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model, builder = schema.ModelT(), flatbuffers.Builder()
    model.version, model.buffers, model.subgraphs, model.operatorCodes = 3, [schema.BufferT()], [], []
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=st.dictionaries(st.text(), st.text() | st.integers() | st.none() | st.lists(st.booleans())))
def test_any_description_comes_back_from_a_tflite_file(tmp_path: Path, document: dict[str, Any]) -> None:
    path = tmp_path / "described.tflite"
    wanted = {**document, "architecture": "1:3:3"}
    first = describe_tflite(empty_tflite(), {"architecture": "another"}, None)
    path.write_bytes(describe_tflite(first, wanted, ["a"]))
    assert read_metadata(path) == wanted


def test_untrained_weights_are_told(network: Network, tmp_path: Path) -> None:
    metadata = description(trained=False, accuracy=None, labels=None, hashes=None)
    report = export_network(network, tmp_path / "net.onnx", input_shape=SHAPE, metadata=metadata)
    assert read_metadata(report.path)["weights"] == report.to_json()["weights"] == "untrained"
    assert read_metadata(report.path)["labels"] is None


def test_converting_prints_nothing(exported: dict[str, ExportReport], printed: list[str]) -> None:
    assert exported.keys() == set(SUFFIXES)
    assert printed == [""]


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_a_file_that_computes_something_else_is_not_left_behind(
    network: Network, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"net{suffix}"
    path.write_text("what was there before")
    openers = {suffix: lambda path: lambda images: np.zeros((1, SPACE.classes), np.float32)}
    monkeypatch.setattr(parity, "_OPENERS", openers)
    with pytest.raises(ExportError, match="differs from torch by 1 "):
        export_network(network, path, input_shape=SHAPE, metadata=description())
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "what was there before"


@pytest.mark.parametrize("name", ["net.pth", "net", "net.TFLITE", ".onnx"])
def test_an_unknown_suffix_lists_the_four(network: Network, tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelFileError, match=r"must be one of \.tflite, \.onnx, \.pt2, \.json"):
        export_network(network, tmp_path / name, input_shape=SHAPE, metadata=description())


def test_eight_bits_are_for_tflite_only() -> None:
    assert check_target("net.tflite", "int8") == "tflite"
    assert check_target("net.onnx", "int8") == "onnx"
    with pytest.raises(ModelFileError, match=r"int8 is not to be had as \.pt2; export to \.tflite or \.onnx"):
        check_target("net.pt2", "int8")


def test_a_network_in_training_mode_is_refused(tmp_path: Path) -> None:
    network = build_network(SPACE.decompose(ARCHITECTURE))
    with pytest.raises(ExportError, match=r"training mode.*eval\(\)"):
        export_network(network, tmp_path / "net.onnx", input_shape=SHAPE, metadata=description())


def test_a_place_that_cannot_be_written_is_an_output_error(network: Network, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        export_network(network, tmp_path / "file" / "net.json", input_shape=SHAPE, metadata=description())


def test_labels_are_as_many_as_classes() -> None:
    with pytest.raises(ModelFileError, match="2 labels for 3 classes"):
        description(labels=["a", "b"])


def test_a_description_that_is_not_json_is_refused(network: Network, tmp_path: Path) -> None:
    for value in (float("nan"), object()):
        with pytest.raises(ModelFileError, match="not JSON"):
            export_network(network, tmp_path / "net.json", input_shape=SHAPE, metadata={"accuracy": value})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_reading_a_damaged_file_is_one_line(exported: dict[str, ExportReport], tmp_path: Path, suffix: str) -> None:
    whole = exported[suffix].path.read_bytes()
    path = tmp_path / f"damaged{suffix}"
    for content in (b"", b"\0" * 64, whole[: len(whole) // 3]):
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match=r"damaged|does not describe") as caught:
            read_metadata(path)
        assert "\n" not in str(caught.value)


def test_reading_what_is_not_there_or_not_ours_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="cannot read"):
        read_metadata(tmp_path / "absent.tflite")
    with pytest.raises(ModelFileError, match=r"'x\.bin' is no exported network"):
        read_metadata(tmp_path / "x.bin")
    foreign = tmp_path / "foreign.json"
    foreign.write_text('{"name": "something"}')
    with pytest.raises(ModelFileError, match="does not describe a network"):
        read_metadata(foreign)
    strange = tmp_path / "strange.pt2"
    with zipfile.ZipFile(strange, "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    with pytest.raises(ModelFileError, match="does not describe a network"):
        read_metadata(strange)


def test_a_pt2_file_loads_with_torch_alone(exported: dict[str, ExportReport], network: Network) -> None:
    extra = {"pnag.json": ""}
    program = torch.export.load(io.BytesIO(exported[".pt2"].path.read_bytes()), extra_files=extra)
    images = torch.randn(SHAPE, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert torch.allclose(program.module()(images), network(images), atol=1e-6)
    assert json.loads(extra["pnag.json"])["labels"] == LABELS


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Network, ExportReport]:
    """A network of the default space, at 32 pixels."""
    space = replace(load_space(), resolution=32, classes=10)
    architecture = space.extremes()[0]
    network = network_of(space, architecture)
    metadata = describe_network(architecture, space, trained=False, labels=[str(digit) for digit in range(10)])
    path = tmp_path_factory.mktemp("shipped") / "net.tflite"
    return network, export_network(network, path, input_shape=SHAPE, metadata=metadata)


@pytest.mark.slow
def test_a_network_of_the_default_space_agrees_with_torch(shipped: tuple[Network, ExportReport]) -> None:
    difference = shipped[1].relative_difference
    assert difference is not None
    assert difference <= 1e-4


def test_exported_files_run_under_tflite_runtime_2_14(
    shipped: tuple[Network, ExportReport],
    exported: dict[str, ExportReport],
    network: Network,
    tmp_path: Path,
) -> None:
    python = old_python()
    images = np.random.default_rng(3).standard_normal(SHAPE, dtype=np.float32)
    for module, report in (shipped, (network, exported[".tflite"])):
        found = run_with_tflite_runtime(python, report.path, images.transpose(0, 2, 3, 1), tmp_path)
        with torch.no_grad():
            expected = module(torch.from_numpy(images)).numpy()
        assert parity.relative_difference(found, expected) <= 1e-4


def test_every_format_that_is_exported_has_a_size() -> None:
    assert {suffix for suffix, _ in SIZES} == {*FORMATS} - {".json"}
    assert {suffix for suffix, precision in SIZES if precision == "int8"} == {*QUANTISED}
