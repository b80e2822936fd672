"""The interpreter of `.tflite` files on this machine: from ai-edge-litert, or else from tflite-runtime."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from devices.errors import MeasurementError, RuntimeUnavailableError

# Distribution -> module with `Interpreter`; the first that is installed is taken.
RUNTIMES = {"ai-edge-litert": "ai_edge_litert.interpreter", "tflite-runtime": "tflite_runtime.interpreter"}


def find_runtime() -> tuple[str, Any]:
    """Distribution name and interpreter module of the runtime in use. Raises `RuntimeUnavailableError`."""
    reasons = []
    for name, module in RUNTIMES.items():
        try:
            return name, import_module(module)
        except (ImportError, AttributeError) as error:  # an old build against a newer numpy fails with the latter
            reasons.append(f"{name}: {error}")
    raise RuntimeUnavailableError(f"no runtime for .tflite files here ({'; '.join(reasons)}); install ai-edge-litert")


def runtime_identity() -> tuple[str, str]:
    """Distribution name and version of the runtime in use. Raises `RuntimeUnavailableError`."""
    name, _ = find_runtime()
    return name, version(name)


def open_interpreter(path: Path, *, threads: int = 1, xnnpack: bool = True) -> Any:
    """An `Interpreter` of `path`, its tensors allocated; without XNNPACK the runtime's own kernels.

    Raises `MeasurementError` for a file that the runtime refuses, `RuntimeUnavailableError` where there is none.
    """
    name, module = find_runtime()
    options: dict[str, Any] = {"num_threads": threads}
    if not xnnpack:
        options["experimental_op_resolver_type"] = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        interpreter = module.Interpreter(model_path=str(path), **options)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise MeasurementError(f"{name} refuses {path} ({reason}); convert it again") from error
    return interpreter
