"""Where accuracies come from: of which images, measured or predicted by whom, and their worth in published top-1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Published:
    """What an accuracy p is worth as the top-1 accuracy of a fine-tuned network, all as fractions.

    A line fitted to `networks` published networks: top-1 = `slope` · p + `offset`, and the standard deviation of theirs
    from it.
    """

    slope: float
    offset: float
    deviation: float
    networks: int

    def top1(self, accuracy: float) -> float:
        """Top-1 accuracy that published, fine-tuned networks of that accuracy had, as a fraction."""
        return self.slope * accuracy + self.offset


@dataclass(frozen=True)
class Provenance:
    """`images` names a data set; `how` says how its accuracies came about, as in "predicted by X's predictor"."""

    images: str
    how: str
    published: Published | None = None

    def __str__(self) -> str:
        return f"{self.images}, {self.how}" if self.images else self.how

    @classmethod
    def of(cls, source: Mapping[str, Any], *, split: str = "unknown") -> Self:
        """What an archive's source says; others' files say nothing."""
        data = source.get("data") or {}
        published = source.get("published_top1")
        if source.get("by"):
            how = f"{source.get('kind', 'given')} by {source['by']}"
        else:
            how = f"measured on its {split} split" if data else "as given, without a source"
        return cls(str(data.get("name", "")), how, None if published is None else Published(**published))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`. Raises `KeyError` or `TypeError` for what it did not write."""
        published = values["published"]
        return cls(values["images"], values["how"], None if published is None else Published(**published))
