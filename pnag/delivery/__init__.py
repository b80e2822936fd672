"""From an answer to a file: the network with its weights, exported, checked against torch, with its facts inside.

In come a candidate and the run that it is of. Out go `.tflite`, `.onnx`, `.pt2` and `.json` files.
"""
