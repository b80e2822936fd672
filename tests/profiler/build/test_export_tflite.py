from __future__ import annotations

import multiprocessing
import os
import pickle
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from devices.backend import Artefact
from devices.host.litert_runtime import open_interpreter
from lut.blocks import BlockSpec, HeadSpec, MBConvSpec, parse_block
from profiler.build import convert_blocks as blocks_module
from profiler.build import export_tflite
from profiler.build.artefacts import ArtefactCache, open_factory
from profiler.build.convert_blocks import convert_blocks
from profiler.build.export_tflite import TfliteFactory
from profiler.build.modules import build_block, build_network, randomise
from profiler.build.parity import Precision, parity, run_file
from profiler.errors import ExportError
from tests.tflite_runtime_env import old_python, run_with_tflite_runtime

BLOCK = MBConvSpec(8, 16, 5, 4, 2, "hswish", True, 14)
HEAD = HeadSpec(8, 48, 64, 10, "hswish", 7)


def operators(path: Path) -> Counter[str]:
    """Operators of a file as it was written."""
    plain = open_interpreter(path, xnnpack=False)
    return Counter(op["op_name"] for op in plain._get_ops_details())


def xnnpack_takes_all(path: Path) -> bool:
    """Whether one delegate makes the output from the input."""
    interpreter = open_interpreter(path)
    delegates = [op for op in interpreter._get_ops_details() if op["op_name"] == "DELEGATE"]
    result = interpreter.get_output_details()[0]["index"]
    return len(delegates) == 1 and result in delegates[0]["outputs"]


@pytest.fixture(scope="module")
def factory() -> TfliteFactory:
    return TfliteFactory(ArtefactCache(), batch=1)


@pytest.fixture(scope="module")
def block(factory: TfliteFactory) -> Artefact:
    return factory.make(BLOCK.key, [BLOCK])


@pytest.fixture(scope="module")
def head(factory: TfliteFactory) -> Artefact:
    return factory.make(HEAD.key, [HEAD])


def path_of(artefact: Artefact) -> Path:
    assert artefact.path is not None
    return artefact.path


def test_a_block_takes_and_gives_channels_last(block: Artefact) -> None:
    interpreter = open_interpreter(path_of(block))
    assert block.input_shape == (1, 14, 14, 8) == tuple(interpreter.get_input_details()[0]["shape"])
    assert tuple(interpreter.get_output_details()[0]["shape"]) == (1, 7, 7, 16)


def test_a_block_is_convolutions_and_fused_activations_without_moving_data(block: Artefact) -> None:
    assert operators(path_of(block)) == {
        "CONV_2D": 4,  # expand, reduce, excite, project
        "DEPTHWISE_CONV_2D": 1,
        "PAD": 1,  # TFLite's own padding for stride 2 would start a pixel later
        "HARD_SWISH": 2,
        "MEAN": 1,
        "MUL": 2,  # hard-sigmoid's sixth, and the excitation
    }


def test_a_head_ends_in_one_average_and_one_fully_connected(head: Artefact) -> None:
    assert operators(path_of(head)) == {"CONV_2D": 2, "HARD_SWISH": 2, "MEAN": 1, "FULLY_CONNECTED": 1}


def test_one_xnnpack_delegate_takes_the_whole_graph(block: Artefact, head: Artefact) -> None:
    assert xnnpack_takes_all(path_of(block))
    assert xnnpack_takes_all(path_of(head))


def test_blocks_agree_with_torch(block: Artefact, head: Artefact) -> None:
    assert parity(randomise(build_block(BLOCK)), path_of(block), (1, 8, 14, 14)) <= 1e-4
    assert parity(randomise(build_block(HEAD)), path_of(head), (1, 8, 7, 7)) <= 1e-4


def test_what_is_cached_is_not_converted_again(
    factory: TfliteFactory, block: Artefact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_tflite, "tflite_bytes", None)
    assert factory.is_cached([BLOCK])
    assert factory.make("again", [BLOCK]).path == block.path
    assert convert_blocks({"again": [BLOCK]}, factory) == {}


@pytest.mark.parametrize(("precision", "limit"), [("dynamic-int8", 0.05), ("int8", 0.3)])
def test_eight_bits_make_a_smaller_file_that_computes_about_the_same(
    factory: TfliteFactory, head: Artefact, precision: Precision, limit: float
) -> None:
    from ai_edge_litert import schema_py_generated as schema

    path = path_of(TfliteFactory(factory.cache, 1, precision).make(HEAD.key, [HEAD]))
    assert path.stat().st_size < 0.9 * path_of(head).stat().st_size
    assert 1e-5 < parity(randomise(build_block(HEAD)), path, (1, 8, 7, 7)) < limit
    assert all(buffer.offset == 0 for buffer in schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0).buffers)
    kind = open_interpreter(path).get_input_details()[0]["dtype"].__name__
    assert kind == ("int8" if precision == "int8" else "float32")


@pytest.mark.parametrize("precision", ["float32", "dynamic-int8", "int8"])
def test_tflite_runtime_2_14_computes_the_same_in_every_precision(
    factory: TfliteFactory, tmp_path: Path, precision: Precision
) -> None:
    python = old_python()
    path = path_of(TfliteFactory(factory.cache, 1, precision).make(HEAD.key, [HEAD]))
    images = np.random.default_rng(4).standard_normal((1, 8, 7, 7), dtype=np.float32)
    interpreter = open_interpreter(path)
    entry, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    given = np.clip(images.transpose(0, 2, 3, 1) * 20, -128, 127).astype(entry["dtype"])
    interpreter.set_tensor(entry["index"], given)
    interpreter.invoke()
    expected = interpreter.get_tensor(result["index"])
    found = run_with_tflite_runtime(python, path, given, tmp_path)
    difference = np.abs(found.astype(float) - expected.astype(float)).max()
    # Kernels of different ages may round a value of 8 bits to its neighbour.
    assert difference <= {"float32": 1e-4, "dynamic-int8": 0.02, "int8": 2 / 127}[precision] * np.abs(expected).max()


def test_ranges_come_from_the_calibration_images(factory: TfliteFactory, tmp_path: Path) -> None:
    head = randomise(build_block(HEAD))
    images = 10 * torch.randn(3, 8, 7, 7, generator=torch.Generator().manual_seed(1))
    path = tmp_path / "head.tflite"
    path.write_bytes(export_tflite.tflite_bytes(head, (2, 8, 7, 7), "int8", calibration=images))
    expected = head(images[:2]).detach().numpy()
    found = run_file(path, images[:2].numpy())
    assert abs(found - expected).max() < 0.1 * abs(expected).max()


def test_where_no_cache_can_be_written_the_converter_does_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PNAG_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(export_tflite, "convert", lambda *given, **options: b"converted")
    assert export_tflite.tflite_bytes(build_network([BLOCK]), (1, *BLOCK.input_shape)) == b"converted"


class DataDependent(nn.Module):
    """Cannot be traced."""

    def forward(self, x: Tensor) -> Tensor:
        """A value that is only known when it runs decides."""
        return x if x.sum().item() > 0 else -x


def test_a_module_that_cannot_be_converted_is_one_quiet_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ExportError, match="litert-torch cannot convert the module: ") as caught:
        export_tflite.export_tflite(DataDependent(), (1, 3, 8, 8), tmp_path / "out.tflite")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_an_unknown_precision_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="unknown precision 'int4'; choose from float32, float16, dynamic-int8, int8"):
        open_factory("tflite", ArtefactCache(tmp_path), 1, precision="int4")


class StandIn(TfliteFactory):
    """Converts nothing: writes an empty file, refuses heads, dies of a batch of 13, never ends with one of 14."""

    def missing_templates(self, specs: Iterable[BlockSpec]) -> list[BlockSpec]:
        """Templates are not what is tried here."""
        return []

    def make(self, name: str, specs: Sequence[BlockSpec]) -> Artefact:
        """An artefact as the factory would make it."""
        if self.batch == 13:
            os._exit(1)
        if self.batch == 14:
            time.sleep(600)
        if isinstance(specs[0], HeadSpec):
            raise ExportError("no heads today")
        return Artefact(name, "tflite", (1,), self.cache.path(self._identity(specs), ".tflite", Path.touch))


def test_processes_convert_what_is_missing_and_say_what_failed(tmp_path: Path) -> None:
    factory = StandIn(ArtefactCache(tmp_path), 1)
    done: list[str] = []
    wanted = {"network": [BLOCK, HEAD], "block": [BLOCK], "head": [HEAD]}
    factory.make("block", [BLOCK])
    assert convert_blocks(wanted, factory, 2, on_done=done.append) == {"head": "no heads today"}
    assert factory.is_cached([BLOCK, HEAD])
    assert done[0] == "block"
    assert sorted(done) == ["block", "head", "network"]


def test_a_process_that_dies_is_told_for_each_name(tmp_path: Path) -> None:
    failures = convert_blocks({"block": [BLOCK]}, StandIn(ArtefactCache(tmp_path), 13), 1)
    assert list(failures) == ["block"]
    assert "use fewer workers" in failures["block"]


def test_when_the_time_is_up_all_work_stops_and_what_is_there_stays(tmp_path: Path) -> None:
    factory = StandIn(ArtefactCache(tmp_path), 14)
    StandIn.make(StandIn(factory.cache, 1), "unused", [BLOCK])
    others, started_s, done = set(multiprocessing.active_children()), time.monotonic(), list[str]()
    assert convert_blocks({"a": [BLOCK], "b": [HEAD]}, factory, 2, on_done=done.append, max_s=0.5) == {}
    assert time.monotonic() - started_s < 60
    assert done == []
    assert not factory.is_cached([BLOCK])
    assert set(multiprocessing.active_children()) <= others
    assert list(tmp_path.rglob("*.tflite"))


class Learning(StandIn):
    """Its templates are files; a block is made only where they are there."""

    def missing_templates(self, specs: Iterable[BlockSpec]) -> list[BlockSpec]:
        """Those of the blocks themselves."""
        return [spec for spec in specs if not self._template(spec).exists()]

    def learn_template(self, pattern: BlockSpec) -> None:
        """A file."""
        self._template(pattern).touch()

    def make(self, name: str, specs: Sequence[BlockSpec]) -> Artefact:
        """Fails without them."""
        if self.missing_templates(specs):
            raise ExportError("too early")
        return super().make(name, specs)

    def _template(self, spec: BlockSpec) -> Path:
        return self.cache._directory.parent / f"template {spec.key}"


def test_templates_come_before_all_files(tmp_path: Path) -> None:
    factory = Learning(ArtefactCache(tmp_path), 1)
    other = parse_block("conv-i3-o8-k3-s2-relu@8")
    wanted = {"network": [other, BLOCK], "block": [BLOCK]}
    assert convert_blocks(wanted, factory, 1) == {}
    assert factory.missing_templates([BLOCK, other]) == []


def test_there_are_no_more_processes_than_cores_and_memory_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "usable_cores", lambda: 8)
    for gigabytes, expected in ((100, 8), (6, 4), (0, 1)):
        monkeypatch.setattr(blocks_module, "usable_memory_bytes", lambda found=gigabytes: found * 10**9)
        assert blocks_module.workers_allowed() == expected
    monkeypatch.setattr(blocks_module, "usable_memory_bytes", lambda: 6 * 10**9)
    assert blocks_module.workers_allowed(largest_bytes=650 * 10**6) == 1  # a block at batch 64


def test_a_factory_travels_to_another_process(factory: TfliteFactory, block: Artefact) -> None:
    copy: Any = pickle.loads(pickle.dumps(factory))
    assert copy.make(BLOCK.key, [BLOCK]).path == block.path
