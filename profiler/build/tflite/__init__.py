"""What is inside a `.tflite` file: read and written, taken apart, filled with other weights, joined.

The converter writes a few small blocks. From these come the files of all blocks and networks.
"""
