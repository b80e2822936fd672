"""Which device a measurement is of: the facts that tell devices apart, and what is unlike between two.

A name is not enough: processors that call themselves alike differ by more than twice on the same network. What is
known of only one side is not compared, so that tables of older releases, and imported ones, can be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Kind of device -> what its latencies depend on and no session sets, by the names of `DeviceInfo.fields`.
IDENTITY: Mapping[str, tuple[str, ...]] = {
    "cpu": (
        "cpu_model", "cpu_family_model_stepping", "architecture", "instruction_sets", "caches_kib", "cores_online",
        "memory_mib", "virtual_machine", "hypervisor_vendor",
    ),
    "phone": ("phone_model", "soc", "build_fingerprint", "cores", "core_max_mhz"),
    "gpu": ("gpu_name", "memory_bytes", "driver", "compute_capability", "max_sm_clock_mhz", "power_limit_w"),
}  # fmt: skip
# The system's own part of the memory varies from boot to boot.
_ABOUT_EQUAL = {"memory_mib": 0.02, "memory_bytes": 0.02}


@dataclass(frozen=True)
class Unlike:
    """One fact in which two devices differ: its name, and both values."""

    name: str
    here: Any
    there: Any

    def describe(self, theirs: str) -> str:
        """In words: `cores online 4 (the table's: 2)`, where `theirs` is `the table's`."""
        name = self.name.replace("_", " ")
        if isinstance(self.here, list) and isinstance(self.there, list):
            more = [str(value) for value in self.here if value not in self.there]
            less = [str(value) for value in self.there if value not in self.here]
            words = [f"{word} {' '.join(values)}" for word, values in (("with", more), ("without", less)) if values]
            return f"{name} {' and '.join(words) or 'in another order'} (unlike {theirs})"
        return f"{name} {_text(self.here)} ({theirs}: {_text(self.there)})"


def identity_of(kind: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What tells a device of that kind from others, as far as `facts` say it; its `model` for other kinds."""
    known = {name: facts.get(name) for name in IDENTITY.get(kind, ("model",))}
    return {name: value for name, value in known.items() if value not in (None, "", [], {})}


def unlike(here: Mapping[str, Any], there: Mapping[str, Any]) -> tuple[Unlike, ...]:
    """The facts in which two devices differ, of those that both state. Both hold `kind`, `model` and facts.

    Another model, or another kind, says all there is to say: then nothing else is listed.
    """
    for name in ("kind", "model"):
        if here.get(name) and there.get(name) and here[name] != there[name]:
            return (Unlike("device", here.get("model"), there.get("model")),)
    kind = str(here.get("kind") or there.get("kind") or "")
    ours, theirs = identity_of(kind, here), identity_of(kind, there)
    return tuple(
        Unlike(name, value, theirs[name])
        for name, value in ours.items()
        if name in theirs and not _alike(name, value, theirs[name])
    )


def _alike(name: str, one: Any, other: Any) -> bool:
    if name in _ABOUT_EQUAL and isinstance(one, int | float) and isinstance(other, int | float):
        return abs(one - other) <= _ABOUT_EQUAL[name] * max(one, other)
    return bool(one == other)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    return str(value)
