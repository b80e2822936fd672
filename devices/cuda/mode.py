"""How a GPU is asked to run networks: precision, memory layout, execution and cache, as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from devices.errors import DeviceOptionError
from devices.options import Option

PRECISIONS = ("float32", "tf32", "float16", "bfloat16")
EXECUTIONS = ("eager", "graph", "compile")

# Below these compute capabilities torch emulates the precision, or silently computes in another.
_NEEDS_CAPABILITY = {"tf32": (8, 0), "bfloat16": (8, 0), "float16": (5, 3)}


OPTIONS = (
    Option("precision", str, "how the card computes", choices=PRECISIONS),
    Option("mode", str, "how calls reach the card", "graph", EXECUTIONS, taker="a GPU"),
    Option("channels_last", bool, "channels last in memory", False),
    Option("cold", bool, "overwrite the L2 cache before each call", False),
    Option("cudnn_benchmark", bool, "let cuDNN try its algorithms at warm-up", False),
    Option("gpu", int, "which card, counted from 0 as CUDA does; the first that the spec matches unless given", low=0),
)


@dataclass(frozen=True)
class CudaMode:
    """One way of running; all of it is recorded with a table.

    `precision`: `float32` with TF32 off, `tf32` (float32 tensors, TF32 arithmetic), `float16`, `bfloat16`.
    `mode`: `eager` (each kernel launched by the host), `graph` (captured in a CUDA graph), `compile`
    (torch.compile, then captured). `channels_last`: memory format of weights and activations. `cold`: the
    L2 cache is overwritten before each call; otherwise calls follow one another. `cudnn_benchmark`: cuDNN
    tries its algorithms at warm-up; off, it chooses by rule, and every process chooses alike. `gpu`: the
    card's index as torch counts.
    """

    precision: str = "float32"
    mode: str = "graph"
    channels_last: bool = False
    cold: bool = False
    cudnn_benchmark: bool = False
    gpu: int = 0

    def __post_init__(self) -> None:
        for name, value, known in (("precision", self.precision, PRECISIONS), ("mode", self.mode, EXECUTIONS)):
            if value not in known:
                raise DeviceOptionError(f"{name} '{value}' is unknown to a GPU; choose from {', '.join(known)}")

    @classmethod
    def from_options(cls, precision: str, *layers: Mapping[str, Any]) -> CudaMode:
        """A mode from a spec's precision and mappings of options, later ones first; None means not given.

        Raises `DeviceOptionError` for an unknown option or a value of the wrong type.
        """
        given: dict[str, Any] = {"precision": precision}
        for layer in layers:
            given |= {name: value for name, value in layer.items() if value is not None}
        types = {f.name: type(f.default) for f in fields(cls)}
        if unknown := sorted(set(given) - set(types)):
            raise DeviceOptionError(f"a GPU takes no option '{unknown[0]}'; it takes {', '.join(sorted(types))}")
        for name, value in given.items():
            if type(value) is not types[name]:
                raise DeviceOptionError(f"{name} is {value!r}, which is not a {types[name].__name__}; correct it")
        if given.get("gpu", 0) < 0:
            raise DeviceOptionError(f"gpu {given['gpu']} is no index of a GPU; count from 0")
        return cls(**given)

    @property
    def captured(self) -> bool:
        """Whether calls are replays of a CUDA graph."""
        return self.mode != "eager"

    def require(self, capability: tuple[int, int], name: str) -> None:
        """Raise `DeviceOptionError` if a card of that compute capability cannot do this precision itself."""
        needed = _NEEDS_CAPABILITY.get(self.precision, (0, 0))
        if capability < needed:
            raise DeviceOptionError(
                f"{self.precision} needs compute capability {needed[0]}.{needed[1]}, and {name} has "
                f"{capability[0]}.{capability[1]}; use --precision float32"
            )

    def as_fields(self) -> dict[str, Any]:
        """JSON values for a table's metadata."""
        plain = asdict(self)
        plain["memory_format"] = "channels_last" if plain.pop("channels_last") else "contiguous"
        plain["l2"] = "cold" if plain.pop("cold") else "warm"
        del plain["gpu"]
        return plain
