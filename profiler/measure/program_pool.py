"""Programs kept loaded, within a limit of memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from devices.backend import Artefact, Backend, Program

# Weights in memory beside the file, packed for the runtime's kernels, and the activations.
_MEMORY_PER_FILE_BYTE = 3


class ProgramPool:
    """Loads on first use; closes what was used longest ago when the estimate exceeds `limit_bytes`.

    What takes no file counts for nothing: its back-end knows its own limits.
    """

    def __init__(self, backend: Backend, artefact_of: Callable[[str], Artefact], limit_bytes: int) -> None:
        self._backend, self._artefact_of, self._limit_bytes = backend, artefact_of, limit_bytes
        self._loaded: OrderedDict[str, tuple[Program, int]] = OrderedDict()

    def get(self, name: str) -> Program:
        """The program of that name. Raises `MeasurementError` if the runtime refuses it."""
        if name in self._loaded:
            self._loaded.move_to_end(name)
            return self._loaded[name][0]
        artefact = self._artefact_of(name)
        size = _MEMORY_PER_FILE_BYTE * artefact.path.stat().st_size if artefact.path is not None else 0
        while self._loaded and self._used_bytes + size > self._limit_bytes:
            _, (oldest, _) = self._loaded.popitem(last=False)
            oldest.close()
        program = self._backend.load(artefact)
        self._loaded[name] = (program, size)
        return program

    @property
    def _used_bytes(self) -> int:
        return sum(size for _, size in self._loaded.values())

    def drop(self, name: str) -> None:
        """Close a program that failed; it is loaded afresh if it is asked for again."""
        program, _ = self._loaded.pop(name, (None, 0))
        if program is not None:
            program.close()

    def close(self) -> None:
        """Close all."""
        for program, _ in self._loaded.values():
            program.close()
        self._loaded.clear()
