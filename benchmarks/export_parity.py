"""Do exported files compute what torch computes? Blocks and networks, three formats, three precisions, two runtimes.

python -m benchmarks.export_parity            all 93 blocks, four networks at 224 pixels; about 10 minutes on 2 cores
python -m benchmarks.export_parity --quick    a block in ten, one network at 32 pixels
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.report import report
from devices.host.litert_runtime import open_interpreter
from lut.blocks import parse_block
from pnag.delivery.export import export_network
from pnag.delivery.metadata import describe_network
from pnag.space.architecture import Architecture
from pnag.space.search_space import SearchSpace
from pnag.space.spaces import load_space
from profiler.build.artefacts import ArtefactCache
from profiler.build.convert_blocks import convert_blocks
from profiler.build.export_tflite import TfliteFactory
from profiler.build.modules import build_block, build_network, randomise
from profiler.build.parity import PARITY_LIMITS, Precision, parity, relative_difference
from tests.tflite_runtime_env import old_python, run_with_tflite_runtime

PUBLISHED = Path(__file__).parent.parent / "tests" / "data" / "published_architectures.csv"


def main() -> None:
    """Measure and write `results/export_parity.md`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = [*_networks(Path(folder), quick), *_blocks(Path(folder), quick)]
    report(
        "export_parity",
        "Exported files against torch",
        rows,
        [
            "The difference is max |file − torch| / max |torch| on standard normal inputs, the same for all. "
            "Networks of ofa-mbv3-w1.2 with random weights at unit scale. A row of blocks gives the worst block.",
            "With 8 bits, the difference is that of the worst single value and includes clipping: ranges come "
            "from 16 random inputs. It bounds what a broken file would show, and says nothing of accuracy.",
        ],
    )


def _networks(folder: Path, quick: bool) -> Iterator[Mapping[str, Any]]:
    space = load_space(resolution=32 if quick else 224)
    for name, architecture in _architectures(space, quick).items():
        network = randomise(build_network(space.decompose(architecture)))
        shape = (1, 3, space.resolution, space.resolution)
        about = describe_network(architecture, space, trained=False)
        targets: list[tuple[str, Precision]] = [(suffix, "float32") for suffix in (".tflite", ".onnx", ".pt2")]
        if name.startswith("smallest"):
            targets += [(".tflite", "dynamic-int8"), (".tflite", "int8")]
        for suffix, precision in targets:
            path = folder / f"network-{precision}{suffix}"
            start_s = time.perf_counter()
            done = export_network(network, path, input_shape=shape, metadata=about, precision=precision)
            seconds = time.perf_counter() - start_s
            row = {"what": f"{name} @{space.resolution}", "format": done.format, "precision": precision}
            row |= {"relative difference": done.relative_difference, "limit": PARITY_LIMITS[precision]}
            row |= {"megabytes": done.bytes / 1e6, "seconds": seconds}
            if suffix == ".tflite":
                row |= {"XNNPACK delegates": _delegates(path)}
                if precision == "float32":
                    row |= {"under tflite-runtime 2.14": _under_tflite_runtime(network, path, shape, folder)}
            yield row


def _architectures(space: SearchSpace, quick: bool) -> Mapping[str, Architecture]:
    smallest, largest = space.extremes()
    if quick:
        return {"smallest": smallest}
    published = pd.read_csv(PUBLISHED).set_index("name")["architecture"]
    named = {name: Architecture.parse(published[name]) for name in ("pnag-mobile-80", "pnag-mobile-140")}
    return {"smallest": smallest, "largest": largest, **named}


def _delegates(path: Path) -> int:
    details = open_interpreter(path)._get_ops_details()
    return sum(op["op_name"] == "DELEGATE" for op in details)


def _under_tflite_runtime(network: torch.nn.Module, path: Path, shape: tuple[int, ...], folder: Path) -> float | str:
    try:
        python = old_python()
    except pytest.skip.Exception as reason:
        return f"not run: {reason}"
    images = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(images)).numpy()
    return relative_difference(run_with_tflite_runtime(python, path, images.transpose(0, 2, 3, 1), folder), expected)


def _blocks(folder: Path, quick: bool) -> Iterator[Mapping[str, Any]]:
    blocks = load_space().blocks()
    for precision in PARITY_LIMITS:
        wanted = {spec.key: [spec] for spec in (blocks[::10] if quick else blocks)}
        factory = TfliteFactory(ArtefactCache(folder), 1, precision)
        start_s = time.perf_counter()
        failures = convert_blocks(wanted, factory)
        seconds = time.perf_counter() - start_s
        differences, delegates = {}, []
        for key in wanted.keys() - failures.keys():
            path = factory.make(key, wanted[key]).path
            assert path is not None
            differences[key] = parity(randomise(build_block(wanted[key][0])), path, (1, *parse_block(key).input_shape))
            delegates.append(_delegates(path))
        yield {
            "what": f"{len(wanted)} blocks, {len(failures)} failed",
            "format": "tflite",
            "precision": precision,
            "relative difference": max(differences.values()),
            "limit": PARITY_LIMITS[precision],
            "seconds": seconds,
            "XNNPACK delegates": max(delegates),
        }


if __name__ == "__main__":
    main()
