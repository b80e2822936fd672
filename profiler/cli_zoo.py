"""`pnag-profile --zoo`: published networks on a device, and what becomes of the session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import typer

from lut.table import LatencyTable
from lut.words import printable, quoted
from pnag.space.architecture import Architecture
from pnag.space.spaces import load_space
from profiler.cli_networks import Plan
from profiler.console import print_json, print_text
from profiler.measure.journal import Journal
from profiler.zoo.network import TORCHVISION, ZooError, ZooNetwork
from profiler.zoo.published import BUILDERS, published_rows, stated, torchvision_network
from profiler.zoo.report import described, list_text, save_zoo, zoo_document, zoo_text
from profiler.zoo.session import CLASSES, SIDE, SPACE, ZooFactory, zoo_ahead, zoo_units


def zoo_path(spec: str) -> Path:
    """The file of a device's zoo unless another is given."""
    return Path("lut") / f"{spec}-zoo.json"


def chosen_names(only: str | None) -> list[str]:
    """Names of the zoo's networks that a list of names, sources and patterns means; all without one.

    Raises `ZooError` for a word that means none.
    """
    sources = {row["name"]: row["source"] for row in published_rows()} | dict.fromkeys(BUILDERS, TORCHVISION)
    if only is None:
        return list(sources)
    chosen: set[str] = set()
    for word in (word.strip() for word in only.split(",")):
        found = {name for name, source in sources.items() if fnmatchcase(name, word) or source == word}
        if not found:
            known = ", ".join(dict.fromkeys(sources.values()))
            raise ZooError(
                f"{quoted(word, 60)} is no network of the zoo; give names, sources ({known}) or patterns such as "
                "'pnag-cpu-*'; --list-zoo lists them"
            )
        chosen |= found
    return [name for name in sources if name in chosen]


def zoo_networks(names: Sequence[str]) -> list[ZooNetwork]:
    """The networks of those names. Raises `ZooError` where torchvision is needed and not there."""
    rows = {row["name"]: row for row in published_rows()}
    return [_of_row(rows[name]) if name in rows else torchvision_network(name) for name in names]


def _of_row(row: Mapping[str, str]) -> ZooNetwork:
    """A network of once-for-all's space, at its own width and resolution."""
    side = int(row["resolution"])
    architecture = Architecture.parse(row["architecture"])
    return ZooNetwork(
        row["name"],
        row["source"],
        side,
        round(float(row["top1"]) / 100, 6),
        blocks=load_space(row["space"], resolution=side).decompose(architecture),
        architecture=str(architecture),
        space=row["space"],
        published=stated(row),
    )


def zoo_plan(only: str | None, **others: Any) -> Plan:
    """What `--zoo` measures. Raises `ZooError`, and `BadParameter` where one of the `others` is given."""
    _refuse_what_is_of_blocks(**others)
    networks = zoo_networks(chosen_names(only))

    def save(table: LatencyTable, out: Path, journal: Journal) -> None:
        save_zoo(zoo_document(table, networks, out), out)

    return Plan(
        zoo_units(networks),
        SPACE,
        SIDE,
        CLASSES,
        f"{len(networks)} networks of the zoo",
        save,
        lambda table, out, seconds: zoo_document(table, networks, out),
        lambda table, out, seconds: zoo_text(zoo_document(table, networks, out)),
        lambda inner: ZooFactory(inner, networks),
        zoo_ahead,
    )


def _refuse_what_is_of_blocks(**given: Any) -> None:
    """Raise `BadParameter` for an option that says which blocks are measured: the zoo's networks are as they are."""
    for name, value in given.items():
        if value is not None:
            raise typer.BadParameter(
                f"--{name} {printable(value, 40)} is for the blocks of a space, not for networks of --zoo; leave it out"
            )


def list_zoo(*, json: bool) -> None:
    """Print the networks of the zoo."""
    rows = [described(network) for network in zoo_networks(chosen_names(None))]
    if json:
        print_json({"networks": rows})
    else:
        print_text(list_text(rows))
