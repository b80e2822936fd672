"""What is in print: rows of `published.csv`, and torchvision's networks with their published accuracies."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from profiler.zoo.network import TORCHVISION, ZooNetwork, torchvision_models

# Builders of torchvision.models, as their authors' papers have them.
BUILDERS = (
    "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "mnasnet1_0", "efficientnet_b0", "shufflenet_v2_x1_0",
    "regnet_y_400mf",
)  # fmt: skip
_FIRST = "IMAGENET1K_V1"


@cache
def published_rows() -> tuple[Mapping[str, str], ...]:
    """The rows of `published.csv`, all values as text."""
    text = (files("profiler.zoo") / "published.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines()))


def stated(row: Mapping[str, str]) -> dict[str, Any]:
    """What the authors of a row's network state beside its accuracy."""
    macs, latency = row["macs_m"], row["latency_ms"]
    return {
        "macs": round(1e6 * float(macs)) if macs else None,
        "latency_ms": float(latency) if latency else None,
        "measured_on": row["measured_on"] or None,
    }


def torchvision_network(builder: str) -> ZooNetwork:
    """A network of torchvision with what torchvision says of the weights that it offers; none of these is loaded.

    `top1` is that of the weights trained as its paper has it (IMAGENET1K_V1), `retrained_top1` the best of later ones.
    Source: torchvision's own description of its weights (`weights.meta`). Raises `ZooError` without torchvision.
    """
    weights = {one.name: one for one in torchvision_models().get_model_weights(builder)}
    first = weights.pop(_FIRST)
    side = int(first.transforms.keywords["crop_size"])
    later = [_top1(one) for one in weights.values()]
    return ZooNetwork(
        builder,
        TORCHVISION,
        side,
        _top1(first),
        max(later, default=None),
        builder=builder,
        published={"macs": round(1e9 * first.meta["_ops"]), "latency_ms": None, "measured_on": None},
    )


def _top1(weights: Any) -> float:
    return round(float(weights.meta["_metrics"]["ImageNet-1K"]["acc@1"]) / 100, 6)
