"""Programs kept loaded, within a limit of memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from devices.backend import Artefact, Backend, Program
from devices.errors import MeasurementError
from devices.host.allowance import usable_memory_bytes

# Weights beside the file and packed for the runtime's kernels; activations in an arena that grows by doubling, inputs
# and outputs that are bound. Under ONNX Runtime, blocks at batch 16 took 1.9 to 3.8 times their activations.
_MEMORY_PER_BYTE = 3
_ELSEWHERE = ("phone", "gpu")


class ProgramPool:
    """Loads on first use; closes what was used longest ago when the estimate exceeds `limit_bytes`.

    A single program may exceed it, but not what `free_bytes` says that there is. What takes no file counts for
    nothing: its back-end knows its own limits. Nor do activations that lie on a phone or a card.
    """

    def __init__(
        self,
        backend: Backend,
        artefact_of: Callable[[str], Artefact],
        limit_bytes: int,
        *,
        free_bytes: Callable[[], int] = usable_memory_bytes,
    ) -> None:
        self._backend, self._artefact_of, self._limit_bytes = backend, artefact_of, limit_bytes
        self._free_bytes, self._here = free_bytes, backend.device().kind not in _ELSEWHERE
        self._loaded: OrderedDict[str, tuple[Program, int]] = OrderedDict()

    def get(self, name: str) -> Program:
        """The program of that name. Raises `MeasurementError` if the runtime refuses it, or memory does not suffice."""
        if name in self._loaded:
            self._loaded.move_to_end(name)
            return self._loaded[name][0]
        artefact = self._artefact_of(name)
        least = self._least_bytes(artefact)
        size = _MEMORY_PER_BYTE * least
        while self._loaded and self._used_bytes + size > self._limit_bytes:
            _, (oldest, _) = self._loaded.popitem(last=False)
            oldest.close()
        if self._here and least > (free := self._free_bytes()):
            raise MeasurementError(
                f"{name} needs {least / 1e9:.1f} GB for weights and activations at the least, and {free / 1e9:.1f} GB "
                "are free; give a smaller --batch"
            )
        program = self._backend.load(artefact)
        self._loaded[name] = (program, size)
        return program

    def _least_bytes(self, artefact: Artefact) -> int:
        """One copy of the weights and, on this computer, of the activations."""
        if artefact.path is None:
            return 0
        return artefact.path.stat().st_size + (artefact.activation_bytes if self._here else 0)

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
