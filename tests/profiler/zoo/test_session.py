"""Sessions over networks of the zoo on the fake device, and networks of other layers as files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from devices.backend import Artefact
from devices.fake import FakeBackend, FakeSettings
from lut.blocks import BlockSpec
from lut.table import LatencyTable
from profiler.build.artefacts import ArtefactCache, SpecsFactory, open_factory
from profiler.build.parity import open_file
from profiler.errors import ExportError
from profiler.profile import measure, prepare
from profiler.zoo.network import ZooNetwork
from profiler.zoo.report import rows_of
from profiler.zoo.session import REFERENCE, ZooFactory, measure_zoo, zoo_job
from tests.profiler.measure.sessions import QUICK, SPECS

SMALL = ZooNetwork("small", "print", 224, 0.71, blocks=SPECS[:3])
LARGE = ZooNetwork("large", "print", 224, 0.75, blocks=SPECS)
OTHER = ZooNetwork("other", "torchvision", 96, 0.7, builder="squeezenet1_1")
ALL = (SMALL, LARGE, OTHER)


def run(folder: Path, networks: Sequence[ZooNetwork] = ALL, **faults: Any) -> LatencyTable:
    backend = FakeBackend(FakeSettings(**faults))
    table, _ = measure_zoo(backend, networks, SpecsFactory(1), folder / "x.journal", batch=1, sampling=QUICK)
    return table


def test_every_network_has_a_row_in_the_order_given(tmp_path: Path) -> None:
    rows = rows_of(run(tmp_path), ALL)
    assert [network.name for network, _ in rows] == ["small", "large", "other"]
    truth = FakeBackend()
    for network, entry in rows:
        artefact = Artefact(network.name, "specs", (1, *network.image), module=network.blocks or None)
        assert entry.latency_ms == pytest.approx(truth.true_ms(artefact), rel=0.01)
        assert entry.ci_low_ms < entry.latency_ms < entry.ci_high_ms


def test_one_that_does_not_run_has_failed_and_the_others_go_on(tmp_path: Path) -> None:
    rows = {network.name: entry for network, entry in rows_of(run(tmp_path, fail_run="^other"), ALL)}
    assert (rows["other"].failed, rows["small"].failed, rows["large"].failed) == (True, False, False)
    assert "failed to run other" in rows["other"].reason


class Refusing(SpecsFactory):
    def make(self, name: str, specs: Sequence[BlockSpec]) -> Artefact:
        if name == "large":
            raise ExportError("cannot export this")
        return super().make(name, specs)


def test_one_that_cannot_be_made_has_failed_and_the_others_go_on(tmp_path: Path) -> None:
    table, _ = measure_zoo(FakeBackend(), ALL, Refusing(1), tmp_path / "x.journal", batch=1, sampling=QUICK)
    rows = {network.name: entry for network, entry in rows_of(table, ALL)}
    assert (rows["large"].reason, rows["small"].failed) == ("cannot export this", False)


def test_those_without_time_have_failed_and_say_so(tmp_path: Path) -> None:
    job = zoo_job(ALL, 1, QUICK, {})
    prepared = prepare(job.units, ZooFactory(SpecsFactory(1), ALL), max_s=0.0)
    table, _ = measure(FakeBackend(), job, prepared, tmp_path / "x.journal")
    assert [entry.reason for _, entry in rows_of(table, ALL)] == ["the time was up before its turn"] * 3


def test_a_session_goes_on_with_the_same_networks_only(tmp_path: Path) -> None:
    first = run(tmp_path)
    again = run(tmp_path)
    assert again.metadata.sampling["quality"]["resumed_visits"] > 0
    assert [e.latency_ms for e in again.entries] == pytest.approx([e.latency_ms for e in first.entries])
    with pytest.raises(Exception, match="belongs to a session with other settings"):
        run(tmp_path, (SMALL, LARGE))


def test_the_reference_is_that_of_the_usual_table(tmp_path: Path) -> None:
    from pnag.space.spaces import load_space
    from profiler.measure.plan import block_units, reference_unit

    assert reference_unit(block_units(load_space().blocks())).specs == (REFERENCE,)
    assert run(tmp_path).metadata.sampling["quality"]["reference_block"] == REFERENCE.key


# -- networks of other layers -----------------------------------------------------------------------------

LAYERS = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
LAYERS.eval()


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_other_layers_are_files_that_compute_the_same_and_are_made_once(format: Any, tmp_path: Path) -> None:
    built = []

    def build() -> nn.Module:
        built.append(1)
        return LAYERS

    factory = open_factory(format, ArtefactCache(tmp_path), 2)
    first = factory.of_module("mine", build, (3, 16, 16), {"builder": "mine"})
    again = factory.of_module("again", build, (3, 16, 16), {"builder": "mine"})
    assert (len(built), first.path) == (1, again.path)
    assert first.input_shape == ((2, 3, 16, 16) if format == "onnx" else (2, 16, 16, 3))
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert first.path is not None
    with torch.no_grad():
        np.testing.assert_allclose(open_file(first.path)(images.numpy()), LAYERS(images).numpy(), atol=1e-5)


def test_another_image_is_another_file(tmp_path: Path) -> None:
    factory = open_factory("onnx", ArtefactCache(tmp_path), 2)
    small, large = (factory.of_module("mine", lambda: LAYERS, (3, n, n), {"builder": "mine"}) for n in (16, 24))
    assert small.path != large.path


def test_other_layers_in_memory_are_the_module_itself() -> None:
    factory = open_factory("torch", ArtefactCache(), 3)
    artefact = factory.of_module("mine", lambda: LAYERS, (3, 16, 16), {})
    assert artefact.module is LAYERS
    assert artefact.input_shape == (3, 3, 16, 16)


def test_what_files_depend_on_names_torchvision_where_it_has_a_part() -> None:
    plain = ZooFactory(SpecsFactory(1), (SMALL,)).identity()
    assert "torchvision" not in plain
    assert "torchvision" in ZooFactory(SpecsFactory(1), ALL).identity()
    assert replace(OTHER, name="x").image == (3, 96, 96)
