"""Files from templates against those of the converter: the same operators, and the same bytes where it is one block."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from devices.host.litert_runtime import open_interpreter
from lut.blocks import BlockSpec, parse_block
from profiler.build.artefacts import ArtefactCache
from profiler.build.modules import Network, build_network, randomise
from profiler.build.parity import Precision, check_parity
from profiler.build.tflite import library as library_module
from profiler.build.tflite.compose import compose
from profiler.build.tflite.converter import convert, quantise
from profiler.build.tflite.file import pack, unpack
from profiler.build.tflite.graph import operations
from profiler.build.tflite.library import TemplateLibrary
from profiler.build.tflite.template import Template, pattern
from profiler.errors import ExportError, TemplateError
from tests.tflite_runtime_env import old_python, run_with_tflite_runtime

SPECS = [
    parse_block(key)
    for key in (
        "conv-i3-o8-k3-s2-hswish@24",
        "mbconv-i8-o8-k3-e1-s1-relu-se0@12",
        "mbconv-i8-o24-k5-e3-s2-hswish-se1@12",
        "head-i24-m48-f32-o5-hswish@6",
    )
]
SHAPE = (1, 3, 24, 24)


def network_of(specs: list[BlockSpec], seed: int = 0) -> Network:
    network = build_network(specs)
    randomise(network, seed)
    return network


@pytest.fixture(scope="module")
def library() -> TemplateLibrary:
    return TemplateLibrary(ArtefactCache(), 1)


@pytest.fixture(scope="module")
def network() -> Network:
    return network_of(SPECS)


@pytest.fixture(scope="module")
def composed(library: TemplateLibrary, network: Network) -> bytes:
    content = library.compose(network, SHAPE)
    assert content is not None
    return content


@pytest.fixture(scope="module")
def converted(network: Network) -> bytes:
    return convert(network, SHAPE)


def test_a_composed_network_has_the_operators_options_shapes_and_constants_of_the_converted_one(
    composed: bytes, converted: bytes
) -> None:
    assert operations(unpack(composed)) == operations(unpack(converted))


def test_it_has_the_entry_and_the_metadata_of_the_converted_one(composed: bytes, converted: bytes) -> None:
    def about(content: bytes) -> list[Any]:
        model = unpack(content)
        entries = [(entry.name, bytes(model.buffers[entry.buffer].data)) for entry in model.metadata]
        names = [(s.signatureKey, s.inputs[0].name, s.outputs[0].name) for s in model.signatureDefs]
        graph = model.subgraphs[0]
        ends = [graph.tensors[index].name for index in (graph.inputs[0], graph.outputs[0])]
        codes = [(code.builtinCode, code.deprecatedBuiltinCode, code.version) for code in model.operatorCodes]
        return [model.version, model.description, entries, names, ends, codes, len(graph.tensors), len(model.buffers)]

    assert about(composed) == about(converted)


def test_a_block_is_the_converters_file_bit_by_bit(library: TemplateLibrary) -> None:
    block = network_of([SPECS[2]])
    shape = (1, *SPECS[2].input_shape)
    assert SPECS[2] != pattern(SPECS[2])
    assert library.compose(block, shape) == pack(unpack(convert(block[0], shape)))


def test_it_agrees_with_torch_with_any_weights(library: TemplateLibrary, tmp_path: Path) -> None:
    for seed in (0, 1):
        network = network_of(SPECS, seed)
        content = library.compose(network, SHAPE)
        assert content is not None
        path = tmp_path / f"{seed}.tflite"
        path.write_bytes(content)
        assert check_parity(network, path, SHAPE) <= 1e-4
    with pytest.raises(ExportError, match="differs from torch"):
        check_parity(network, tmp_path / "0.tflite", SHAPE)


def test_one_delegate_takes_the_whole_network(composed: bytes, tmp_path: Path) -> None:
    path = tmp_path / "network.tflite"
    path.write_bytes(composed)
    interpreter = open_interpreter(path)
    assert sum(op["op_name"] == "DELEGATE" for op in interpreter._get_ops_details()) == 1
    shapes = {name: list(found["shape"]) for name, found in _by_name(interpreter).items()}
    said = {tensor.name.decode(): tensor for tensor in unpack(composed).subgraphs[0].tensors}
    assert shapes == {name: list(tensor.shape if tensor.shape is not None else []) for name, tensor in said.items()}


def _by_name(interpreter: Any) -> dict[str, Any]:
    plain = [found for found in interpreter.get_tensor_details() if found["name"]]
    assert len({found["name"] for found in plain}) == len(plain)
    return {found["name"]: found for found in plain}


def test_the_bytes_depend_on_the_weights_alone(
    library: TemplateLibrary, network: Network, composed: bytes, tmp_path: Path
) -> None:
    again = TemplateLibrary(library._cache, 1)
    assert again.missing(SPECS) == []
    assert again.compose(network, SHAPE) == composed
    assert again.compose(network_of(SPECS), SHAPE) == composed
    assert again.compose(network_of(SPECS, seed=1), SHAPE) != composed


@pytest.mark.parametrize("precision", ["dynamic-int8", "int8"])
def test_eight_bits_come_out_the_same_from_either(composed: bytes, converted: bytes, precision: Precision) -> None:
    ours, theirs = (unpack(quantise(content, SHAPE, precision)) for content in (composed, converted))
    assert operations(ours) == operations(theirs)
    assert operations(ours) != operations(unpack(composed))


def test_tflite_runtime_2_14_computes_the_same(composed: bytes, network: Network, tmp_path: Path) -> None:
    python = old_python()
    path = tmp_path / "network.tflite"
    path.write_bytes(composed)
    images = np.random.default_rng(0).standard_normal((1, 24, 24, 3), dtype=np.float32)
    interpreter = open_interpreter(path)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)
    interpreter.invoke()
    expected = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    found = run_with_tflite_runtime(python, path, images, tmp_path)
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


# -- what is left to the converter ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("conv-i3-o24-k3-s2-hswish@224", "conv-i3-o16-k3-s2-hswish@8"),
        ("mbconv-i24-o32-k7-e6-s2-relu-se0@112", "mbconv-i8-o16-k3-e4-s2-relu-se0@8"),
        ("mbconv-i96-o136-k7-e6-s2-hswish-se1@13", "mbconv-i8-o16-k3-e4-s2-hswish-se1@7"),
        ("mbconv-i96-o136-k7-e6-s2-hswish-se1@2", "mbconv-i8-o16-k3-e4-s2-hswish-se1@2"),
        ("mbconv-i96-o96-k5-e6-s1-hswish-se1@1", "mbconv-i8-o8-k3-e4-s1-hswish-se1@1"),
        ("mbconv-i24-o24-k3-e1-s1-relu-se0@112", "mbconv-i8-o8-k3-e1-s1-relu-se0@8"),
        ("head-i192-m1152-f1536-o1000-hswish@7", "head-i8-m32-f16-o10-hswish@8"),
    ],
)
def test_a_pattern_keeps_what_decides_on_the_operators(key: str, expected: str) -> None:
    found = pattern(parse_block(key))
    assert found is not None
    assert found.key == expected
    assert pattern(found) == found


@pytest.mark.parametrize(
    "key", ["conv-i3-o24-k4-s2-hswish@32", "mbconv-i8-o8-k3-e4-s3-relu-se0@9", "head-i8-m16-f16-o1-relu@4"]
)
def test_what_no_pattern_is_known_for_is_converted(library: TemplateLibrary, key: str) -> None:
    spec = parse_block(key)
    assert pattern(spec) is None
    assert library.find(spec) is None
    assert library.compose(network_of([spec]), (1, *spec.input_shape)) is None


def test_images_of_another_size_than_the_blocks_say_are_converted(library: TemplateLibrary, network: Network) -> None:
    assert library.compose(network, (1, 3, 32, 32)) is None
    assert library.compose(network, (2, *SHAPE[1:])) is None


def test_a_converter_that_does_something_else_makes_no_template(library: TemplateLibrary, tmp_path: Path) -> None:
    block = network_of([SPECS[1]])
    content = library.compose(block, (1, *SPECS[1].input_shape))
    assert content is not None
    assert Template.learn(content, block).bias_shifts == (0.0, 0.0)
    with pytest.raises(TemplateError, match="damaged"):
        Template.learn(content[: len(content) // 2], block)
    with pytest.raises(TemplateError, match="changed a bias"):
        Template.learn(content, network_of([SPECS[1]], seed=1))
    with pytest.raises(TemplateError, match="2 operators with weights of 7 layers"):
        Template.learn(content, network_of([SPECS[2], SPECS[1]]))
    same_biases = network_of([SPECS[1]])
    same_biases[0].point_linear.conv.weight.data *= 2
    with pytest.raises(TemplateError, match="something else than the layers' weights"):
        Template.learn(content, same_biases)


def test_a_template_that_cannot_be_learnt_leaves_the_block_to_the_converter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: TemplateLibrary
) -> None:
    other = library.compose(network_of([SPECS[3]]), (1, *SPECS[3].input_shape))
    monkeypatch.setattr(library_module, "convert", lambda module, shape: other)
    fresh = TemplateLibrary(ArtefactCache(tmp_path), 1)
    assert fresh.missing([SPECS[1]]) == [pattern(SPECS[1])]
    assert fresh.compose(network_of([SPECS[1]]), (1, *SPECS[1].input_shape)) is None


def test_parts_that_do_not_fit_are_refused(library: TemplateLibrary) -> None:
    contents = [library.compose(network_of([spec]), (1, *spec.input_shape)) for spec in (SPECS[3], SPECS[0])]
    with pytest.raises(TemplateError, match=r"gives \(1, 5\) where the next takes \(1, 24, 24, 3\)"):
        compose([unpack(content) for content in contents if content])
    with pytest.raises(TemplateError, match="no parts"):
        compose([])
