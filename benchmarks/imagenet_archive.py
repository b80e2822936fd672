"""The archive of ImageNet accuracies that comes with the program, out of a table of once-for-all's predictions.

    python -m benchmarks.imagenet_archive accuracies.parquet

The given table has the columns `architecture`, `resolution`, `accuracy` (a fraction) and `drawn`. Its accuracies were
worked out with the ImageNet accuracy predictor that the authors of once-for-all published (MIT licence) for the
sub-networks of their supernet `ofa_mbv3_d234_e346_k357_w1.2`. The line to published top-1 accuracies was fitted to
15 networks of PNAG and four of once-for-all, all of this space; `docs/archive.md` says more. Takes a few seconds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from pnag.accuracy.archive import SHIPPED, AccuracyArchive
from pnag.runs.run import sha256_of
from pnag.space.search_space import decode_strings
from pnag.space.spaces import load_space

SOURCE = {
    "kind": "predicted",
    "by": "once-for-all's predictor",
    "data": {"name": "ImageNet", "images": "held out of the training images by the predictor's authors"},
    "paper": "Cai et al., Once-for-All: Train One Network and Specialize it for Efficient Deployment, ICLR 2020",
    "url": "https://github.com/mit-han-lab/once-for-all",
    "supernet_name": "ofa_mbv3_d234_e346_k357_w1.2",
    "licence": "MIT",
    "published_top1": {"slope": 0.968, "offset": -0.0059, "deviation": 0.0025, "networks": 19},
}
_DECIMALS = 6  # what a predictor in single precision holds


def make(given: Path) -> AccuracyArchive:
    """The archive of the rows of `given`, in their order."""
    frame = pd.read_parquet(given)
    sides = frame["resolution"].tolist()
    space = load_space("ofa-mbv3-w1.2", resolution=sides)
    drawn = frame.groupby(["resolution", "drawn"]).size()
    source = SOURCE | {
        "drawn": {str(side): {str(how): int(n) for how, n in drawn[side].items()} for side in drawn.index.levels[0]},
        "made_from_sha256": sha256_of(given),
    }
    return AccuracyArchive(
        space,
        decode_strings(space, [f"{text}@{side}" for text, side in zip(frame["architecture"], sides, strict=True)]),
        np.round(frame["accuracy"].to_numpy(dtype=float), _DECIMALS),
        split="val",
        source=source,
    )


def main() -> None:
    """Write the archive, and say what is in it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("given", type=Path, help="parquet with architecture, resolution, accuracy and drawn")
    parser.add_argument("--out", type=Path, default=SHIPPED["imagenet"])
    options = parser.parse_args()
    archive = make(options.given)
    archive.save(options.out)
    print(
        f"{len(archive)} accuracies to {options.out} ({options.out.stat().st_size / 1e3:.0f} kB), {archive.provenance}"
    )


if __name__ == "__main__":
    main()
