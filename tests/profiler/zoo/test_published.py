"""What is in print, against what the networks are when they are built."""

from __future__ import annotations

import sys

import pytest

from profiler.build.artefacts import ArtefactCache, open_factory
from profiler.cli_zoo import chosen_names, zoo_networks
from profiler.errors import ExportError
from profiler.zoo.network import ZooError, ZooNetwork
from profiler.zoo.published import BUILDERS, published_rows, torchvision_network

MISPRINTED = "pnag-mobile-200"  # prints 724 M where its string gives 717.6


def test_all_networks_have_a_name_and_an_accuracy() -> None:
    rows = published_rows()
    assert {row["source"] for row in rows} == {"PNAG", "once-for-all"}
    assert len({row["name"] for row in rows}) == len(rows) == 49
    networks = zoo_networks([row["name"] for row in rows])
    assert all(0.7 < (network.top1 or 0) < 0.81 for network in networks)
    assert {network.resolution for network in networks if network.source == "PNAG"} == {224}


@pytest.mark.parametrize("row", [row for row in published_rows() if row["macs_m"]], ids=lambda row: row["name"])
def test_multiply_accumulates_are_those_in_print(row: dict[str, str]) -> None:
    (network,) = zoo_networks([row["name"]])
    macs, _ = network.counted
    assert macs is not None
    stated = 717.6 if row["name"] == MISPRINTED else float(row["macs_m"])
    assert macs / 1e6 == pytest.approx(stated, abs=1.5, rel=0.004)


def test_a_network_of_torchvision_is_the_one_that_torchvision_describes() -> None:
    from torchvision.models import MobileNet_V3_Small_Weights as Weights

    network = torchvision_network("mobilenet_v3_small")
    about = Weights.IMAGENET1K_V1.meta
    macs, params = network.counted
    assert macs is not None
    assert params == about["num_params"]
    assert macs / 1e9 == pytest.approx(about["_ops"], abs=0.001)
    assert network.top1 == pytest.approx(about["_metrics"]["ImageNet-1K"]["acc@1"] / 100)
    assert (network.resolution, network.retrained_top1) == (224, None)


def test_a_later_recipe_is_told_apart_from_the_first() -> None:
    network = torchvision_network("mobilenet_v2")
    assert network.top1 is not None
    assert network.retrained_top1 is not None
    assert network.retrained_top1 > network.top1


def test_all_of_torchvisions_networks_are_there() -> None:
    assert [torchvision_network(name).resolution for name in BUILDERS] == [224] * len(BUILDERS)


def test_weights_are_random_and_none_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", None)
    factory = open_factory("torch", ArtefactCache(), 1)
    network = torchvision_network("shufflenet_v2_x1_0")
    one, other = (factory.of_module("x", network.module, network.image, {}).module.state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_torchvision_cannot_make_is_an_export_error() -> None:
    network = ZooNetwork("x", "torchvision", 224, builder="resnet_of_nobody")
    with pytest.raises(ExportError, match="torchvision cannot make resnet_of_nobody"):
        network.module()
    assert network.counted == (None, None)


def test_without_torchvision_its_networks_are_refused_and_the_others_are_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert len(zoo_networks(chosen_names("PNAG"))) == 15
    with pytest.raises(ZooError, match=r"torchvision cannot be imported .* leave its networks out with --zoo-only"):
        zoo_networks(["mobilenet_v2"])


@pytest.mark.parametrize(
    ("only", "n"), [("PNAG", 15), ("pnag-cpu-*", 5), ("mobilenet*, mnasnet1_0", 4), ("once-for-all,pnag-gpu-90", 35)]
)
def test_names_sources_and_patterns_choose(only: str, n: int) -> None:
    names = chosen_names(only)
    assert len(names) == len(set(names)) == n


def test_an_unknown_name_is_refused_with_what_there_is() -> None:
    with pytest.raises(ZooError, match=r"'mobilnet' is no network of the zoo; give names, sources .PNAG, once-for-all"):
        chosen_names("pnag-cpu-30,mobilnet")
