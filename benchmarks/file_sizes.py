"""How large exported files are against what is predicted of them: `python -m benchmarks.file_sizes`.

Smallest, middle and largest network of the space in each format and precision, with the names of ImageNet's classes
inside. A prediction is meant to be an upper bound, and a close one.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch

from benchmarks.report import RESULTS, report
from pnag.delivery.export import export_network
from pnag.delivery.feasible import middle_of
from pnag.delivery.files.sizes import FORMS, file_sizes
from pnag.delivery.metadata import describe_network
from pnag.delivery.weights import IMAGENET_CLASSES, imagenet_names
from pnag.space.spaces import load_space
from profiler.build.modules import build_network, randomise
from profiler.build.parity import bits_of_file


def main() -> None:
    """Export, compare, write `results/file_sizes.md`."""
    options = parse()
    space = load_space(options.space, resolution=options.resolution)
    smallest, largest = space.extremes()
    labels = imagenet_names() if space.classes == IMAGENET_CLASSES else None
    rows = []
    for (suffix, name), sizes in ((form, file_sizes(space, *form)) for form in FORMS):
        precision, shape = bits_of_file(name), (1, 3, space.resolution, space.resolution)
        row: dict[str, object] = {"format": suffix, "precision": precision}
        for which, architecture in (("smallest", smallest), ("middle", middle_of(space)), ("largest", largest)):
            network = build_network(space.decompose(architecture))
            randomise(network)
            with tempfile.TemporaryDirectory() as folder:
                written = export_network(
                    network.eval(),
                    Path(folder) / f"network{suffix}",
                    input_shape=shape,
                    metadata=describe_network(architecture, space, trained=False, labels=labels),
                    precision=precision,
                    calibration=None if precision == "float32" else torch.randn(2, *shape[1:]),
                ).bytes
            predicted = float(sizes(space.encode([architecture]))[0])
            row |= {f"{which} (MB)": written / 1e6, f"{which} predicted over": f"{predicted / written - 1:+.2%}"}
            print(row, flush=True)
        rows.append(row)
    notes = [f"{space.name} at {space.resolution} pixels, {space.classes} classes with their names, random weights."]
    report("file_sizes", "Predicted and real sizes of files", rows, notes, folder=options.results)


def parse() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="ofa-mbv3-w1.2")
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
