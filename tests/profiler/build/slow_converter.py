"""Converts blocks that never get done, by two processes, to be interrupted. usage: slow_converter.py FOLDER"""

import os
import signal
import sys
import time
from pathlib import Path

from lut.blocks import parse_block
from profiler.build.convert_blocks import convert_blocks

BLOCKS = [parse_block(f"conv-i3-o{8 * n}-k3-s2-hswish@32") for n in range(1, 9)]


class NeverDone:
    batch = 1

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def is_cached(self, specs: object) -> bool:
        return False

    def missing_templates(self, specs: object) -> list[object]:
        return []

    def make(self, name: str, specs: object) -> None:
        (self.folder / str(os.getpid())).touch()
        time.sleep(600)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits that it is ignored
    convert_blocks({block.key: [block] for block in BLOCKS}, NeverDone(Path(sys.argv[1])), 2)
