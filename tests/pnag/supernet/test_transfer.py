"""Supernets moved to other classes: what stays, what is fresh, and that it is worth it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pnag.errors import CheckpointError
from pnag.space.search_space import SearchSpace
from pnag.supernet.supernet import Supernet
from pnag.supernet.transfer import classes_of, fine_tuning, fits, start_from
from tests.pnag.tiny import TINY_CONFIG, TINY_SPACE, random_supernet

NAMES = ("red", "green", "blue")
TWO = replace(TINY_SPACE, classes=2)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    supernet = random_supernet()
    supernet.data = {"class_names": list(NAMES)}
    supernet.save(tmp_path / "given.safetensors")
    return tmp_path / "given.safetensors"


@pytest.mark.parametrize(
    ("space", "names", "expected"),
    [(TINY_SPACE, NAMES, True), (TINY_SPACE, ("cat", "dog", "cow"), False), (TWO, ("cat", "dog"), False)],
)
def test_classes_fit_by_number_and_by_name(
    checkpoint: Path, space: SearchSpace, names: tuple[str, ...], *, expected: bool
) -> None:
    assert classes_of(checkpoint) == 3
    assert fits(checkpoint, space, names) is expected
    nameless = checkpoint.with_name("nameless.pth")
    random_supernet().save(nameless)
    assert fits(nameless, space, names) is (space.classes == 3)


@pytest.mark.parametrize(("space", "names"), [(TINY_SPACE, ("cat", "dog", "cow")), (TWO, ("cat", "dog"))])
def test_all_weights_but_the_classifiers_stay(checkpoint: Path, space: SearchSpace, names: tuple[str, ...]) -> None:
    said: list[str] = []
    moved = start_from(checkpoint, space, names, seed=1, tell=said.append).state_dict()
    given, fresh = Supernet.load(checkpoint, TINY_SPACE).state_dict(), Supernet(space, seed=1).state_dict()
    for name, tensor in moved.items():
        assert torch.equal(tensor, fresh[name] if name.startswith("head.classifier.") else given[name]), name
    assert len(said) == 1
    assert "tells 3 other classes apart; its classifier is replaced by one of" in said[0]


def test_the_same_classes_go_on_with_their_classifier(checkpoint: Path) -> None:
    said: list[str] = []
    moved = start_from(checkpoint, TINY_SPACE, NAMES, seed=1, tell=said.append)
    assert (moved.sha256(), said) == (Supernet.load(checkpoint, TINY_SPACE).sha256(), [])


def test_a_checkpoint_of_another_space_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"given\.safetensors"):
        fits(checkpoint, replace(TWO, width=0.5), ("cat", "dog"))
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        classes_of(tmp_path / "none.pth")


def test_the_schedule_is_shorter_and_else_the_same() -> None:
    shorter = fine_tuning(TINY_CONFIG)
    assert shorter.epochs == TINY_CONFIG.epochs / 4
    assert replace(shorter, epochs=TINY_CONFIG.epochs) == TINY_CONFIG
