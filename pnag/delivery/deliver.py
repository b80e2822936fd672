"""From a chosen architecture to files with its own weights, their true accuracy, and their latency on a device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pnag.data.load import ImageData, load_data
from pnag.data.split import Normalisation
from pnag.delivery.answer import ranking_of
from pnag.delivery.export import QUANTISED, ExportReport, export_network
from pnag.delivery.finetuning import FineTuned, fine_tune, settings
from pnag.delivery.metadata import describe_network
from pnag.delivery.weights import GivenWeights
from pnag.errors import DataError, RunError
from pnag.generator.generate import Candidate, Generator
from pnag.runs.kept_images import load_images
from pnag.runs.run import FINETUNED, IMAGES, Run, table_of
from pnag.space.architecture import Architecture
from pnag.space.search_space import SearchSpace
from pnag.supernet.evaluation import accuracy, calibrated_subnet, calibration_batches
from pnag.supernet.supernet import Supernet
from pnag.supernet.training_config import preset
from profiler.build.modules import Network, build_network, randomise
from profiler.build.parity import Precision, bits_of_file, open_file
from profiler.progress import Progress
from profiler.verification.as_profiled import suffix_of

TEST_IMAGES = 1000
_QUANTISATION_IMAGES = 100
_RUNTIME = ("name", "version", "precision", "threads")


@dataclass(frozen=True)
class Delivered:
    """A network with the weights it has. `test_accuracy` is None where nothing could be measured.

    `finetuning` is the report of a network that was trained by itself, whether it then has those weights or not.
    """

    candidate: Candidate
    network: Network
    trained: bool
    metadata: Mapping[str, Any]
    test_accuracy: float | None = None
    finetuning: Mapping[str, Any] | None = None
    exports: list[ExportReport] = field(default_factory=list)


class Workshop:
    """Builds, exports and examines networks of one run. Loading the supernet and the data happens once.

    `untrained` says why the networks have no trained weights, None where they have; `unexamined` why their accuracy
    cannot be measured though they have, once that was tried. `weights` is a checkpoint that networks are cut out of
    instead of the run's supernet, with `photos` to re-estimate batch-norm on. Accuracies are of `test_images` of the
    test split, spread over it; 0 measures none. `license_` is that of the weights, as files are to say it. Raises
    `RunError` if table or supernet are not those that the run was made with, and what `GivenWeights.load` does.
    """

    def __init__(
        self,
        run: Run,
        *,
        weights: Path | None = None,
        photos: str | None = None,
        test_images: int = TEST_IMAGES,
        license_: str | None = None,
    ) -> None:
        self.run = run
        self._license = license_
        self.test_images = test_images
        self.generator = Generator.load(run.directory)
        self.table = table_of(run)
        self.space = SearchSpace.from_dict(self.table.metadata.space)
        self._record = run.done("supernet")
        self._supernet: Supernet | None = None
        self.unexamined: str | None = None
        self._tuned: dict[Architecture, FineTuned] = {}
        self._calibrations: dict[int, list[Tensor]] = {}
        self._given = None if weights is None else GivenWeights.load(weights, self.space, photos)
        self.untrained = self._why_untrained()
        if self.untrained is not None or self._given is not None:
            return
        record = self._record or {}
        self._supernet = Supernet.load(run.directory / record["path"], self.space)
        if self._supernet.sha256() != record["sha256"]:
            raise RunError(f"{record['path']} is not the supernet that {run.directory} learnt from; train again")
        _ = self._calibration(self.space.resolution)

    @cached_property
    def data(self) -> ImageData | None:
        """The data set with `test_images` of its test split; None where no accuracy is measured, or none can be."""
        found = self._found_data if self.test_images else None
        return None if found is None else replace(found, test=found.test.few(self.test_images))

    @cached_property
    def _found_data(self) -> ImageData | None:
        """The data set of the supernet; None without a supernet, or where the data set is missing or has changed."""
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

    def _calibration(self, side: int) -> list[Tensor]:
        """What batch-norm is re-estimated on at a resolution."""
        if side not in self._calibrations:
            self._calibrations[side] = self._calibration_images(side)
        return self._calibrations[side]

    def _calibration_images(self, side: int) -> list[Tensor]:
        """Images kept in the run, or of the data set for a run of an older release."""
        record = self._record or {}
        about = record["data"]
        if "images" in record:
            normalisation = Normalisation(tuple(about["mean"]), tuple(about["std"]))
            return load_images(self.run.path(IMAGES), normalisation, side)
        if self._found_data is None:
            raise RunError(f"{self.unexamined}; {self.run.directory} needs it to deliver networks, train it again")
        return calibration_batches(self._found_data.at(side))

    def _why_untrained(self) -> str | None:
        if self._given is not None:
            return None
        if self._record is None:
            return "the run learnt from accuracies alone and has no supernet; train with --data to get one"
        trained = SearchSpace.from_dict(self._record["space"])
        if set(self.space.sides) <= set(trained.sides) and self.space.classes == trained.classes:
            return None
        mine, theirs = (",".join(map(str, space.sides)) for space in (self.space, trained))
        return (
            f"the table is for {mine} pixels and {self.space.classes} classes, the supernet for {theirs} and "
            f"{trained.classes}; profile with --resolution {theirs} --classes {trained.classes} to export trained ones"
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
        tuned = self._tuned.get(architecture)
        side = self._side(architecture)
        network = tuned.network if tuned else calibrated_subnet(self._supernet, architecture, self._calibration(side))
        network = network.to(memory_format=torch.contiguous_format)
        reached = self._test_accuracy(network, side)
        report = None
        if tuned is not None:
            others = self._test_accuracy(tuned.begin if tuned.better else tuned.trained, side)
            report = tuned.report(*((others, reached) if tuned.better else (reached, others)))
        return Delivered(candidate, network, True, self._describe(candidate, reached, report), reached, report)

    def images_to_tune_on(self) -> ImageData:
        """The data set of the run's supernet. Raises `RunError` where networks have not its weights, or it is gone."""
        if self._given is None and (images := self._found_data) is not None:
            return images
        why = self.untrained or self.unexamined or "these weights are of a checkpoint that the run had no part in"
        raise RunError(f"a network is fine-tuned on the images that its supernet was trained on: {why}")

    def fine_tune(self, candidate: Candidate, epochs: float, seed: int, progress: Progress | None = None) -> FineTuned:
        """Train the network of a candidate by itself: `build` then gives it these weights, where they are better.

        `progress` is advanced to 100 in all. Raises what `images_to_tune_on` does.
        """
        images, supernet = self.images_to_tune_on(), self._supernet
        assert supernet is not None
        config, side = preset((self._record or {})["data_name"]), self._side(candidate.architecture)
        self._tuned[candidate.architecture] = tuned = fine_tune(
            supernet,
            candidate.architecture,
            images.at(side),
            settings(config, epochs, seed),
            self.run.path(FINETUNED),
            calibration=self._calibration(side),
            progress=progress,
        )
        return tuned

    def _test_accuracy(self, network: Network, side: int) -> float | None:
        if self.data is None:
            return None
        return accuracy(network, self.data.at(side).test)

    def _side(self, architecture: Architecture) -> int:
        return architecture.resolution or self.space.resolution

    def _describe(
        self, candidate: Candidate, reached: float | None, finetuning: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        generator = self.run.done("generator") or {}
        labels: Sequence[str] | None = None
        images: dict[str, Any] = {}
        source = None
        if self._supernet is not None:
            about = (self._record or {})["data"]
            labels, images = about["class_names"], {"mean": about["mean"], "std": about["std"]}
        if self._given is not None:
            labels, seen = self._given.labels, self._given.normalisation
            images = {"mean": seen.mean, "std": seen.std}
        if reached is not None and self.data is not None:
            source = f"measured on {self.data.name}, {len(self.data.test)} images of the test split"
        return describe_network(
            candidate.architecture,
            self.space.alone(candidate.architecture)[0],
            trained=self._supernet is not None or self._given is not None,
            labels=labels,
            budget_ms=candidate.budget_ms,
            cost_ms=candidate.cost_ms,
            device=str(self.table.metadata.device.get("model", "")),
            runtime={name: self.table.metadata.runtime.get(name) for name in _RUNTIME},
            data=self._trained_on(),
            license=self._license,
            accuracy=reached,
            accuracy_source=source,
            ranking=ranking_of(candidate, self.generator),
            finetuning=finetuning,
            hashes={
                "table": self.table.content_sha256,
                "archive": generator.get("archive_sha256"),
                "supernet": self._given.sha256 if self._given else (self._record or {}).get("sha256"),
                "generator": generator.get("sha256"),
            },
            **images,
        )

    def _trained_on(self) -> str | None:
        """The images that the weights were trained on; None where that is not known, or there are none."""
        if self._given is not None:
            return self._given.supernet.data.get("name")
        return None if self._supernet is None else str((self._record or {})["data"]["name"])

    # -- files ------------------------------------------------------------------------------------------

    def precision(self, suffix: str) -> Precision:
        """What a file of that format is in: the table's precision, float32 where the format has no other."""
        return self._asked_precision if suffix in QUANTISED else "float32"

    def matches_table(self, suffix: str) -> bool:
        """Whether the table's latencies are of such files: its runtime takes the format, in the table's precision."""
        return suffix == suffix_of(self.table.metadata) and self.precision(suffix) == self._asked_precision

    @property
    def _asked_precision(self) -> Precision:
        return bits_of_file(str(self.table.metadata.runtime.get("precision")))

    def export(
        self, delivered: Delivered, path: Path, *, advance: Callable[[float], None] | None = None, debug: bool = False
    ) -> ExportReport:
        """Write one file at the table's batch and precision; the report also joins `delivered.exports`.

        `advance` is told shares of the work on this file as they are done, 1 in all.
        """
        batch, precision = self.table.metadata.batch, self.precision(path.suffix)
        side = self._side(delivered.candidate.architecture)
        matches, report_share = self.matches_table(path.suffix), advance or (lambda share: None)
        about = {**delivered.metadata, "matches_table": matches, "batch": batch}
        if not matches:
            about["latency"] = f"not measured for this file: {self._measured_as()}"
        calibration = None if precision == "float32" else self._quantisation_images(side)
        report = export_network(
            delivered.network,
            path,
            input_shape=(batch, 3, side, side),
            metadata=about,
            precision=precision,
            calibration=calibration,
            examine=lambda file: self._examined(file, batch, side, report_share),
            debug=debug,
        )
        report_share(1 - self._share_of_examining())
        delivered.exports.append(report)
        return report

    def _quantisation_images(self, side: int) -> Tensor | None:
        """Images for the ranges of 8-bit files: those given, or the run's; None where weights are random anyway."""
        batches: list[Tensor] = []
        if self._given is not None and self._given.photos is not None:
            batches = self._given.batches(side)
        elif self._supernet is not None:
            batches = self._calibration(side)
        return torch.cat(batches)[:_QUANTISATION_IMAGES].contiguous() if batches else None

    def _measured_as(self) -> str:
        about = self.table.metadata
        words = (about.runtime.get("name"), about.runtime.get("precision"), f"batch {about.batch}")
        return f"the table is of {' '.join(str(word) for word in words if word)}"

    def _share_of_examining(self) -> float:
        return 0.5 if self.data is not None else 0.0

    def _examined(self, file: Path, batch: int, side: int, advance: Callable[[float], None]) -> dict[str, Any]:
        """The accuracy of a file itself, as its description says it; nothing without images."""
        if self.data is None:
            return {}
        share = self._share_of_examining() / len(self.data.test)
        reached = self.file_accuracy(file, batch, side, lambda images: advance(share * images))
        source = f"measured on {self.data.name}, {len(self.data.test)} images of the test split, with this file"
        return {"accuracy": reached, "accuracy_source": source}

    def file_accuracy(
        self,
        path: Path,
        batch: int = 1,
        side: int | None = None,
        advance: Callable[[int], None] = lambda images: None,
    ) -> float | None:
        """Share of the test images, of that side, that a file for `batch` images classifies right; None without."""
        if self.data is None or path.suffix == ".json":
            return None
        run, right, seen = open_file(path), 0, 0
        for images, labels in self.data.at(side).test.batches(batch):
            filled = torch.cat([images, images[:1].expand(batch - len(images), -1, -1, -1)])
            right += int((run(filled.numpy()).argmax(1)[: len(labels)] == labels.numpy()).sum())
            seen += len(labels)
            advance(len(labels))
        return right / seen
