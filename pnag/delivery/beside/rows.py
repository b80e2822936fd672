"""Pairs as rows of plain JSON values, as a table and in sentences for a person, and as CSV."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lut.files import write_csv
from lut.views.summary import align
from pnag.delivery.answer import ranking_of
from pnag.delivery.beside.pairs import Pair
from pnag.generator.generate import Generator
from profiler.zoo.speed import Speed

_HEAD = ("network", "pixels", "latency", "top-1", "ours", "pixels", "top-1", "gain", "")


def beside_rows(pairs: Sequence[Pair], generator: Generator, speed: Speed) -> list[dict[str, Any]]:
    """A row for each pair; accuracies are fractions, what is not known is None."""
    return [_row(pair, generator, speed) for pair in pairs]


def _row(pair: Pair, generator: Generator, speed: Speed) -> dict[str, Any]:
    network, together = pair.row.network, pair.together
    ours = None if pair.ours is None else _ours(pair, generator, speed)
    gain = None if ours is None or ours["top1"] is None or network.top1 is None else ours["top1"] - network.top1
    row = {
        "name": network.name,
        "source": network.source,
        "resolution": network.resolution,
        "same_resolution": network.resolution in generator.space.sides,
        "top1": network.top1,
        "retrained_top1": network.retrained_top1,
        "latency_ms": pair.row.latency_ms,
        "interval_ms": None if pair.row.interval_ms is None else list(pair.row.interval_ms),
        "budget_ms": pair.budget_ms,
        "together_ms": None if together is None else together.theirs_ms,
        "together_interval_ms": None if together is None else list(together.theirs_interval_ms),
        "ours": ours,
        "at_most_as_slow": pair.at_most_as_slow,
        "gain": gain,
        "better": _is_better(pair, gain),
        "attempts": pair.attempts,
        "failure": pair.failure or None,
    }  # fmt: skip
    return row | {"verdict": _verdict(row, generator)}


def _is_better(pair: Pair, gain: float | None) -> bool | None:
    """Whether ours is at most as slow and more accurate; None where accuracies cannot be compared, or times are not."""
    if pair.ours is not None and (gain is None or pair.failure):
        return None
    return gain is not None and gain > 0 and pair.at_most_as_slow is not False


def _ours(pair: Pair, generator: Generator, speed: Speed) -> dict[str, Any]:
    assert pair.ours is not None
    ranking, together = ranking_of(pair.ours, generator), pair.together
    return {
        "architecture": str(pair.ours.architecture),
        "resolution": pair.ours.architecture.resolution or generator.space.resolution,
        "cost_ms": pair.ours.cost_ms,
        "predicted_ms": pair.ours.cost_ms * (1 + speed.slowdown),
        "measured_ms": None if together is None else together.ours_ms,
        "measured_interval_ms": None if together is None else list(together.ours_interval_ms),
        "predicted_accuracy": ranking["accuracy"],
        "top1": ranking["published_top1"],
        "top1_deviation": ranking["published_top1_deviation"],
    }


def _verdict(row: Mapping[str, Any], generator: Generator) -> str:
    """In words whether ours is better; where it is not, why."""
    ours = row["ours"]
    if ours is None:
        return "NO: no network of the run is that quick"
    if row["failure"] is not None:
        return f"unknown: {row['failure']}"
    if row["gain"] is None:
        return f"not comparable: our accuracies are not known as a published top-1 ({generator.provenance})"
    if row["at_most_as_slow"] is False:
        return "NO: ours is slower"
    if not row["gain"] > 0:
        return "NO: ours is not more accurate"
    least = "" if row["gain"] > (ours["top1_deviation"] or 0.0) else ", by less than the deviation of such values"
    return f"yes{least}" if row["at_most_as_slow"] else f"yes, as predicted{least}"


def counts(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many networks there are, and for how many of them ours is better, is not, or nothing can be said."""
    said = [row["better"] for row in rows]
    better, not_better, unknown = map(said.count, (True, False, None))
    return {"networks": len(said), "better": better, "not_better": not_better, "unknown": unknown}


# -- for a person -----------------------------------------------------------------------------------------


def speed_text(speed: Speed) -> str:
    """At what speed the zoo was measured against the table."""
    if not speed.networks:
        return "speed     taken as the table's: too few of the zoo's networks are made of the table's blocks to tell it"
    word = "slower" if speed.slowdown > 0 else "faster"
    return f"speed     {abs(speed.slowdown):.1%} {word} for the zoo than for the table, by {speed.networks} networks"


def beside_text(rows: Sequence[Mapping[str, Any]], sides: Sequence[int]) -> str:
    """The pairs as a table: those at the run's resolution first, those at others apart."""
    here = "/".join(map(str, sides))
    same, other = ([row for row in rows if row["same_resolution"] is same] for same in (True, False))
    parts = [_table(f"at {here} pixels, as the run's networks", same), _table("at other resolutions", other)]
    return "\n\n".join(part for part in parts if part)


def _table(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    n = counts(rows)
    unknown = f", of {n['unknown']} nothing can be said" if n["unknown"] else ""
    lines = align([_HEAD, *map(_cells, rows)], right=range(1, len(_HEAD)))
    return "\n".join([f"{title}: ours is better than {n['better']} of {n['networks']}{unknown}", *lines])


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    ours = row["ours"]
    theirs_ms = row["latency_ms"] if row["together_ms"] is None else row["together_ms"]
    left = (row["name"], str(row["resolution"]), f"{theirs_ms:.4g} ms", f"{row['top1']:.2%}")
    if ours is None:
        return (*left, "", "", "", "", row["verdict"])
    ours_ms = ours["predicted_ms"] if ours["measured_ms"] is None else ours["measured_ms"]
    top1 = "" if ours["top1"] is None else f"{ours['top1']:.2%}"
    gain = "" if row["gain"] is None else f"{100 * row['gain']:+.2f}"
    return (*left, f"{ours_ms:.4g} ms", str(ours["resolution"]), top1, gain, row["verdict"])


def save_pairs(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the pairs as CSV, whole or not at all; ours have `ours_` before their names. Raises `OutputError`."""
    write_csv(path, [_flat(row) for row in rows])


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    plain = {name: value for name, value in row.items() if name != "ours" and not isinstance(value, list)}
    ours = {name: value for name, value in (row["ours"] or {}).items() if not isinstance(value, list)}
    return plain | {f"ours_{name}": value for name, value in ours.items()}
