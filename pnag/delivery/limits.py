"""Limits beside the budget, as they are typed: other devices' tables, parameters, multiply-accumulates, file sizes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lut.calibration.fit import FEWEST_RESIDUALS
from lut.table import LatencyTable
from lut.words import printable
from pnag.delivery.files.sizes import file_sizes
from pnag.errors import BudgetError, SpaceError
from pnag.generator.generate import Candidate, Generator
from pnag.search.limits import Limit, shown
from pnag.space.budget import parse_budget
from pnag.space.search_space import SearchSpace
from profiler.build.suffixes import suffix_for

_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"
_COUNT = re.compile(rf"{_NUMBER}\s*(k|m|g|b|)", re.ASCII | re.IGNORECASE)
_COUNTS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9}
_SIZE = re.compile(rf"{_NUMBER}\s*(b|kb|mb|gb|kib|mib|gib)", re.ASCII | re.IGNORECASE)
_SIZES = {"b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30}


def parse_count(text: str, option: str) -> float:
    """A number of `8M`, `500M`, `1.2G` or `8000000`. Raises `BudgetError` for anything that is not above zero."""
    return _above_zero(
        _COUNT.fullmatch(text.strip()), _COUNTS, f"{option} {printable(text, 60)} is no number", "8M or 8000000"
    )


def parse_size(text: str) -> float:
    """Bytes of `20MB`, `19.5MiB` or `500kB`. Raises `BudgetError` for anything that is not above zero."""
    return _above_zero(
        _SIZE.fullmatch(text.strip()), _SIZES, f"--max-size {printable(text, 60)} is no size", "20MB or 19.5MiB"
    )


def _above_zero(match: re.Match[str] | None, units: Mapping[str, float], wrong: str, right: str) -> float:
    value = 0.0 if match is None else float(match[1]) * units[match[2].lower()]
    if not 0 < value < math.inf:
        raise BudgetError(f"{wrong} above zero; write it as {right}")
    return value


def other_tables(options: Sequence[str], space: SearchSpace, confidence: float) -> list[Limit]:
    """Limits of `TABLE=BUDGET` options, each with the margin of its own table's unseen networks.

    Raises `BudgetError` for what is no such option, `TableFormatError`, and `SpaceError` for a table of other networks.
    """
    found = []
    for option in options:
        name, equals, budget = option.rpartition("=")
        if not (name and equals):
            raise BudgetError(f"--also {option} lacks a table or a budget; write it as lut/pixel.parquet=45ms")
        found.append(_other_table(Path(name), parse_budget(budget), space, confidence))
    names = [limit.name for limit in found]
    return [
        limit if names.count(limit.name) == 1 else replace(limit, name=option.rpartition("=")[0])
        for limit, option in zip(found, options, strict=True)
    ]


def _other_table(path: Path, budget_ms: float, space: SearchSpace, confidence: float) -> Limit:
    table = LatencyTable.load(path)
    theirs = SearchSpace.from_dict(table.metadata.space)
    space.require_same_family(theirs, f"--also {path}")
    if not set(space.sides) <= set(theirs.sides) or theirs.classes != space.classes:
        raise SpaceError(
            f"--also {path} is of {_images(theirs)}, the run's table of {_images(space)}; profile that device with "
            f"--resolution {','.join(map(str, space.sides))} --classes {space.classes}"
        )
    fidelity = table.metadata.fidelity
    basis = confidence if fidelity is not None and fidelity.n >= FEWEST_RESIDUALS else None
    return Limit(path.stem, space.cost_model(table), budget_ms, "ms", table.upper_margin(confidence), basis)


def _images(space: SearchSpace) -> str:
    return f"{', '.join(map(str, space.sides))} pixels and {space.classes} classes"


def limits_of(
    generator: Generator,
    confidence: float,
    *,
    also: Sequence[str],
    max_params: str | None,
    max_macs: str | None,
    max_size: str | None,
    suffixes: Sequence[str],
) -> list[Limit]:
    """All limits that were asked for beside the budget.

    A size is that of files with `suffixes`, as they are exported; without any, of those that the run's runtime takes.
    """
    space, about = generator.space, generator.metadata
    precision = str(about.get("precision"))
    of_table = suffix_for(str(about.get("runtime"))) or ".tflite"
    of_files = [suffix for suffix in suffixes if suffix != ".json"] or [of_table]
    return [
        *other_tables(also, space, confidence),
        *counted(
            space,
            max_params=max_params,
            max_macs=max_macs,
            max_size=max_size,
            files=[(suffix, precision) for suffix in of_files],
        ),
    ]


def counted(
    space: SearchSpace,
    *,
    max_params: str | None,
    max_macs: str | None,
    max_size: str | None,
    files: Sequence[tuple[str, str]],
) -> list[Limit]:
    """Limits on what is counted and not measured; `files` are the suffixes and precisions that a size is of."""
    limits = []
    if max_params is not None:
        parameters = space.sum_over_blocks(lambda block: float(block.params))
        limits.append(Limit("parameters", parameters, parse_count(max_params, "--max-params"), "parameters"))
    if max_macs is not None:
        limits.append(Limit("MACs", space.macs_model(), parse_count(max_macs, "--max-macs"), "MACs"))
    if max_size is not None:
        most = parse_size(max_size)
        limits += [
            Limit(size_name(suffix), file_sizes(space, suffix, precision), most, "bytes")
            for suffix, precision in dict.fromkeys(files)
        ]
    return limits


# -- what is said of them ---------------------------------------------------------------------------------


def limit_rows(candidate: Candidate) -> list[dict[str, Any]]:
    """The limits that a network keeps, for a program; times in ms, sizes in bytes. Empty where the budget is alone."""
    return [
        {
            "name": kept.limit.name,
            "unit": kept.limit.unit,
            "most": kept.limit.most,
            "allowed": kept.limit.allowed,
            "margin": kept.limit.margin,
            "confidence": kept.limit.confidence,
            "cost": kept.cost,
            "binds": kept.binds,
        }
        for kept in candidate.kept
    ]


def limits_text(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The same for a person: a line for each limit, and last which of them bind."""
    lines = []
    for index, row in enumerate(rows):
        margin = f", with its margin of {row['margin']:.1%} at most {shown(row['allowed'], row['unit'])}"
        lines.append(
            f"  {'limits' if index == 0 else '':<9}  {row['name']}: {shown(row['cost'], row['unit'])} of "
            f"{shown(row['most'], row['unit'])}{margin if row['margin'] else ''}{' (binds)' if row['binds'] else ''}"
        )
    if rows and not any(row["binds"] for row in rows):
        lines.append("             none of them binds: no better network is near")
    return lines


def too_large(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each written file that is larger than its limit after all."""
    return [
        f"{report['path']} has {shown(report['bytes'], 'bytes')}, more than the {shown(limit['most'], 'bytes')} that "
        "were asked for; ask for less"
        for row in rows
        for report in row["exports"]
        for limit in row["limits"]
        if limit["name"] == size_name(f".{report['format']}") and report["bytes"] > limit["most"]
    ]


def size_name(suffix: str) -> str:
    """What a limit of file sizes is called."""
    return f"size of {suffix}"


def another_binds(candidate: Candidate) -> bool:
    """Whether a limit other than the budget is why the budget is not used up."""
    return any(kept.binds for kept in candidate.kept[1:])
