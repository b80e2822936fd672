"""How a supernet is trained: settings by value, with a preset per data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pnag.data.augment import Augmentation
from pnag.errors import DataError

Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True)
class TrainConfig:
    """Settings of supernet training.

    Training lasts `epochs`, or `core_minutes` of this process's CPU time where that is given (time in which the
    process is stopped or waits for a core does not count). Each step trains the largest network, the smallest and
    `random_networks` more, or with `alternate` the largest and the smallest by turns, which suits few cores;
    `batch` counts the images of all devices.
    `distill` is the weight of the largest network's soft labels against the true ones for the others.
    `warm_up` is a share of the training; after it the learning rate follows a cosine to 0.
    """

    epochs: float = 120.0
    core_minutes: float | None = None
    batch: int = 256
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.1
    weight_decay: float = 3e-5
    warm_up: float = 0.05
    random_networks: int = 2
    alternate: bool = False
    distill: float = 1.0
    label_smoothing: float = 0.1
    clip_norm: float = 5.0
    ema: float = 0.999
    augmentation: Augmentation = field(default_factory=Augmentation)
    precision: Precision = "auto"
    seed: int = 0
    checkpoint_every_s: float = 60.0
    judged: int = 10

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "learning_rate", "clip_norm"):
            if not getattr(self, name) > 0:
                raise DataError(f"training with {name} {getattr(self, name)}; it must be above 0")
        for name in ("warm_up", "distill", "label_smoothing", "ema"):
            if not 0 <= getattr(self, name) <= 1:
                raise DataError(f"training with {name} {getattr(self, name)}; it is a share from 0 to 1")

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain JSON values."""
        return asdict(self)


_DIGITS = TrainConfig(
    epochs=18,
    batch=64,
    optimizer="adamw",
    learning_rate=3e-3,
    weight_decay=0.02,
    warm_up=0.1,
    random_networks=2,
    alternate=True,
    label_smoothing=0.05,
    ema=0.98,
    augmentation=Augmentation(shift=0.07, rotate_deg=8, scale=0.08),
    judged=6,
)
_SMALL_IMAGES = TrainConfig(
    epochs=60,
    batch=128,
    optimizer="adamw",
    learning_rate=2.5e-3,
    weight_decay=0.05,
    random_networks=1,
    alternate=True,
    distill=0.5,
    label_smoothing=0.05,
    ema=0.998,
    augmentation=Augmentation(shift=0.125, flip=True),
)
_FOLDER = TrainConfig(batch=512, learning_rate=0.4, ema=0.9998, augmentation=Augmentation(flip=True))

PRESETS: Mapping[str, TrainConfig] = {
    "digits": _DIGITS,
    "cifar10": _SMALL_IMAGES,
    "parquet": _SMALL_IMAGES,
    "imagefolder": _FOLDER,
}


def preset(data_name: str) -> TrainConfig:
    """The settings for a data set's name or kind. Raises `DataError` for an unknown one."""
    kind = data_name.partition(":")[0]
    if kind not in PRESETS:
        raise DataError(f"no training preset for data set '{data_name}'; known are {', '.join(PRESETS)}")
    return PRESETS[kind]
