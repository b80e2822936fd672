"""PNAG: learn from a latency table and measured accuracies, generate the best network for any budget.

In come a latency table and accuracies. Out go architectures that keep a budget, and their files. Rooms, in the order of
their imports: `space`, `data`, `accuracy`, `supernet`, `search`, `generator`, `runs`, `delivery`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pnag.errors import PnagError
from pnag.space.architecture import Architecture
from pnag.space.search_space import SearchSpace
from pnag.space.spaces import load_space

if TYPE_CHECKING:
    from pnag.generator.generate import Candidate, Generator
    from pnag.supernet.supernet import Supernet

__all__ = ["Architecture", "Candidate", "Generator", "PnagError", "SearchSpace", "Supernet", "load_space"]

# Imported on first use: generating needs no torch, and torch takes longer to import than all the rest.
_LAZY = {
    "Generator": "pnag.generator.generate",
    "Candidate": "pnag.generator.generate",
    "Supernet": "pnag.supernet.supernet",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'pnag' has no attribute '{name}'")
