"""The models of accuracies that come with the program beside its archives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pnag.accuracy.archive import DEFAULT, SHIPPED, AccuracyArchive
from pnag.accuracy.network import AccuracyNetwork

# Learnt from the same source as an archive that comes with the program, from far more accuracies than that holds.
_SHIPPED_MODELS: Mapping[Path, Path] = {SHIPPED[DEFAULT]: SHIPPED[DEFAULT].with_name("imagenet-w1.2-distilled.npz")}


def model_of(path: Path | None, archive: AccuracyArchive) -> AccuracyNetwork | None:
    """The model that comes with the program for the archive of this file, at its resolutions; None for other files."""
    model = None if path is None else _SHIPPED_MODELS.get(path)
    if model is None:
        return None
    network = AccuracyNetwork.load(model, archive.space)
    sides = archive.space.sides
    return network.at(*sides) if set(sides) <= set(network.resolutions) else None
