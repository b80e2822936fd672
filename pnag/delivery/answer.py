"""What may be said of a chosen network before it is a file: of which run, device and runtime, and what ranked it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pnag.generator.generate import Candidate, Generator
from pnag.runs.measured import recall, residuals_of

_USED = 0.9  # of the budget: below it, a person is told that there is more


def with_measured(generator: Generator, directory: Path) -> Generator:
    """The generator with what was measured of its run's answers among the residuals that margins come from."""
    known = residuals_of(recall(directory), str(generator.metadata.get("table_sha256")))
    return replace(generator, residuals=(*generator.residuals, *known)) if known else generator


def ranking_of(candidate: Candidate, generator: Generator) -> dict[str, Any]:
    """The figure by which a network was chosen. It is not the accuracy of any file; shares are 0 to 1.

    `accuracy` is what the generator's predictor says, `error` its root mean square error on architectures it had not
    seen; both are corrected where answers were evaluated, `answers_evaluated` of them. `images`, `resolution` and `how`
    tell of the accuracies that it learnt from. `published_top1` is what published, fine-tuned networks of that value
    had in print, where that is known.
    """
    provenance = generator.provenance
    published = provenance.published
    return {
        "kind": "predicted",
        "accuracy": candidate.accuracy,
        "error": candidate.accuracy_error,
        "answers_evaluated": generator.chosen.answers if generator.chosen else 0,
        "images": provenance.images or None,
        "resolution": generator.metadata.get("accuracy_resolution"),
        "how": provenance.how,
        "published_top1": None if published is None else published.top1(candidate.accuracy),
        "published_top1_deviation": None if published is None else published.deviation,
    }


def origin_of(directory: Path, generator: Generator, confidence: float) -> dict[str, Any]:
    """Which run, device and runtime answers are of, and their confidence: None where the table gives no basis."""
    about = generator.metadata
    return {
        "run": str(directory),
        "device": about.get("device"),
        "runtime": {name: about.get(name) for name in ("runtime", "version", "precision", "threads", "batch")},
        "confidence": confidence if generator.judged else None,
    }


def origin_text(origin: dict[str, Any]) -> str:
    """The same for a person, in one line."""
    runtime = origin["runtime"]
    words = [str(runtime[name]) for name in ("runtime", "version", "precision") if runtime[name]]
    if runtime["threads"]:
        words.append(f"{runtime['threads']} thread{'s' if runtime['threads'] != 1 else ''}")
    if runtime["batch"]:
        words.append(f"batch {runtime['batch']}")
    basis = (
        f"confidence {origin['confidence']:g}"
        if origin["confidence"] is not None
        else "no basis for a confidence: the table has no unseen networks, and budgets are kept as predicted"
    )
    return f"{origin['run']}: {origin['device'] or 'unknown device'}, {' '.join(words) or 'unknown runtime'}; {basis}"


def accuracy_lines(row: Mapping[str, Any]) -> list[str]:
    """What is known of the accuracy of a network's own weights, for a person; `row` is that of the JSON document."""
    if row["weights"] == "untrained":
        return ["  accuracy   none: the weights are untrained"]
    lines = [] if row["accuracy"] is None else [f"  accuracy   {row['accuracy']:.2%} on the test split"]
    return lines + _finetuning_lines(row["finetuning"])


def _finetuning_lines(report: Mapping[str, Any] | None) -> list[str]:
    """What fine-tuning changed, and that it lost accuracy where it did."""
    if report is None:
        return []
    figures = []
    for split in ("validation", "test"):
        before, after = (report[f"{split}_accuracy_{when}"] for when in ("before", "after"))
        if before is not None:
            figures.append(f"{split} accuracy {before:.2%} before, {after:.2%} after{' (LOST)' * (after < before)}")
    lines = [f"  fine-tuned {report['epochs']:g} epochs: {'; '.join(figures)}"]
    if not report["delivered"]:
        lines.append("             it lost accuracy on the validation split, so the supernet's weights are kept")
    return lines


def unused_text(candidate_ms: float, budget_ms: float) -> str | None:
    """That a budget is not used up, where it is not; None where it is."""
    if candidate_ms >= _USED * budget_ms:
        return None
    return f"the budget is not used up: {candidate_ms:.3g} of {budget_ms:g} ms"


def file_names(path: Path, budgets_ms: Sequence[float]) -> list[Path]:
    """Where the network of each budget goes: `path` for one, else with the budget in its name, no two alike."""
    if len(budgets_ms) == 1:
        return [path]
    short = [f"{budget:g}" for budget in budgets_ms]
    words = [
        repr(float(budget)) if short.count(text) > 1 else text for budget, text in zip(budgets_ms, short, strict=True)
    ]
    seen: dict[str, int] = {}
    names = []
    for word in words:
        seen[word] = seen.get(word, 0) + 1
        again = f"-{seen[word]}" if seen[word] > 1 else ""
        names.append(path.with_name(f"{path.stem}-{word}ms{again}{path.suffix}"))
    return names
