"""This computer as a device: ONNX Runtime and LiteRT on its CPU, and what the CPU is and does.

In come a device's spec and artefacts (`.onnx`, `.tflite`). Out go programs that return raw samples, the identity of
the processor and its state.
"""

from devices.host.computer import describe_host

__all__ = ["describe_host"]
