"""From what CUDA, cuDNN, a capture or a compiler says to one line for the user."""

from __future__ import annotations

from collections.abc import Iterator

from devices.errors import ConnectionLostError, DeviceError, MeasurementError, one_line

# After these the context is gone: every later call fails, and only a new process can go on.
_LOST = (
    "illegal memory access",
    "misaligned address",
    "device-side assert",
    "unspecified launch failure",
    "launch timed out",
    "uncorrectable",
    "fallen off the bus",
    "gpu is lost",
    "device is lost",
    "context is destroyed",
)
_FULL = ("out of memory", "alloc_failed")
_CAPTURE = ("captur",)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, what caused it, and what it came on top of: a failed capture hides its cause."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def explain(error: BaseException, name: str, gpu: str, batch: int) -> DeviceError:
    """The error to raise for `error`, which came of `name` at that batch (0: unknown) on that card."""
    errors = list(_chain(error))
    texts = [str(one).lower() for one in errors]

    def says(words: tuple[str, ...]) -> bool:
        return any(word in text for word in words for text in texts)

    if says(_FULL) or any(type(one).__name__ == "OutOfMemoryError" for one in errors):
        at = f" at batch {batch}" if batch else ""
        return MeasurementError(f"{name}: out of memory on {gpu}{at}; take a smaller --batch, or free the card")
    if says(_LOST):
        return ConnectionLostError(f"{gpu} failed at {name} ({one_line(error)}); run the same command again")
    if says(_CAPTURE):
        return MeasurementError(f"{name} cannot be captured in a CUDA graph ({one_line(errors[-1])}); use --mode eager")
    return MeasurementError(f"{name} does not run on {gpu}: {one_line(error)}")
