"""All figures of a GPU in one call: `python -m benchmarks.gpu_all`, within eight minutes on a machine with a card.

Tables of the space at batch 1 and 64 in float32 and float16, each judged on unseen networks; the blocks of the
first once more in a process of its own; a generator trained on one of the tables, whose networks for 20 budgets
are measured; then further modes for as long as there is time. Tables go to `lut/tables/`, figures to
`benchmarks/results/gpu.md`. What fails is a line in the report, and the rest goes on.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS, machine, report
from devices import Backend, DeviceError, Slice, load_spec, open_backend
from lut.blocks import BlockSpec
from lut.compare import compare
from lut.errors import LutError
from lut.table import LatencyTable
from pnag import Architecture, load_space
from pnag.space import SearchSpace
from profiler.artefacts import input_shape
from profiler.cli_networks import sample_units
from profiler.errors import ProfilerError
from profiler.export_torch import TorchFactory
from profiler.plan import Unit, block_units
from profiler.profile import Job, measure, prepare
from profiler.session import Sampling
from profiler.stopping import StopSettings
from profiler.verify import measure_files

BUDGETS = 20
CONFIDENCE = 0.99
SAMPLING = Sampling(
    block=Slice(min_time_s=0.02, min_runs=5, warmup_runs=2),
    network=Slice(min_time_s=0.04, min_runs=5, warmup_runs=2),
    reference=Slice(min_time_s=0.01, min_runs=5, warmup_runs=2),
    max_wait_s=20.0,
    stop=StopSettings(min_rounds=6, max_rounds=10),
)
# Time that is kept for what comes after the tables: the second process, the generator, its networks.
_RESERVED_S = 150.0
_FURTHER_NEEDS_S = 60.0


@dataclass(frozen=True)
class Variant:
    """One way of running, as `float16-b64-nhwc-eager-cold`: precision and batch, then what differs from the usual."""

    precision: str
    batch: int
    mode: str = "graph"
    channels_last: bool = False
    cold: bool = False

    @property
    def name(self) -> str:
        """The text that `parse` reads."""
        marks = [self.channels_last and "nhwc", self.mode != "graph" and self.mode, self.cold and "cold"]
        return "-".join([self.precision, f"b{self.batch}", *(mark for mark in marks if mark)])

    @classmethod
    def parse(cls, text: str) -> Variant:
        """The inverse of `name`. Raises `ValueError`."""
        match = re.fullmatch(r"([a-z]+\d+)-b([1-9]\d*)(-nhwc)?(?:-(eager|compile))?(-cold)?", text)
        if match is None:
            raise ValueError(f"'{text}' is no variant; write for instance float16-b64-nhwc-eager-cold")
        precision, batch, nhwc, mode, cold = match.groups()
        return cls(precision, int(batch), mode or "graph", nhwc is not None, cold is not None)


USUAL = tuple(map(Variant.parse, ("float32-b1", "float16-b1", "float32-b64", "float16-b64")))
FURTHER = tuple(
    map(Variant.parse, ("float16-b64-nhwc", "tf32-b64", "bfloat16-b64", "float32-b1-eager", "float32-b64-cold",
                        "float16-b64-compile"))
)  # fmt: skip

Opener = Callable[[Variant], Backend]
Command = Callable[[str, Sequence[str]], Mapping[str, Any]]


def open_card(variant: Variant) -> Backend:
    """The card of this machine. Raises `DeviceError`."""
    options = {"mode": variant.mode, "channels_last": variant.channels_last, "cold": variant.cold}
    return open_backend(load_spec("cuda"), precision=variant.precision, **options)


def run_command(module: str, arguments: Sequence[str]) -> Mapping[str, Any]:
    """What a command of ours prints with `--json`. Raises `CalledProcessError`."""
    code = f"from {module} import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments, "--json"], check=True, stdout=subprocess.PIPE, text=True
    )
    answer: Mapping[str, Any] = json.loads(done.stdout)
    return answer


@dataclass
class Modules:
    """A factory that builds each module once for all variants: the batch is not in them."""

    batch: int = 1
    _made: dict[str, Any] = field(default_factory=dict)

    def make(self, name: str, specs: Sequence[BlockSpec]) -> Any:
        """The artefact of that name at this factory's batch."""
        if name not in self._made:
            self._made[name] = TorchFactory(1).make(name, specs)
        return replace(self._made[name], input_shape=input_shape(specs, self.batch))


@dataclass
class Bench:
    """One run of the benchmark: what is measured, with what, until when."""

    space: SearchSpace
    opener: Opener
    out: Path
    deadline_s: float
    calibrate: int = 40
    holdout: int = 20
    sampling: Sampling = SAMPLING
    modules: Modules = field(default_factory=Modules)
    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    card: dict[str, Any] = field(default_factory=dict)

    @property
    def left_s(self) -> float:
        """Time that is left."""
        return self.deadline_s - time.monotonic()

    def units(self) -> tuple[Unit, ...]:
        """All blocks and the networks of both roles."""
        return (*block_units(self.space.blocks()), *sample_units(self.space, self.calibrate, self.holdout, 0))

    def table(self, variant: Variant, units: tuple[Unit, ...], path: Path, *, until_s: float) -> LatencyTable:
        """Measure one table and write it."""
        backend = self.opener(variant)
        try:
            found = backend.device()
            self.card = {"GPU": found.model, **{k: v for k, v in found.fields.items() if k != "gpu_name"}}
            self.modules.batch = variant.batch
            job = Job(self.space.to_dict(), self.space.resolution, self.space.classes, variant.batch, units,
                      self.sampling, {"spec": "cuda"})  # fmt: skip
            prepared = prepare(units, self.modules)
            journal = path.with_suffix(".journal")
            table, opened = measure(backend, job, prepared, journal, fresh=True, deadline_s=until_s)
        finally:
            backend.close()
        table.save(path)
        opened.remove()
        return table

    def add_table(self, variant: Variant, reserve_s: float) -> Path | None:
        """A table for the report; None where it fails."""
        started_s = time.monotonic()
        path = self.out / f"{_slug(self.card.get('GPU', 'gpu'))}-{variant.name}.parquet"
        try:
            table = self.table(variant, self.units(), path, until_s=self.deadline_s - reserve_s)
        except (DeviceError, ProfilerError, LutError) as error:
            self.notes.append(f"{variant.name}: {error}")
            return None
        if path.name.startswith("gpu-"):  # the first table tells the card's name
            path = path.rename(self.out / f"{_slug(self.card['GPU'])}-{variant.name}.parquet")
        self.rows.append(_row(variant, table, time.monotonic() - started_s))
        return path

    def repeat(self, variant: Variant, first: Path, again: Callable[[Variant, Path], None]) -> None:
        """The blocks again in another process, compared."""
        with tempfile.TemporaryDirectory() as folder:
            second = Path(folder) / "again.parquet"
            again(variant, second)
            difference = compare(LatencyTable.load(first), LatencyTable.load(second))
        self.notes.append(
            f"Two processes ({variant.name}): median block difference "
            f"{100 * difference.median_absolute_difference:.2f} %, rank correlation {difference.rank_correlation:.4f} "
            f"over {len(difference.blocks)} blocks."
        )

    def budgets(self, variant: Variant, path: Path, command: Command, accuracy: Path | None) -> None:
        """Train a generator on a table, ask it for networks of 20 budgets, measure them."""
        table = LatencyTable.load(path)
        low, high = self.space.cost_model(table).range_ms
        wanted = [low + (high - low) * (0.05 + 0.9 * i / (BUDGETS - 1)) for i in range(BUDGETS)]
        with tempfile.TemporaryDirectory() as folder:
            given = ["--accuracy", str(accuracy)] if accuracy else []
            command("pnag.cli_train", ["--lut", str(path), "--out", folder, *given])
            texts = [f"{budget:.6f}" for budget in wanted]
            asked = [*texts, "--from", folder, "--confidence", str(CONFIDENCE)]
            networks = command("pnag.cli_generate", asked)["networks"]
        measured = self._measure(variant, [Architecture.parse(network["architecture"]) for network in networks])
        rows = list(zip(networks, measured, strict=True))
        kept = sum(ms <= network["budget_ms"] for network, ms in rows)
        used = sum(ms / network["budget_ms"] for network, ms in rows) / len(rows)
        self.notes.append(
            f"Generator trained on {path.name}, {len(rows)} budgets from {wanted[0]:.4g} to {wanted[-1]:.4g} ms at "
            f"confidence {CONFIDENCE}: {kept} of {len(rows)} kept when measured, {100 * used:.1f} % of the budget used."
        )

    def _measure(self, variant: Variant, architectures: Sequence[Architecture]) -> list[float]:
        """Median latency in ms of each, measured anew; two budgets may have the same answer."""
        self.modules.batch = variant.batch
        names = [str(architecture) for architecture in architectures]
        artefacts = {
            name: self.modules.make(name, self.space.decompose(architecture))
            for name, architecture in zip(names, architectures, strict=True)
        }
        backend = self.opener(variant)
        try:
            found = measure_files(backend, list(artefacts.values()), sampling=self.sampling)
        finally:
            backend.close()
        medians = {measurement.unit: measurement.median_ms for measurement in found}
        return [medians[name] for name in names]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower().removeprefix("nvidia")).strip("-")


def _row(variant: Variant, table: LatencyTable, seconds: float) -> dict[str, Any]:
    fidelity, quality = table.metadata.fidelity, table.metadata.sampling["quality"]
    row: dict[str, Any] = {"table": variant.name, "seconds": round(seconds, 1)}
    row["failed blocks"] = sum(entry.failed for entry in table.blocks.values())
    if fidelity is not None:
        row |= {
            "unseen networks": fidelity.n,
            "MAPE %": 100 * fidelity.mape,
            "within 5 %": 100 * fidelity.within_5,
            "worst %": 100 * fidelity.worst,
            "rank correlation": fidelity.rank_correlation,
        }
    spread = quality["reference_spread"]
    row["reference spread %"] = "" if spread is None else 100 * spread
    row["throttled %"] = 100 * quality["throttled_share"]
    return row


def run_all(
    bench: Bench,
    variants: Sequence[Variant],
    further: Sequence[Variant],
    *,
    again: Callable[[Variant, Path], None],
    command: Command,
    accuracy: Path | None = None,
    results: Path = RESULTS,
) -> Path:
    """Everything in order; returns the report's path. Raises `DeviceError` where no card can be opened."""
    bench.opener(variants[0]).close()
    paths = {variant: bench.add_table(variant, _RESERVED_S) for variant in variants}
    made = {variant: path for variant, path in paths.items() if path is not None}
    for variant, path in list(made.items())[:1]:
        _attempt(bench, "second process", partial(bench.repeat, variant, path, again))
    for variant, path in list(made.items())[-1:]:
        _attempt(bench, "generator", partial(bench.budgets, variant, path, command, accuracy))
    for variant in further:
        if bench.left_s < _FURTHER_NEEDS_S:
            bench.notes.append(f"{variant.name}: no time was left")
            continue
        bench.add_table(variant, 0.0)
    return report("gpu", "The GPU", bench.rows, bench.notes, measured_on={**bench.card, **machine()}, folder=results)


def _attempt(bench: Bench, what: str, step: Callable[[], None]) -> None:
    try:
        step()
    except (DeviceError, ProfilerError, LutError, OSError, KeyError, subprocess.CalledProcessError) as error:
        bench.notes.append(f"The {what} failed: {type(error).__name__}: {error}")


def _again(variant: Variant, path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu_all", "--blocks-of", variant.name, "--out", str(path)], check=True
    )


def main() -> None:
    """The command's entry; ends with 3 and one line where there is no card."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("lut/tables"), help="where tables go")
    parser.add_argument("--minutes", type=float, default=8.0, help="finish by then")
    parser.add_argument("--accuracy", type=Path, help="an archive of accuracies to train with")
    parser.add_argument("--variants", nargs="+", type=Variant.parse, default=USUAL, help="such as float16-b64")
    parser.add_argument("--further", nargs="*", type=Variant.parse, default=FURTHER, help="if there is time")
    parser.add_argument("--blocks-of", type=Variant.parse, help="only measure blocks, to the file --out")
    arguments = parser.parse_args()
    bench = Bench(load_space(), open_card, arguments.out, time.monotonic() + 60 * arguments.minutes)
    try:
        if arguments.blocks_of is not None:
            blocks = block_units(bench.space.blocks())
            bench.table(arguments.blocks_of, blocks, arguments.out, until_s=bench.deadline_s)
        else:
            run_all(bench, arguments.variants, arguments.further, again=_again, command=run_command,
                    accuracy=arguments.accuracy)  # fmt: skip
    except DeviceError as error:
        print(f"gpu_all: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
