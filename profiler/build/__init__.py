"""From blocks to files that a runtime can run: torch modules, exports, conversion, their cache and their checks.

In come block specs. Out go artefacts (`.onnx`, `.tflite`, torch modules), checked against torch and kept in a cache.
"""
