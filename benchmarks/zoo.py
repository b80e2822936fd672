"""Published networks on a device, and beside each the network of a run that is at most as slow.

    python -m benchmarks.zoo RUN DEVICE [--only NAMES] [--folder DIR]

RUN is a finished run of a table of DEVICE, on a quiet machine. `pnag-profile --zoo` measures the published networks,
then `pnag-generate --beside` answers and measures both networks of each pair in one session. With `--folder` the
documents of both stay there, and what is there is not measured again.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.generate_cpu import run_command
from benchmarks.report import report


def documents(run: Path, device: str, only: str | None, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What both commands said: of the zoo, and of the pairs."""
    zoo, pairs = folder / "zoo.json", folder / "pairs.json"
    if not zoo.exists():
        words = ["--device", device, "--out", str(zoo), *(["--zoo"] if only is None else ["--zoo-only", only])]
        run_command("profiler.cli", words)
    if not pairs.exists():
        words = ["--beside", str(zoo), "--from", str(run), "--verify", device, "--allow-mismatch"]
        pairs.write_text(json.dumps(run_command("pnag.cli_generate", words)))
    return json.loads(zoo.read_text()), json.loads(pairs.read_text())


def row_of(pair: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """A pair as a row of the result's table."""
    ours = pair["ours"] or {}
    alone = _time(known["latency_ms"], known["interval_ms"])
    return {
        "network": pair["name"],
        "pixels": pair["resolution"],
        "MACs (M)": round(known["macs"] / 1e6),
        "parameters (M)": f"{known['params'] / 1e6:.2f}",
        "latency (ms)": _time(pair["together_ms"], pair["together_interval_ms"]) or alone,
        "published top-1 (%)": _percent(pair["top1"]) + _later(pair),
        "ours (ms)": _time(ours.get("measured_ms"), ours.get("measured_interval_ms")),
        "ours, top-1 predicted (%)": _percent(ours.get("top1")),
        "gain (points)": "" if pair["gain"] is None else f"{100 * pair['gain']:+.2f}",
        "ours better": pair["verdict"],
    }  # fmt: skip


def _later(pair: Mapping[str, Any]) -> str:
    return "" if pair["retrained_top1"] is None else f" ({_percent(pair['retrained_top1'])})"


def _time(ms: float | None, interval_ms: Sequence[float] | None) -> str:
    if ms is None:
        return ""
    if interval_ms is None or None in interval_ms:
        return f"{ms:.3f}"
    return f"{ms:.3f} ± {(interval_ms[1] - interval_ms[0]) / 2:.3f}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f}"


def notes(zoo: Mapping[str, Any], pairs: Mapping[str, Any]) -> list[str]:
    """What is to be known of the table."""
    same, other = (pairs["counts"][name] for name in ("same_resolution", "other_resolutions"))
    here = ", ".join(map(str, pairs["resolutions"]))
    unknown = f", and of {same['unknown']} nothing can be said" if same["unknown"] else ""
    runtime, slowdown = zoo["runtime"], pairs["device_slowdown"]
    speed = "Nothing in the zoo tells the device's speed against that table."
    if slowdown is not None:
        speed = (
            f"For the zoo the device was {abs(slowdown):.1%} {'slower' if slowdown > 0 else 'faster'} than for that "
            f"table, by {pairs['device_slowdown_networks']} networks of it."
        )
    failed = [f"{row['name']} ({row['failure']})" for row in zoo["networks"] if row["failure"]]
    return [
        f"{same['networks']} published networks are at {here} pixels, the resolution of the run. Ours is at most as "
        f"slow and predicted to be more accurate beside {same['better']} of them; beside {same['not_better']} it is "
        f"not{unknown}. Of {other['networks']} at other resolutions it is beside {other['better']}.",
        "Latencies of a row are of one session, both networks in interleaved rounds, with 95 % intervals; where ours "
        "is missing, the other's is of the session over the zoo alone. Our accuracies are predicted, and said in the "
        "terms of published, fine-tuned networks (docs/archive.md; standard deviation 0.25 points); nothing was "
        "trained here. Published accuracies of torchvision's networks are those of its weights IMAGENET1K_V1, in "
        "brackets the best of later recipes, both by torchvision's own description.",
        f"Both sessions ran with {runtime['name']} {runtime['version']}, {runtime['precision']}, {runtime['threads']} "
        f"thread, batch {zoo['batch']}. The run learnt from a table of {pairs['device']}. {speed}",
        f"In {apart(pairs)} of these pairs the two intervals are apart; in the others which one is the quicker is "
        "within the measurement's error, and what is said is by the latencies themselves.",
        *([f"Not measured: {'; '.join(failed)}."] if failed else []),
        *zoo["notes"],
    ]


def apart(pairs: Mapping[str, Any]) -> int:
    """In how many pairs the published network's interval lies above ours."""
    both = [pair for pair in pairs["pairs"] if pair["together_interval_ms"] is not None]
    return sum(pair["together_interval_ms"][0] > pair["ours"]["measured_interval_ms"][1] for pair in both)


def main(words: Sequence[str] | None = None) -> int:
    """Measure and write the result; 0 if ours is better than every network of the run's resolution."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("device")
    parser.add_argument("--only")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="pnag-zoo-") as folder:
        place = given.folder or Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        zoo, pairs = documents(given.run, given.device, given.only, place)
    known = {row["name"]: row for row in zoo["networks"]}
    ordered = sorted(pairs["pairs"], key=lambda pair: (not pair["same_resolution"], pair["budget_ms"]))
    rows = [row_of(pair, known[pair["name"]]) for pair in ordered]
    report(f"zoo_{given.device}", "Published networks beside ours", rows, notes(zoo, pairs))
    return 0 if pairs["counts"]["same_resolution"]["better"] == pairs["counts"]["same_resolution"]["networks"] else 1


if __name__ == "__main__":
    sys.exit(main())
