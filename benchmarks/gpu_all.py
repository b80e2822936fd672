"""All figures of a GPU in one call: `python -m benchmarks.gpu_all`, within eight minutes on a machine with a card.

Tables of the space at batch 1 and 64 in float32 and float16, each judged on unseen networks; the blocks of the
first once more in a process of its own; a generator trained on one of the tables, whose networks for 20 budgets
are measured; the supernet's training step beside a plain one; then further modes for as long as there is time.
Tables go to `lut/tables/`, figures to `benchmarks/results/gpu.md`. What fails is a line in the report, and the
rest goes on. Nothing is needed that does not lie in the repository: the generator learns from the accuracies that
are shipped, or from made-up ones (benchmarks/known_optimum.py), which the report says.
"""

from __future__ import annotations

import argparse
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

from benchmarks import generate_cpu
from benchmarks.generate_cpu import write_accuracies
from benchmarks.report import RESULTS, machine, report
from benchmarks.supernet_step import Throughput, compare, noise_images
from devices import Backend, DeviceError, Slice, load_spec, open_backend
from lut.blocks import BlockSpec
from lut.compare import compare as compare_tables
from lut.table import LatencyTable
from pnag import Architecture, load_space
from pnag.accuracy.archive import AccuracyArchive
from pnag.errors import PnagError
from pnag.space.search_space import SearchSpace
from pnag.supernet.training import make_fabric
from pnag.supernet.training_config import preset
from profiler.build.artefacts import input_shape
from profiler.build.export_torch import TorchFactory
from profiler.cli_networks import sample_units
from profiler.measure.plan import Unit, block_units
from profiler.measure.session import Sampling
from profiler.measure.stopping import StopSettings
from profiler.profile import Job, measure, prepare
from profiler.verification.verify import measure_files

ROOT = Path(__file__).parent.parent
BUDGETS = 20
CONFIDENCE = 0.99
ARCHITECTURES = 1000
SAMPLING = Sampling(
    block=Slice(min_time_s=0.02, min_runs=5, warmup_runs=2),
    network=Slice(min_time_s=0.04, min_runs=5, warmup_runs=2),
    reference=Slice(min_time_s=0.01, min_runs=5, warmup_runs=2),
    max_wait_s=20.0,
    stop=StopSettings(min_rounds=6, max_rounds=10),
)
TABLE_GOAL_S, MAPE_GOAL, RANK_GOAL, REPEAT_GOAL = 300.0, 0.02, 0.99, 0.01
_GOALS = (
    f"Goals of a table: {TABLE_GOAL_S:g} s, no failed block, MAPE at most {100 * MAPE_GOAL:g} %, all unseen networks "
    f"within 5 %, rank correlation at least {RANK_GOAL:g}."
)
# Time that is kept for what comes after the tables: second process, generator, its networks, training steps.
_RESERVED_S = 170.0
_FURTHER_NEEDS_S = 60.0
_LONGEST_COMMAND_S = 180.0
_STEP_BATCH, _STEP_S, _LONGEST_STEPS_S = 128, 10.0, 40.0


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

    @property
    def options(self) -> dict[str, Any]:
        """What the back-end is asked for beside the precision."""
        return {"mode": self.mode, "channels_last": self.channels_last, "cold": self.cold}

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
    return open_backend(load_spec("cuda"), precision=variant.precision, **variant.options)


def run_command(module: str, arguments: Sequence[str]) -> Mapping[str, Any]:
    """What a command of ours prints with `--json`. Raises `CalledProcessError`, `TimeoutExpired`."""
    return generate_cpu.run_command(module, arguments, timeout_s=_LONGEST_COMMAND_S)


def measure_again(variant: Variant, path: Path) -> None:
    """The blocks of a variant to `path`, in another process. Raises `CalledProcessError`, `TimeoutExpired`."""
    command = [sys.executable, "-m", "benchmarks.gpu_all", "--blocks-of", variant.name, "--out", str(path)]
    subprocess.run(command, check=True, timeout=_LONGEST_COMMAND_S)


def training_steps(space: SearchSpace) -> Throughput:
    """The supernet's training step on this machine's card, beside a plain one."""
    config = replace(preset("imagefolder"), batch=_STEP_BATCH)
    small = replace(space, classes=100)
    return compare(small, noise_images(small), config, make_fabric(), _STEP_S, most_s=_LONGEST_STEPS_S)


def shipped_archive(space: SearchSpace, places: Sequence[Path] = (ROOT / "lut", ROOT / "pnag")) -> Path | None:
    """The largest archive of that space's architectures that lies in the repository, None if there is none."""
    found: list[tuple[int, Path]] = []
    for path in sorted(path for place in places for path in place.rglob("*.parquet")):
        try:
            found.append((len(AccuracyArchive.load(path, space)), path))
        except PnagError:
            continue
    return max(found)[1] if found else None


@dataclass
class Modules:
    """A factory that builds each module once for all variants: the batch is not in them."""

    batch: int = 1
    _made: dict[str, Any] = field(default_factory=dict)

    def identity(self) -> Mapping[str, Any]:
        """What the modules depend on."""
        return TorchFactory(self.batch).identity()

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

    def look(self, variant: Variant) -> None:
        """Which card this is. Raises `DeviceError` where none can be opened."""
        backend = self.opener(variant)
        found = backend.device()
        backend.close()
        self.card = {"GPU": found.model, **{k: v for k, v in found.fields.items() if k != "gpu_name"}}

    def units(self) -> tuple[Unit, ...]:
        """All blocks and the networks of both roles."""
        return (*block_units(self.space.blocks()), *sample_units(self.space, self.calibrate, self.holdout, 0))

    def table(self, variant: Variant, units: tuple[Unit, ...], path: Path, *, until_s: float) -> LatencyTable:
        """Measure one table and write it."""
        backend = self.opener(variant)
        try:
            self.modules.batch = variant.batch
            device = {"spec": "cuda", "options": variant.options}
            job = Job(self.space.to_dict(), self.space.resolution, self.space.classes, variant.batch, units,
                      self.sampling, device)  # fmt: skip
            with tempfile.TemporaryDirectory() as folder:
                journal = Path(folder) / "table.journal"
                table, _ = measure(backend, job, prepare(units, self.modules), journal, deadline_s=until_s)
        finally:
            backend.close()
        table.save(path)
        return table

    def add_table(self, variant: Variant, until_s: float) -> Path:
        """A table for the report."""
        started_s = time.monotonic()
        path = self.out / f"{_slug(self.card['GPU'])}-{variant.name}.parquet"
        table = self.table(variant, self.units(), path, until_s=until_s)
        self.rows.append(_row(variant, table, time.monotonic() - started_s))
        return path

    def repeat(self, variant: Variant, first: Path, again: Callable[[Variant, Path], None]) -> None:
        """The blocks again in another process, compared."""
        with tempfile.TemporaryDirectory() as folder:
            second = Path(folder) / "again.parquet"
            again(variant, second)
            difference = compare_tables(LatencyTable.load(first), LatencyTable.load(second))
        met = _met(difference.median_absolute_difference <= REPEAT_GOAL)
        self.notes.append(
            f"Two processes ({variant.name}): median block difference "
            f"{100 * difference.median_absolute_difference:.2f} %, rank correlation {difference.rank_correlation:.4f} "
            f"over {len(difference.blocks)} blocks. Goal: at most {100 * REPEAT_GOAL:g} %, {met}."
        )

    def budgets(self, variant: Variant, path: Path, command: Command, archive: Path | None) -> None:
        """Train a generator on a table, ask it for networks of 20 budgets, measure them."""
        table = LatencyTable.load(path)
        low, high = self.space.cost_model(table).range_ms
        wanted = [low + (high - low) * (0.05 + 0.9 * i / (BUDGETS - 1)) for i in range(BUDGETS)]
        with tempfile.TemporaryDirectory() as temporary:
            accuracies, run = Path(temporary) / "accuracies.parquet", Path(temporary) / "run"
            source = write_accuracies(table, archive, ARCHITECTURES, accuracies)
            command("pnag.cli_train", ["--lut", str(path), "--accuracy", str(accuracies), "--out", str(run)])
            texts = [f"{budget:.6f}" for budget in wanted]
            asked = [*texts, "--from", str(run), "--confidence", str(CONFIDENCE)]
            networks = command("pnag.cli_generate", asked)["networks"]
        measured = self._measure(variant, [Architecture.parse(network["architecture"]) for network in networks])
        rows = list(zip(networks, measured, strict=True))
        kept = sum(ms <= network["budget_ms"] for network, ms in rows)
        used = sum(ms / network["budget_ms"] for network, ms in rows) / len(rows)
        self.notes.append(
            f"Generator trained on {path.name}, accuracies {source}; {len(rows)} budgets from {wanted[0]:.4g} to "
            f"{wanted[-1]:.4g} ms at confidence {CONFIDENCE}: {kept} of {len(rows)} kept when measured, "
            f"{100 * used:.1f} % of the budget used. Goal: all kept, {_met(kept == len(rows))}."
        )

    def _measure(self, variant: Variant, architectures: Sequence[Architecture]) -> list[float]:
        """Latency in ms of each, measured anew; two budgets may have the same answer."""
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
        latencies = {measurement.unit: measurement.latency_ms for measurement in found}
        return [latencies[name] for name in names]

    def steps(self, throughput: Callable[[SearchSpace], Throughput]) -> None:
        """The supernet's training step."""
        found = throughput(self.space)
        self.notes.append(
            f"Supernet training, {found.resolution} x {found.resolution} images, {found.batch} a step, four networks: "
            f"{found.ours:,.0f} images/s, a plain step {found.plain:,.0f} images/s (benchmarks/supernet_step.py): "
            f"{found.ratio:.2f} times as many. Goal: 1.5 times, {_met(found.row()['met'])}."
        )

    def attempt(self, what: str, step: Callable[[], Path | None]) -> Path | None:
        """Do a step; what goes wrong is a line of the report, for whatever a card may raise."""
        started_s = time.monotonic()
        try:
            result = step()
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            self.notes.append(f"{what} failed: {type(error).__name__}: {lines[0]}")
            result = None
        print(f"{what}: {time.monotonic() - started_s:.0f} s, {self.left_s:.0f} s left", file=sys.stderr, flush=True)
        return result


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower().removeprefix("nvidia")).strip("-")


def _met(met: bool) -> str:
    return "met" if met else "NOT met"


def _row(variant: Variant, table: LatencyTable, seconds: float) -> dict[str, Any]:
    fidelity, quality = table.metadata.fidelity, table.metadata.sampling["quality"]
    failed = sum(entry.failed for entry in table.blocks.values())
    row: dict[str, Any] = {"table": variant.name, "seconds": round(seconds, 1), "failed blocks": failed}
    if fidelity is not None:
        row |= {
            "unseen networks": fidelity.n,
            "MAPE %": 100 * fidelity.mape,
            "within 5 %": 100 * fidelity.within_5,
            "worst %": 100 * fidelity.worst,
            "rank correlation": fidelity.rank_correlation,
            "goals met": (
                failed == 0
                and seconds <= TABLE_GOAL_S
                and fidelity.mape <= MAPE_GOAL
                and fidelity.within_5 == 1
                and fidelity.rank_correlation >= RANK_GOAL
            ),
        }
    spread = quality["reference_spread"]
    row["reference spread %"] = "" if spread is None else 100 * spread
    row["throttled %"] = 100 * quality["throttled_share"]
    row["cut short"] = "; ".join(table.metadata.notes)
    return row


def run_all(
    bench: Bench,
    variants: Sequence[Variant],
    further: Sequence[Variant],
    *,
    again: Callable[[Variant, Path], None],
    command: Command,
    throughput: Callable[[SearchSpace], Throughput],
    archive: Path | None = None,
    results: Path = RESULTS,
) -> Path:
    """Everything in order; returns the report's path. Raises `DeviceError` where no card can be opened.

    The tables share the time that the rest does not need. The generator is trained on the most faithful one.
    """
    bench.look(variants[0])
    measured_on = {**bench.card, **machine()}
    made: dict[Variant, Path] = {}

    def write() -> Path:
        return report("gpu", "The GPU", bench.rows, [_GOALS, *bench.notes], measured_on=measured_on, folder=results)

    def attempt(what: str, step: Callable[[], Path | None]) -> Path | None:
        """Do a step and write the report so far: what follows may be cut off."""
        path = bench.attempt(what, step)
        write()
        return path

    for done, variant in enumerate(variants):
        share_s = max(0.0, bench.left_s - _RESERVED_S) / (len(variants) - done)
        path = attempt(variant.name, partial(bench.add_table, variant, time.monotonic() + share_s))
        if path is not None:
            made[variant] = path
    if made:
        first = next(iter(made))
        attempt("The second process", partial(bench.repeat, first, made[first], again))
        best = min(made, key=lambda variant: _mape(made[variant]))
        attempt("The generator", partial(bench.budgets, best, made[best], command, archive))
    attempt("The supernet's training step", partial(bench.steps, throughput))
    for variant in further:
        if bench.left_s < _FURTHER_NEEDS_S:
            bench.notes.append(f"{variant.name}: no time was left")
            continue
        attempt(variant.name, partial(bench.add_table, variant, bench.deadline_s))
    return write()


def _mape(path: Path) -> float:
    fidelity = LatencyTable.load(path).metadata.fidelity
    return float("inf") if fidelity is None else fidelity.mape


def main() -> None:
    """The command's entry; ends with 3 and one line where there is no card."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "lut" / "tables", help="where tables go")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the report goes")
    parser.add_argument("--minutes", type=float, default=8.0, help="finish by then")
    parser.add_argument("--archive", type=Path, help="accuracies to train with; those in the repository unless given")
    parser.add_argument("--variants", nargs="+", type=Variant.parse, default=USUAL, help="such as float16-b64")
    parser.add_argument("--further", nargs="*", type=Variant.parse, default=FURTHER, help="if there is time")
    parser.add_argument("--blocks-of", type=Variant.parse, help="only measure blocks, to the file --out")
    arguments = parser.parse_args()
    bench = Bench(load_space(), open_card, arguments.out, time.monotonic() + 60 * arguments.minutes, sampling=SAMPLING)
    try:
        if arguments.blocks_of is not None:
            blocks = block_units(bench.space.blocks())
            bench.table(arguments.blocks_of, blocks, arguments.out, until_s=bench.deadline_s)
            return
        archive = arguments.archive or shipped_archive(bench.space)
        run_all(bench, arguments.variants, arguments.further, again=measure_again, command=run_command,
                throughput=training_steps, archive=archive, results=arguments.results)  # fmt: skip
    except DeviceError as error:
        print(f"gpu_all: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
