"""From a chosen architecture to files with its own weights, their true accuracy, and their latency on a device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lut.errors import LutError
from lut.table import LatencyTable
from pnag.data.load import ImageData, load_data
from pnag.data.split import Normalisation
from pnag.delivery.export import ExportReport, export_network
from pnag.delivery.metadata import describe_network
from pnag.delivery.weights import GivenWeights
from pnag.errors import DataError, RunError
from pnag.generator.generate import Candidate, Generator
from pnag.runs.kept_images import load_images
from pnag.runs.run import IMAGES, TABLE, Run
from pnag.space.search_space import SearchSpace
from pnag.supernet.evaluation import accuracy, calibrated_subnet, calibration_batches
from pnag.supernet.supernet import Supernet
from profiler.build.modules import Network, build_network, randomise
from profiler.build.parity import open_file

_BATCH_OF_ONE = 1


@dataclass(frozen=True)
class Delivered:
    """A network with the weights it has. `test_accuracy` is None where nothing could be measured."""

    candidate: Candidate
    network: Network
    trained: bool
    metadata: Mapping[str, Any]
    test_accuracy: float | None = None
    exports: list[ExportReport] = field(default_factory=list)


class Workshop:
    """Builds, exports and examines networks of one run. Loading the supernet and the data happens once.

    `untrained` says why the networks have no trained weights, None where they have; `unexamined` why their accuracy
    cannot be measured though they have, once that was tried. `weights` is a checkpoint that networks are cut out of
    instead of the run's supernet, with `photos` to re-estimate batch-norm on. Raises `RunError` if table or supernet
    are not those that the run was made with, and what `GivenWeights.load` does.
    """

    def __init__(self, run: Run, *, weights: Path | None = None, photos: str | None = None) -> None:
        self.run = run
        self.table = _table_of(run)
        self.space = SearchSpace.from_dict(self.table.metadata.space)
        self._record = run.done("supernet")
        self._supernet: Supernet | None = None
        self.unexamined: str | None = None
        self._given = None if weights is None else GivenWeights.load(weights, self.space, photos)
        self.untrained = self._why_untrained()
        if self.untrained is not None or self._given is not None:
            return
        record = self._record or {}
        self._supernet = Supernet.load(run.directory / record["path"], self.space)
        if self._supernet.sha256() != record["sha256"]:
            raise RunError(f"{record['path']} is not the supernet that {run.directory} learnt from; train again")
        self._calibration = self._calibration_images()

    @cached_property
    def data(self) -> ImageData | None:
        """The data set of the supernet; None where there is none, or it is not there or not the same any more."""
        if self._supernet is None or self._record is None:
            return None
        name = self._record["data_name"]
        try:
            data = load_data(name, resolution=self.space.resolution, seed=self._record["data_seed"])
        except DataError as error:
            self.unexamined = str(error)
            return None
        if data.sha256 != self._record["data"]["sha256"]:
            self.unexamined = f"data set {name} is not the one any more that {self.run.directory} was trained on"
            return None
        return data

    def _calibration_images(self) -> list[Tensor]:
        """What batch-norm is re-estimated on: kept in the run, or of the data set for a run of an older release."""
        record = self._record or {}
        about = record["data"]
        if "images" in record:
            normalisation = Normalisation(tuple(about["mean"]), tuple(about["std"]))
            return load_images(self.run.path(IMAGES), normalisation)
        if self.data is None:
            raise RunError(f"{self.unexamined}; {self.run.directory} needs it to deliver networks, train it again")
        return calibration_batches(self.data)

    def _why_untrained(self) -> str | None:
        if self._given is not None:
            return None
        if self._record is None:
            return "the run learnt from accuracies alone and has no supernet; train with --data to get one"
        trained = SearchSpace.from_dict(self._record["space"])
        mine, theirs = (self.space.resolution, self.space.classes), (trained.resolution, trained.classes)
        if mine == theirs:
            return None
        return (
            f"the table is for {mine[0]} pixels and {mine[1]} classes, the supernet for {theirs[0]} and {theirs[1]}; "
            f"profile with --resolution {theirs[0]} --classes {theirs[1]} to export trained ones"
        )

    def build(self, candidate: Candidate) -> Delivered:
        """The network of a candidate: cut out of the supernet with batch-norm re-estimated, else untrained."""
        architecture = candidate.architecture
        if self._given is not None:
            return Delivered(candidate, self._given.network(architecture), True, self._describe(candidate, None))
        if self._supernet is None:
            network = build_network(self.space.decompose(architecture))
            randomise(network)
            return Delivered(candidate, network, False, self._describe(candidate, None))
        network = calibrated_subnet(self._supernet, architecture, self._calibration)
        network = network.to(memory_format=torch.contiguous_format)
        reached = None if self.data is None else accuracy(network, self.data.test)
        return Delivered(candidate, network, True, self._describe(candidate, reached), reached)

    def _describe(self, candidate: Candidate, reached: float | None) -> dict[str, Any]:
        generator = self.run.done("generator") or {}
        labels: Sequence[str] | None = None
        images: dict[str, Any] = {}
        source = self._predicted(candidate.accuracy)
        if self._supernet is not None:
            about = (self._record or {})["data"]
            labels, images = about["class_names"], {"mean": about["mean"], "std": about["std"]}
        if self._given is not None:
            labels, seen = self._given.labels, self._given.normalisation
            images = {"mean": seen.mean, "std": seen.std}
        if reached is not None and self.data is not None:
            source = f"measured on {self.data.name}, test split"
        return describe_network(
            candidate.architecture,
            self.space.alone(candidate.architecture)[0],
            trained=self._supernet is not None or self._given is not None,
            labels=labels,
            budget_ms=candidate.budget_ms,
            cost_ms=candidate.cost_ms,
            device=str(self.table.metadata.device.get("model", "")),
            accuracy=candidate.accuracy if reached is None else reached,
            accuracy_source=source,
            hashes={
                "table": self.table.content_sha256,
                "archive": generator.get("archive_sha256"),
                "supernet": self._given.sha256 if self._given else (self._record or {}).get("sha256"),
                "generator": generator.get("sha256"),
            },
            **images,
        )

    def _predicted(self, accuracy: float) -> str:
        """What a predicted accuracy is, in words: of which images, by whom, its worth in published top-1."""
        provenance = Generator.load(self.run.directory).provenance
        published = provenance.published
        if published is None:
            return f"predicted from accuracies: {provenance}"
        return (
            f"{provenance}; published, fine-tuned networks of that value had a top-1 of "
            f"{100 * published.top1(accuracy):.2f} ± {100 * published.deviation:.2f} %"
        )

    def export(self, delivered: Delivered, path: Path, *, debug: bool = False) -> ExportReport:
        """Write one file for single images; the report also joins `delivered.exports`."""
        side = delivered.candidate.architecture.resolution or self.space.resolution
        shape = (_BATCH_OF_ONE, 3, side, side)
        report = export_network(delivered.network, path, input_shape=shape, metadata=delivered.metadata, debug=debug)
        delivered.exports.append(report)
        return report

    def file_accuracy(self, path: Path) -> float | None:
        """Share of the test split that an exported file classifies right, image by image; None without data."""
        if self.data is None or path.suffix == ".json":
            return None
        run = open_file(path)
        right = seen = 0
        for images, labels in self.data.test.batches(_BATCH_OF_ONE):
            right += int(run(images.numpy()).argmax() == int(labels[0]))
            seen += 1
        return right / seen


def _table_of(run: Run) -> LatencyTable:
    """The table that a run learnt from."""
    try:
        table = LatencyTable.load(run.path(TABLE))
    except LutError as error:
        reason = str(error).partition(";")[0]
        raise RunError(f"the latency table of {run.directory} is of no use: {reason}; train again") from error
    if table.content_sha256 != (run.done("table") or {}).get("sha256"):
        raise RunError(f"{run.path(TABLE)} is not the table that {run.directory} learnt from; train again")
    return table


def target_for(path: Path, budget_ms: float, *, several: bool) -> Path:
    """Where the network of a budget goes: `path`, with the budget in its name where there are several."""
    return path.with_name(f"{path.stem}-{budget_ms:g}ms{path.suffix}") if several else path
