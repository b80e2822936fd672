"""What a profiling session tells its user: the JSON document, the summary, and what a page shows of it."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from statistics import median
from typing import Any

from lut.calibration.fit import Fidelity
from lut.entry import Entry
from lut.table import LatencyTable
from lut.views.html.shown import Shown, moments_of
from profiler.errors import JournalError
from profiler.refit import load_visits, visits_path


def document(table: LatencyTable, path: Path, seconds: float) -> dict[str, Any]:
    """The document of `--json`. Errors and shares are fractions."""
    blocks, about = tuple(table.blocks.values()), table.metadata
    return {
        "table": str(path),
        "table_sha256": table.content_sha256,
        "device": about.device["model"],
        "runtime": f"{about.runtime['name']} {about.runtime['version']}",
        "blocks": len(blocks),
        "failed": [{"block": entry.block, "reason": entry.reason} for entry in blocks if entry.failed],
        "noisy": [entry.block for entry in blocks if "noisy" in entry.flags],
        "networks": {role: len(table.networks(role)) for role in ("calibration", "holdout")},
        "statistic": about.sampling["statistic"],
        "median_relative_ci": _median_ci(blocks),
        "calibration": {
            "scale": about.calibration.scale,
            "intercept_ms": about.calibration.intercept_ms,
            "per_block_ms": about.calibration.per_block_ms,
            "per_mega_weight_ms": about.calibration.per_mega_weight_ms,
            "networks": about.calibration.networks,
            "loo_mape": about.calibration.loo_mape,
        },
        "fidelity": _fidelity(about.fidelity),
        "quality": about.sampling["quality"],
        "notes": list(about.notes),
        "seconds": round(seconds, 2),
    }


def _fidelity(fidelity: Fidelity | None) -> dict[str, Any] | None:
    if fidelity is None:
        return None
    names = ("n", "mape", "within_3", "within_5", "within_10", "rank_correlation", "residual_std", "worst")
    return {name: getattr(fidelity, name) for name in names}


def _median_ci(entries: Sequence[Entry]) -> float | None:
    known = [entry.relative_ci for entry in entries if not entry.failed and entry.relative_ci == entry.relative_ci]
    return median(known) if known else None


def shown_table(table: LatencyTable, path: Path, *, name: str = "") -> Shown:
    """A table for a page, with the visits that lie beside the file `path`, or why there are none.

    The page calls it by its file, unless a `name` is given.
    """
    try:
        moments = moments_of(load_visits(visits_path(path), table.metadata.created))
    except JournalError as error:
        return Shown(table, name or str(path), no_moments=f"how the device was over time is not known: {error}")
    if not moments:
        return Shown(table, name or str(path), no_moments="its visits do not say when they were")
    return Shown(table, name or str(path), moments=moments)


def summary(table: LatencyTable, path: Path, seconds: float) -> str:
    """Some lines for a person: where the table is, how complete and how good it is."""
    blocks = tuple(table.blocks.values())
    failed = [entry for entry in blocks if entry.failed]
    noisy = [entry for entry in blocks if "noisy" in entry.flags]
    about = table.metadata
    ci = _median_ci(blocks)
    lines = [
        f"table     {path}",
        f"device    {about.device['model']}, {about.runtime['name']} {about.runtime['version']}, "
        f"{about.runtime['threads']} thread(s), batch {about.batch}",
        f"blocks    {len(blocks) - len(failed)} measured, {len(failed)} failed, {len(noisy)} noisy"
        + (f"; {about.sampling['statistic']} latency known to ±{100 * ci:.2f} %" if ci is not None else ""),
        f"networks  {_prediction(table)}",
        f"session   {_quality(table)}, {seconds:.0f} s in all",
    ]
    if state := _state(table):
        lines.append(f"state     {state}")
    lines += [f"failed    {entry.block}: {entry.reason}" for entry in failed[:5]]
    if len(failed) > 5:
        lines.append(f"failed    and {len(failed) - 5} more; pnag-lut check {path} lists them")
    lines += [f"note      {note}" for note in about.notes]
    return "\n".join(lines)


def _prediction(table: LatencyTable) -> str:
    fidelity, fitted = table.metadata.fidelity, table.metadata.calibration.networks
    if fidelity is None:
        return f"{fitted} for calibration, none to judge it by: --holdout 20 measures some"
    return (
        f"{fitted} for calibration; {fidelity.n} unseen ones predicted to {100 * fidelity.mape:.2f} % on average, "
        f"{100 * fidelity.worst:.1f} % at worst, rank correlation {fidelity.rank_correlation:.3f}"
    )


def _state(table: LatencyTable) -> str:
    """How the device was before and after, and its clocks meanwhile, as far as it tells."""
    before, after = (table.metadata.sampling["quality"][when] for when in ("before", "after"))
    parts = [
        f"{label}{before[name]:{form}} to {after[name]:{form}} {unit}"
        for name, label, form, unit in (
            ("temperature_c", "", ".1f", "°C"),
            ("battery_percent", "battery ", ".0f", "%"),
        )
        if name in before and name in after
    ]
    clocks = [entry.clock_mhz for entry in table.entries if isfinite(entry.clock_mhz)]
    if clocks:
        parts.append(f"clocks {min(clocks):.0f} to {max(clocks):.0f} MHz")
    if governors := before.get("governors"):
        parts.append(f"governor {', '.join(governors)}")
    if "charging" in before:
        parts.append("charging" if before["charging"] else "not charging")
    return ", ".join(parts)


def _quality(table: LatencyTable) -> str:
    quality = table.metadata.sampling["quality"]
    spread = quality["reference_spread"] or 0.0
    parts = [f"{quality['rounds']} rounds", f"reference steady to ±{100 * spread:.1f} %"]
    if quality["resumed_visits"]:
        parts.append(f"{quality['resumed_visits']} measurements from the journal")
    if quality["off_segments"]:
        parts.append(f"slower than usual in {quality['off_segments']} of {quality['segments']} segments")
    if quality.get("wandering"):
        parts.append("its speed wanders and was taken out of all visits together")
    if quality["waited_s"]:
        parts.append(f"{quality['waited_s']:.0f} s waited for it to cool down")
    parts += [
        f"{100 * quality[f'{flag}_share']:.0f} % of the visits {flag}"
        for flag in ("disturbed", "drifted", "throttled")
        if quality[f"{flag}_share"] >= 0.005
    ]
    return ", ".join(parts)
