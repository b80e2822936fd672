"""Files from templates against those of the converter: are they the same, are they as fast, and what time do they take?

python -m benchmarks.composed_files            93 blocks, ten networks at 224 pixels; about 20 minutes on 2 quiet cores
python -m benchmarks.composed_files --quick    a block in ten and one network at 32 pixels; about 2 minutes
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.report import report
from devices.backend import Artefact, Slice
from devices.host.litert import open_litert
from devices.spec import load_spec
from lut.blocks import BlockSpec
from pnag.space.search_space import SearchSpace
from pnag.space.spaces import load_space
from profiler.build.artefacts import ArtefactCache, input_shape
from profiler.build.convert_blocks import convert_blocks, workers_allowed
from profiler.build.export_tflite import TfliteFactory
from profiler.build.modules import Network, build_network, randomise
from profiler.build.parity import check_parity
from profiler.build.tflite.converter import convert
from profiler.build.tflite.file import pack, unpack
from profiler.build.tflite.graph import operations
from profiler.build.tflite.library import TemplateLibrary
from profiler.cli_networks import sample_units

_CALIBRATE, _HOLDOUT = 40, 20  # networks of a table
_VISIT = Slice(min_time_s=0.3, min_runs=5, warmup_runs=2)


def main() -> None:
    """Measure and write `results/composed_files.md`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--resolution", type=int, help="of blocks and networks; 224, or 32 with --quick")
    parser.add_argument("--networks", type=int, help="how many to convert and to time; 10, or 1 with --quick")
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    torch.set_num_threads(1)
    space = load_space(resolution=given.resolution or (32 if given.quick else 224))
    blocks = space.blocks()[:: 10 if given.quick else 1]
    with tempfile.TemporaryDirectory() as folder:
        cache = ArtefactCache(Path(folder))
        rows = [_table_files(space, cache, quick=given.quick)]
        templates = TemplateLibrary(cache, 1)
        rows.append(_same_blocks(blocks, templates))
        count = given.networks or (1 if given.quick else 10)
        timed, samples = [], []
        for specs in _networks(space, count):
            row, ratios = _network(specs, templates, Path(folder), given.rounds)
            timed.append(row)
            samples.append(ratios)
    report(
        "composed_files",
        "TFLite files from templates against converted ones",
        [*rows, _over_all(samples), *timed],
        _NOTES,
        extra={"pixels": space.resolution, "converting processes": workers_allowed()},
    )


_NOTES = [
    "Blocks: a file from a template against the converter's own file of the same block, byte by byte (both written "
    "anew by the same flatbuffer writer, since the converter's places constants in another order in the file).",
    "Networks: the same operators in the same order with the same options, shapes, connections and constants, by "
    "digest. Both files are run, in rounds, right after each other and in random order; so is a second copy of the "
    "converted one; each is loaded anew in each round. A ratio is that of two medians of calls of one round. "
    "The median of the ratios is given, with the "
    "range of the middle half. What the copy's ratio differs from 1 is noise; composed files should differ no more.",
    "Seconds to make a file are of one core, parity check included; the converter is warm.",
]


def _table_files(space: SearchSpace, cache: ArtefactCache, *, quick: bool) -> Mapping[str, Any]:
    """The files of a table, from an empty cache: all blocks and the networks."""
    units = sample_units(space, _CALIBRATE, _HOLDOUT, 0)[:: 20 if quick else 1]
    specs = {spec.key: (spec,) for spec in space.blocks()}
    wanted: dict[str, Sequence[BlockSpec]] = {**specs, **{unit.name: unit.specs for unit in units}}
    start_s = time.perf_counter()
    failures = convert_blocks(wanted, TfliteFactory(cache, 1))
    what = f"{len(specs)} blocks and {len(units)} networks from an empty cache, {len(failures)} failed"
    return {"what": what, "seconds": time.perf_counter() - start_s}


def _same_blocks(blocks: Sequence[BlockSpec], templates: TemplateLibrary) -> Mapping[str, Any]:
    same, composed_s, converted_s = 0, 0.0, 0.0
    for spec in blocks:
        block = _random([spec])
        shape = input_shape([spec], 1)
        start_s = time.perf_counter()
        composed = templates.compose(block, shape)
        middle_s = time.perf_counter()
        converted = convert(block[0], shape)
        composed_s, converted_s = composed_s + middle_s - start_s, converted_s + time.perf_counter() - middle_s
        same += composed == pack(unpack(converted))
    return {
        "what": f"{len(blocks)} blocks, of which {same} have the converter's bytes",
        "same": same == len(blocks),
        "composed, s each": composed_s / len(blocks),
        "converted, s each": converted_s / len(blocks),
    }


def _networks(space: SearchSpace, count: int) -> list[tuple[BlockSpec, ...]]:
    """Networks of all sizes, as a table has them."""
    return [unit.specs for unit in sample_units(space, count, 0, 1)]


def _random(specs: Sequence[BlockSpec]) -> Network:
    network = build_network(specs)
    randomise(network)
    return network


def _network(
    specs: Sequence[BlockSpec], templates: TemplateLibrary, folder: Path, rounds: int
) -> tuple[dict[str, Any], Mapping[str, list[float]]]:
    network, shape = _random(specs), input_shape(specs, 1)
    files = {name: folder / f"{name}.tflite" for name in ("composed", "converted", "copy")}
    start_s = time.perf_counter()
    content = templates.compose(network, shape)
    if content is None:
        raise SystemExit("this network cannot be composed; its blocks are not known to the templates")
    files["composed"].write_bytes(content)
    difference = check_parity(network, files["composed"], shape)
    middle_s = time.perf_counter()
    converted = convert(network, shape)
    files["converted"].write_bytes(converted)
    check_parity(network, files["converted"], shape)
    end_s = time.perf_counter()
    files["copy"].write_bytes(converted)
    ratios, converted_ms = _ratios(files, (1, *shape[2:], shape[1]), rounds)
    row = {
        "what": f"network of {len(specs)} blocks",
        "same": operations(unpack(content)) == operations(unpack(converted)),
        "composed, s each": middle_s - start_s,
        "converted, s each": end_s - middle_s,
        "relative difference to torch": difference,
        "converted, ms": converted_ms,
    }
    return row | _summary(ratios), ratios


def _ratios(files: Mapping[str, Path], shape: tuple[int, ...], rounds: int) -> tuple[dict[str, list[float]], float]:
    """Time of the composed file and of the copy against the converted one, by rounds; and its median time.

    Each is loaded anew in each round: where its memory lies makes two instances of one file differ.
    """
    backend = open_litert(load_spec("cpu_tflite"))
    times: dict[str, list[float]] = {name: [] for name in files}
    for order in _orders(list(files), rounds):
        for name in order:
            program = backend.load(Artefact(name, "tflite", shape, files[name]))
            times[name].append(median(program.measure(_VISIT).times_ms))
            program.close()
    pairs = {name: zip(times[name], times["converted"], strict=True) for name in ("composed", "copy")}
    return {name: [ours / theirs for ours, theirs in found] for name, found in pairs.items()}, median(
        times["converted"]
    )


def _orders(names: Sequence[str], rounds: int) -> Iterator[list[str]]:
    generator = np.random.default_rng(0)
    for _ in range(rounds):
        yield [names[index] for index in generator.permutation(len(names))]


def _summary(ratios: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, values in ratios.items():
        low, high = np.percentile(values, [25, 75])
        found |= {f"{name} / converted": median(values), f"{name}, middle half": f"{low:.4f} to {high:.4f}"}
    return found


def _over_all(samples: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, Any]:
    """The ratios of all networks together, each network by its median."""
    medians = {name: [median(one[name]) for one in samples] for name in samples[0]}
    return {"what": f"{len(samples)} networks, by their medians"} | _summary(medians)


if __name__ == "__main__":
    main()
