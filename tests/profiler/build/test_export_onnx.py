import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from lut.blocks import parse_block
from profiler.build.artefacts import ArtefactCache
from profiler.build.export_onnx import OPSET, OnnxFactory, write_onnx
from profiler.build.modules import build_block, build_network, randomise
from profiler.build.parity import parity
from profiler.errors import ExportError

KEYS = (
    "conv-i3-o8-k3-s2-hswish@32",
    "mbconv-i8-o8-k3-e1-s1-relu-se0@16",
    "mbconv-i8-o16-k5-e4-s2-relu-se1@16",
    "mbconv-i16-o16-k7-e6-s1-hswish-se1@8",
    "head-i16-m32-f24-o10-hswish@8",
)
SPECS = tuple(map(parse_block, KEYS))


def run(path, x):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"input": x.numpy()})[0]


@pytest.mark.parametrize("specs", [*((spec,) for spec in SPECS), SPECS], ids=[*KEYS, "network"])
def test_the_file_computes_what_the_module_computes(tmp_path, specs):
    artefact = OnnxFactory(ArtefactCache(tmp_path), batch=2).make("name", specs)
    module = randomise(build_block(specs[0]) if len(specs) == 1 else build_network(specs))
    x = torch.randn(artefact.input_shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = module(x).numpy()
    assert artefact.input_shape == (2, *specs[0].input_shape)
    np.testing.assert_allclose(run(artefact.path, x), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_batch_norm_is_folded_and_the_opset_fixed(tmp_path):
    model = onnx.load(OnnxFactory(ArtefactCache(tmp_path), batch=1).make("name", SPECS[:3]).path)
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert model.opset_import[0].version == OPSET


def test_the_second_time_it_comes_from_the_cache(tmp_path, monkeypatch):
    first = OnnxFactory(ArtefactCache(tmp_path), batch=1).make("a", SPECS[:1])
    monkeypatch.setattr("profiler.build.export_onnx.write_onnx", None)
    assert OnnxFactory(ArtefactCache(tmp_path), batch=1).make("b", SPECS[:1]).path == first.path


def test_a_module_that_cannot_be_exported_is_one_line(tmp_path):
    class Strange(nn.Module):
        def forward(self, x):
            return torch.linalg.eigvals(x)

    with pytest.raises(ExportError, match="cannot export") as caught:
        write_onnx(Strange().eval(), (4, 4), tmp_path / "x.onnx")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(("precision", "limit"), [("dynamic-int8", 0.05), ("int8", 0.4)])
@pytest.mark.parametrize("batch", [1, 2])
def test_eight_bits_are_smaller_and_near(tmp_path, precision, limit, batch):
    specs = [parse_block("mbconv-i24-o32-k5-e4-s2-relu-se1@16"), parse_block("head-i32-m64-f64-o10-hswish@8")]
    network = randomise(build_network(specs))
    write_onnx(network, (batch, 24, 16, 16), tmp_path / "plain.onnx")
    write_onnx(network, (batch, 24, 16, 16), tmp_path / "small.onnx", precision)
    assert (tmp_path / "small.onnx").stat().st_size < 0.7 * (tmp_path / "plain.onnx").stat().st_size
    assert 0 < parity(network, tmp_path / "small.onnx", (batch, 24, 16, 16)) < limit
    assert onnx.load(tmp_path / "small.onnx").graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_ranges_are_those_of_the_given_images(tmp_path):
    network = randomise(build_network([parse_block("head-i32-m64-f64-o10-hswish@8")]))
    images = 30 * torch.randn(24, 32, 8, 8, generator=torch.Generator().manual_seed(1))
    write_onnx(network, (1, 32, 8, 8), tmp_path / "given.onnx", "int8", calibration=images)
    write_onnx(network, (1, 32, 8, 8), tmp_path / "normal.onnx", "int8")
    given, normal = (
        parity(network, tmp_path / name, (1, 32, 8, 8), images=images) for name in ("given.onnx", "normal.onnx")
    )
    assert given < normal / 2


def test_files_of_other_precisions_are_kept_apart(tmp_path):
    cache, specs = ArtefactCache(tmp_path), [parse_block("head-i32-m64-f64-o10-hswish@8")]
    paths = {OnnxFactory(cache, 1, precision).make("head", specs).path for precision in ("float32", "int8")}
    assert len(paths) == 2
