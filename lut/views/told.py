"""Facts of a table as one line each, for terminals and pages."""

from __future__ import annotations

import math

from lut.calibration.fit import Calibration, Fidelity
from lut.table import TableMetadata


def sides_text(meta: TableMetadata) -> str:
    """The resolution, or all that a network of the table's space may have."""
    several = meta.space.get("resolutions")
    return ", ".join(map(str, several)) if several else f"{meta.resolution} x {meta.resolution}"


def calibration_text(calibration: Calibration) -> str:
    """One line on how isolated latencies became costs."""
    if not calibration.networks:
        return "none: a cost is the latency measured in isolation"
    parts = [f"{calibration.scale:.4f} x latency", f"{calibration.intercept_ms:+.4g} ms a network"]
    if calibration.per_block_ms:
        parts.append(f"{calibration.per_block_ms:+.3g} ms a block")
    if calibration.per_mega_weight_ms:
        parts.append(f"{calibration.per_mega_weight_ms:+.3g} ms a million weights")
    if math.isfinite(calibration.ridge):
        parts.append(f"corrections by block (ridge {calibration.ridge:.3g})")
    error = f", leave-one-out MAPE {percent(calibration.loo_mape)}" if math.isfinite(calibration.loo_mape) else ""
    return f"{', '.join(parts)}; from {calibration.networks} networks{error}"


def fidelity_text(fidelity: Fidelity | None) -> str:
    """One line on how predictions compare with networks that took no part in the calibration."""
    if fidelity is None:
        return "unknown: no unseen network was measured"
    return (
        f"MAPE {percent(fidelity.mape)} on {fidelity.n} unseen networks, worst {percent(fidelity.worst)}, within "
        f"3 / 5 / 10 %: {fidelity.within_3:.0%} / {fidelity.within_5:.0%} / {fidelity.within_10:.0%}, "
        f"rank correlation {fidelity.rank_correlation:.4f}"
    )


def percent(fraction: float) -> str:
    """A fraction in percent."""
    return f"{100 * fraction:.2f} %"
