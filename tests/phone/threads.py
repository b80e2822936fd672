"""The stand-in's own threads."""

import sys
import threading
from collections.abc import Callable
from typing import Any


class Untraced(threading.Thread):
    """A daemon whose lines no tracer sees: coverage is of what is tested, and following the stand-in takes long."""

    def __init__(self, target: Callable[..., object], *args: Any) -> None:
        super().__init__(target=target, args=args, daemon=True)

    def run(self) -> None:
        sys.settrace(None)
        super().run()
