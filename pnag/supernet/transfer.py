"""A trained supernet moved to other classes: its weights with a new classifier, to be trained on from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pnag.errors import CheckpointError
from pnag.space.search_space import SearchSpace
from pnag.supernet.checkpoint import our_name
from pnag.supernet.checkpoint_file import read_tensors
from pnag.supernet.supernet import Supernet
from pnag.supernet.training_config import TrainConfig
from profiler.console import say

_CLASSIFIER = "head.classifier."
_EPOCHS_SHARE = 0.25  # of a training from fresh weights


def classes_of(checkpoint: Path) -> int:
    """How many classes the supernet of a checkpoint tells apart. Raises `CheckpointError`."""
    if not checkpoint.is_file():
        raise CheckpointError(f"no checkpoint at {checkpoint}; check the path")
    tensors, _ = read_tensors(checkpoint)
    for name, tensor in tensors.items():
        if our_name(name) == f"{_CLASSIFIER}weight" and tensor.ndim == 2:
            return len(tensor)
    raise CheckpointError(f"checkpoint {checkpoint.name} has no classifier; take a supernet of once-for-all's or ours")


def _in_silence(_: str) -> None:
    """What a file is like is told where it is used, not where it is only looked at."""


def fits(checkpoint: Path, space: SearchSpace, class_names: Sequence[str]) -> bool:
    """Whether a checkpoint tells these classes apart: as many, and of the same names where it knows names.

    Raises `CheckpointError` for a checkpoint that is not of `space` but for its classes.
    """
    classes = classes_of(checkpoint)
    known = Supernet.load(checkpoint, replace(space, classes=classes), tell=_in_silence).data.get("class_names")
    return classes == space.classes and (known is None or list(known) == list(class_names))


def start_from(
    checkpoint: Path, space: SearchSpace, class_names: Sequence[str], *, seed: int, tell: Callable[[str], None] = say
) -> Supernet:
    """The supernet of a checkpoint as the start of a training on these classes, in a space of as many.

    Where its classes are others, the classifier is a fresh one and `tell` is told so. Raises `CheckpointError`.
    """
    classes = classes_of(checkpoint)
    given = Supernet.load(checkpoint, replace(space, classes=classes))
    known = given.data.get("class_names")
    if classes == space.classes and (known is None or list(known) == list(class_names)):
        return given
    tell(
        f"{checkpoint.name} tells {classes} other classes apart; its classifier is replaced by one of {space.classes}, "
        "and all weights are trained on from there"
    )
    fresh = Supernet(space, seed=seed)
    kept = {name: tensor for name, tensor in given.state_dict().items() if not name.startswith(_CLASSIFIER)}
    fresh.load_state_dict({**fresh.state_dict(), **kept})
    return fresh


def fine_tuning(config: TrainConfig) -> TrainConfig:
    """The schedule to train on from good weights: a quarter of the epochs, at the same learning rate.

    At three tenths of the rate a few epochs were too little for a new classifier (benchmarks/results/transfer.md).
    """
    return replace(config, epochs=_EPOCHS_SHARE * config.epochs)
