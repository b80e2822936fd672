"""Run by torchrun in a test: trains and evaluates on two processes, and says what each came to."""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from pnag.supernet.collect import Journal, collect_archive
from pnag.supernet.training import make_fabric, train_supernet
from tests.pnag.tiny import TINY_CONFIG, TINY_SPACE, coloured_squares


def late(read):
    """`read` of a process that comes to it seconds after the others."""

    def later(journal):
        time.sleep(3)
        return read(journal)

    return later


def main() -> None:
    out = Path(sys.argv[1])
    fabric = make_fabric(accelerator="cpu")
    data = coloured_squares()
    # Clocks differ: when one process is due to save, the other is not.
    config = replace(TINY_CONFIG, checkpoint_every_s=1e9 if fabric.global_rank else 0)
    net = train_supernet(TINY_SPACE, data, config, out, fabric=fabric)
    again = train_supernet(TINY_SPACE, data, config, out / "again", fabric=fabric)
    if fabric.global_rank:
        Journal.read = late(Journal.read)
    tokens = TINY_SPACE.sample(5, np.random.default_rng(0))
    archive = collect_archive(net, data, tokens, out / "archive.parquet", fabric=fabric)
    report = {"world": fabric.world_size, "supernet": net.sha256(), "again": again.sha256(), "archive": archive.sha256}
    (out / f"rank{fabric.global_rank}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main()
