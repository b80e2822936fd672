"""Result files of the benchmarks: a table, notes, and the machine and versions they were taken with."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from lut.files import replacing

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("numpy", "pandas", "pyarrow", "scipy", "torch", "onnxruntime", "ai-edge-litert", "litert-torch")


def machine() -> dict[str, str]:
    """What this benchmark runs on: processor, cores, memory, system, Python, and the load at this moment."""
    frequency = psutil.cpu_freq() if hasattr(psutil, "cpu_freq") else None
    return {
        "processor": _cpu_model(),
        "cores": f"{psutil.cpu_count(logical=False) or '?'} physical, {os.cpu_count()} logical"
        + (f", {frequency.current:.0f} MHz" if frequency and frequency.current else ""),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": sys.version.split()[0],
        "load when started": f"{os.getloadavg()[0]:.2f} tasks on average over one minute",
    }


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Versions of the packages that are installed, by name."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def report(
    name: str,
    title: str,
    rows: Sequence[Mapping[str, Any]],
    notes: Iterable[str] = (),
    *,
    packages: Sequence[str] = PACKAGES,
    extra: Mapping[str, Any] | None = None,
    folder: Path = RESULTS,
    measured_on: Mapping[str, Any] | None = None,
) -> Path:
    """Write `results/NAME.md`, whole or not at all, print it, and return its path.

    `rows` become one table whose columns are the keys of the rows in order of appearance, units in their
    names; numbers are shown to four significant digits, text as it is. `notes` are paragraphs below it.
    `measured_on` replaces the machine's description where the work was done elsewhere (a phone, a GPU
    host), `extra` adds lines to it (a table's hash, a seed).
    """
    about = {**(measured_on if measured_on is not None else machine()), **(extra or {})}
    packages_text = ", ".join(f"{key} {value}" for key, value in versions(packages).items())
    lines = [f"# {title}", "", *markdown_table(rows), ""]
    for note in notes:
        lines += [note, ""]
    lines += ["| measured with | |", "|---|---|", f"| date | {datetime.now(UTC):%Y-%m-%d} |"]
    lines += [f"| {key} | {_cell(value)} |" for key, value in about.items()]
    lines += [f"| packages | {packages_text} |"]
    text = "\n".join(lines) + "\n"
    path = folder / f"{name}.md"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(text)
    return path


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines of a markdown table; numbers to the right, a row without a column's value leaves it empty."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    numeric = {key: all(isinstance(row.get(key, 0), int | float) for row in rows) for key in columns}
    lines = [
        "| " + " | ".join(columns) + " |",
        "|" + "|".join("--:" if numeric[key] else "---" for key in columns) + "|",
    ]
    lines += ["| " + " | ".join(_cell(row.get(key, "")) for key in columns) + " |" for row in rows]
    return lines


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value).replace("|", "\\|").replace("\n", " ")


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or "unknown"
    for line in text.splitlines():
        if line.startswith(("model name", "Hardware")):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
