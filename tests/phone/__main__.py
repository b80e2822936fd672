"""A phone to try the commands on: `python -m tests.phone FOLDER [--real]`. It ends with its standard input.

Prints its address, and the file to give as --benchmark-model. With --real, models are run by TensorFlow Lite
on this computer.
"""

import argparse
import sys
from pathlib import Path

from tests.phone import FakePhone, fake_tool


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.phone")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--real", action="store_true")
    given = parser.parse_args()
    tool = fake_tool(given.folder / "benchmark_model")
    with FakePhone(given.folder / "phone", real=given.real) as phone:
        print(f"{phone.address} {tool}", flush=True)
        sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
