"""`.tflite` files as objects and back: all constants inside the flatbuffer, aligned as its schema demands."""

from __future__ import annotations

from typing import Any

import numpy as np

IDENTIFIER = b"TFL3"
_ALIGNMENT_BYTES = 16


def unpack(content: bytes) -> Any:
    """The `ModelT` of a file. Constants that the file keeps behind the flatbuffer are taken in.

    Runtimes of before 2024, and benchmark tools of that age on phones, look for constants in the flatbuffer only.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for buffer in model.buffers:
        if buffer.offset > 1:  # 0 and 1 stand for none
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def pack(model: Any, size_hint_bytes: int = 1024) -> bytes:
    """The file of a `ModelT`."""
    import flatbuffers

    class AlignedBuilder(flatbuffers.Builder):  # type: ignore[misc]
        """Byte vectors start where the schema wants them, which the generated Python code does not see to."""

        def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:  # noqa: N802, N803
            """As the base class, with bytes aligned to 16."""
            wanted = _ALIGNMENT_BYTES if elemSize == 1 else alignment
            offset: int = super().StartVector(elemSize, numElems, wanted)
            return offset

    builder = AlignedBuilder(size_hint_bytes)
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())
