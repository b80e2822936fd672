"""NVIDIA GPUs: PyTorch in CUDA graphs, ONNX Runtime with CUDA or TensorRT, and NVML's view of the card.

In come a device's spec and artefacts (block specs, `.onnx`). Out go programs that return raw samples, the identity of
the card, and its temperature, clocks and throttle reasons.
"""
