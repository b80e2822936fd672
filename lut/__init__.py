"""Latency tables: what a block is, what it costs on a device, c(a) for any network.

In come measured latencies of blocks and networks, or files of other programs. Out go costs that add up, their fidelity,
and tables as files. Rooms: `calibration`, `formats`, `views`.
"""

from lut.blocks import BlockSpec, ConvSpec, HeadSpec, MBConvSpec, divisible, parse_block
from lut.entry import Entry
from lut.errors import LutError
from lut.table import LatencyTable, TableMetadata

__all__ = [
    "BlockSpec",
    "ConvSpec",
    "Entry",
    "HeadSpec",
    "LatencyTable",
    "LutError",
    "MBConvSpec",
    "TableMetadata",
    "divisible",
    "parse_block",
]
