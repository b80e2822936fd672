"""What the processes of a training are asked to do together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pnag.space.search_space import SearchSpace
from pnag.space.tokens import Tokens
from pnag.supernet.training_config import TrainConfig


@dataclass(frozen=True)
class SupernetTask:
    """A supernet of `space` with the data set of a name and a seed: the one at `checkpoint`, or one that is trained
    as `config` says, in the folder `out`, from the weights of the checkpoint `start` where one is given. Networks are
    evaluated on so many of the validation images at most.
    """

    space: SearchSpace
    data: str
    seed: int
    config: TrainConfig
    out: Path
    checkpoint: Path | None = None
    start: Path | None = None
    val_images: int | None = None


@dataclass(frozen=True)
class CollectTask:
    """Accuracies of architectures, tokens (n, length), for the archive `out`, with `test` on the test split too."""

    tokens: Tokens
    out: Path
    test: bool = False


Task = SupernetTask | CollectTask
