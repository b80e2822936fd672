"""Templates by the kind of block: converted once, kept in the cache, made into whole networks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lut.blocks import BlockSpec
from profiler.build.artefacts import ArtefactCache, input_shape
from profiler.build.modules import Network, build_block, randomise, scheme_sha256
from profiler.build.tflite.compose import compose
from profiler.build.tflite.converter import convert, converter_versions
from profiler.build.tflite.file import pack
from profiler.build.tflite.template import Template, layers_of, pattern
from profiler.errors import ExportError, TemplateError

_VERSION = 1  # raise it when the same pattern is converted in another way


class TemplateLibrary:
    """Templates for one batch size. The converter is asked for those that neither memory nor `cache` has."""

    def __init__(self, cache: ArtefactCache, batch: int) -> None:
        self._cache, self._batch = cache, batch
        self._known: dict[BlockSpec, Template | None] = {}

    def find(self, spec: BlockSpec) -> Template | None:
        """The template for blocks like `spec`; None where only the converter can make such a file.

        Raises `CacheError`.
        """
        wanted = pattern(spec)
        if wanted is None:
            return None
        if wanted not in self._known:
            self._known[wanted] = self._learn(wanted)
        return self._known[wanted]

    def missing(self, specs: Iterable[BlockSpec]) -> list[BlockSpec]:
        """Patterns that `find` would have to convert for these blocks, each once."""
        wanted = dict.fromkeys(found for spec in specs if (found := pattern(spec)) is not None)
        return [
            one for one in wanted if one not in self._known and self._cache.find(self._identity(one), ".tflite") is None
        ]

    def _learn(self, wanted: BlockSpec) -> Template | None:
        module = randomise(build_block(wanted))

        def write(path: Path) -> None:
            path.write_bytes(convert(module, input_shape([wanted], self._batch)))

        try:
            content = self._cache.path(self._identity(wanted), ".tflite", write).read_bytes()
            return Template.learn(content, module)
        except (ExportError, TemplateError):
            return None

    def _identity(self, wanted: BlockSpec) -> Mapping[str, Any]:
        return {
            "format": "tflite-template",
            "version": _VERSION,
            "converters": converter_versions(),
            "scheme_sha256": scheme_sha256(),
            "batch": self._batch,
            "block": wanted.key,
        }

    def compose(self, network: Network, shape: Sequence[int]) -> bytes | None:
        """The float32 file of `network` (eval mode) for inputs of `shape` (B, C, H, W), as the converter writes it.

        None where only the converter can do it. Raises `CacheError`.
        """
        if tuple(shape) != input_shape(network.specs, self._batch):
            return None
        parts = []
        for spec, block in zip(network.specs, network, strict=True):
            template = self.find(spec)
            if template is None:
                return None
            channels, height, width = spec.input_shape
            try:
                parts.append(template.fill(layers_of(block), (self._batch, height, width, channels)))
            except TemplateError:
                return None
        return pack(parts[0] if len(parts) == 1 else compose(parts))
