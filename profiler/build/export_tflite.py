"""A torch module as a `.tflite` file, channels last at both ends, in float32 or 8 bits.

Networks and blocks are filled into templates, operator by operator what the converter writes, in a fraction of its
time. Other modules, and blocks that no template is known for, are converted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from devices.backend import Artefact
from lut.blocks import BlockSpec
from lut.files import replacing
from profiler.build.artefacts import ArtefactCache, input_shape
from profiler.build.memory import activation_bytes
from profiler.build.modules import Network, build_network, randomise, scheme_sha256
from profiler.build.parity import Precision, check_parity
from profiler.build.tflite.converter import convert, converter_versions, quantise
from profiler.build.tflite.library import TemplateLibrary
from profiler.errors import CacheError, ExportError

_FILE_PRECISIONS: Mapping[str, Precision] = {
    "float32": "float32",
    "float16": "float32",
    "dynamic-int8": "dynamic-int8",
    "int8": "int8",
}
_VERSION = 3  # raise it when the same blocks are written as another file


def export_tflite(
    module: nn.Module,
    input_shape: Sequence[int],
    path: Path,
    precision: Precision = "float32",
    *,
    calibration: Tensor | None = None,
    templates: TemplateLibrary | None = None,
    debug: bool = False,
) -> float:
    """Write `module` (eval mode) for inputs of `input_shape` (B, C, H, W); return its parity with torch.

    `dynamic-int8` has 8-bit weights and quantises activations as it runs; `int8` is 8 bits throughout, ends
    included, with ranges from `calibration` (n, C, H, W), or from normal inputs without it. The file is
    written, run and compared before it appears at `path`. Raises `ExportError` if the converter refuses the
    module or the file's outputs differ by more than `profiler.build.parity.PARITY_LIMITS`; `OutputError`.
    """
    with replacing(path) as temporary:
        content = tflite_bytes(
            module, input_shape, precision, calibration=calibration, templates=templates, debug=debug
        )
        temporary.write_bytes(content)
        return check_parity(module, temporary, input_shape, precision, debug=debug)


def tflite_bytes(
    module: nn.Module,
    input_shape: Sequence[int],
    precision: Precision = "float32",
    *,
    calibration: Tensor | None = None,
    templates: TemplateLibrary | None = None,
    debug: bool = False,
) -> bytes:
    """The file's bytes, not yet compared with torch; arguments and errors as for `export_tflite`.

    `templates` are those of the default cache unless given.
    """
    if isinstance(module, Network):
        library = templates or TemplateLibrary(ArtefactCache(), input_shape[0])
        with suppress(CacheError):  # without a cache there are no templates, and the converter does it
            content = library.compose(module, input_shape)
            if content is not None:
                return quantise(content, input_shape, precision, calibration=calibration, debug=debug)
    return convert(module, input_shape, precision, calibration=calibration, debug=debug)


class TfliteFactory:
    """`.tflite` files with random weights, from the cache or freshly made, run and compared with torch."""

    def __init__(self, cache: ArtefactCache, batch: int, precision: Precision = "float32") -> None:
        self.cache, self.batch, self.precision = cache, batch, precision
        self._templates = TemplateLibrary(cache, batch)

    def make(self, name: str, specs: Sequence[BlockSpec]) -> Artefact:
        """The file of a block (one spec) or a network. Raises `ExportError`, `CacheError`."""
        shape = input_shape(specs, self.batch)

        def write(path: Path) -> None:
            network = build_network(specs)
            randomise(network)
            export_tflite(network, shape, path, self.precision, templates=self._templates)

        return self.of_file(name, specs, self.cache.path(self._identity(specs), ".tflite", write))

    def of_network(self, name: str, network: nn.Module, specs: Sequence[BlockSpec], stem: Path) -> Artefact:
        """The file of a network with its own weights, beside `stem`. Raises `ExportError`."""
        path = stem.with_suffix(".tflite")
        export_tflite(network, input_shape(specs, self.batch), path, self.precision)
        return self.of_file(name, specs, path)

    def of_file(self, name: str, specs: Sequence[BlockSpec], path: Path) -> Artefact:
        """A network that is in a file already; files take images channels last."""
        batch, channels, height, width = input_shape(specs, self.batch)
        taken = activation_bytes(specs, batch)
        return Artefact(name, "tflite", (batch, height, width, channels), path, activation_bytes=taken)

    def of_module(
        self, name: str, build: Callable[[], nn.Module], image: tuple[int, int, int], about: Mapping[str, Any]
    ) -> Artefact:
        """A network of other layers, from the cache or freshly converted. Raises `ExportError`, `CacheError`."""
        channels, height, width = image

        def write(path: Path) -> None:
            export_tflite(randomise(build()), (self.batch, *image), path, self.precision)

        identity = {**self.identity(), **about, "image": list(image)}
        path = self.cache.path(identity, ".tflite", write)
        return Artefact(name, "tflite", (self.batch, height, width, channels), path)

    def is_cached(self, specs: Sequence[BlockSpec]) -> bool:
        """Whether `make` finds the file."""
        return self.cache.find(self._identity(specs), ".tflite") is not None

    def missing_templates(self, specs: Iterable[BlockSpec]) -> list[BlockSpec]:
        """Patterns that the converter has to do, seconds each, before `make` can make files of these blocks quickly."""
        return self._templates.missing(specs)

    def learn_template(self, pattern: BlockSpec) -> None:
        """Have the converter do one of them. Raises `CacheError`."""
        self._templates.find(pattern)

    def _identity(self, specs: Sequence[BlockSpec]) -> Mapping[str, Any]:
        return {**self.identity(), "blocks": [spec.key for spec in specs]}

    def identity(self) -> Mapping[str, Any]:
        """What the files depend on beside their blocks."""
        return {
            "format": "tflite",
            "version": _VERSION,
            "converters": converter_versions(),
            "scheme_sha256": scheme_sha256(),
            "precision": self.precision,
            "batch": self.batch,
        }


def tflite_factory(cache: ArtefactCache, batch: int, precision: str = "float32") -> TfliteFactory:
    """The factory for TFLite files for a device that computes in `precision`; see `file_precision`."""
    return TfliteFactory(cache, batch, file_precision(precision))


def file_precision(precision: str) -> Precision:
    """What a file is in for a device that computes in `precision`: `float32`, `dynamic-int8` or `int8`.

    `float16` is how a delegate computes a float32 file. Raises `ExportError` for another precision.
    """
    of_file = _FILE_PRECISIONS.get(precision)
    if of_file is None:
        raise ExportError(f"unknown precision '{precision}'; choose from {', '.join(_FILE_PRECISIONS)}")
    return of_file
