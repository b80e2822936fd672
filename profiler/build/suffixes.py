"""Which files a runtime takes."""

from __future__ import annotations

_SUFFIXES = (("onnxruntime", ".onnx"), ("litert", ".tflite"), ("tflite", ".tflite"), ("torch", ".pt2"))


def suffix_for(runtime: str) -> str | None:
    """The suffix of the files that a runtime takes, by how it calls itself; None where it is not known."""
    return next((suffix for word, suffix in _SUFFIXES if word in runtime.lower()), None)
