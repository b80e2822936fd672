"""The generator as it is shipped: one file, read with numpy alone, that answers any budget with a network.

For a budget the LSTM proposes candidates; those whose cost, with the margin of the asked confidence, exceeds
the budget are dropped; the evaluator ranks the others; the best are refined, as are the best of the networks
that are known from the training; the best of all is returned.
The cheapest network is always among the candidates, so that a budget within the range always has an answer,
and what is returned satisfies the budget always: c(a) · (1 + margin) ≤ B.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from lut.calibration.fit import upper_margin
from lut.files import replacing
from pnag.accuracy.nearby import Nearby
from pnag.accuracy.network import AccuracyNetwork
from pnag.accuracy.predictor import AccuracyPredictor
from pnag.accuracy.provenance import Provenance
from pnag.errors import InfeasibleBudgetError, PnagError, RunError
from pnag.generator.sampler import Policy
from pnag.search.evaluator import Evaluator, RankingEvaluator, RuleEvaluator
from pnag.search.known_networks import Pool
from pnag.search.refine import Refiner, cheapest_tokens
from pnag.space.architecture import Architecture
from pnag.space.budget import check_budget
from pnag.space.cost import CostModel
from pnag.space.search_space import SearchSpace
from pnag.space.tokens import Tokens

Array = NDArray[np.float64]

FILE_NAME = "generator.npz"
FORMAT_VERSION = 1
CANDIDATES = 16
_STARTS = 3
_KNOWN_STARTS = 2
_FEWEST_RESIDUALS = 2
_HEADER = "header"
PREDICTORS: Mapping[str, type[AccuracyPredictor] | type[AccuracyNetwork]] = {
    "quadratic": AccuracyPredictor,
    "network": AccuracyNetwork,
}
PROVENANCE = "accuracies"  # the key of the metadata that says where the accuracies come from


@dataclass(frozen=True)
class Candidate:
    """A generated network and what is known of it, times in ms, accuracies as fractions.

    `cost_ms` is c(a); `margin` is how far above it a network may measure at that confidence, relative, and
    `limit_ms` = budget / (1 + margin) the highest cost that the budget allows. `score` is the
    evaluator's, `accuracy` the predicted one (measured, for methods that only pick among measured networks)
    and `accuracy_error` its typical error: the predictor's root mean square error on architectures it had not seen,
    less where the network is near ones whose accuracy is known. `confidence` is None where the table has no unseen
    networks, which leaves no basis for one (the margin is 0 then), or where the margin was given.
    """

    architecture: Architecture
    cost_ms: float
    score: float
    accuracy: float
    accuracy_error: float
    budget_ms: float
    limit_ms: float
    confidence: float | None
    margin: float

    @property
    def share_used(self) -> float:
        """Part of the allowed cost that the network takes."""
        return self.cost_ms / self.limit_ms


@dataclass(frozen=True)
class Generator:
    """Trained once, answers any budget. Immutable; `proposer` is the LSTM, or a pool of known networks.

    `residuals` are those of the latency table's unseen networks (measured / predicted - 1); `steps` is how
    many exchanges refinement may take, 0 for none. `known` are good networks from the training, (n, length): for
    each budget refinement starts from the best of them too. `metadata` holds plain JSON values.

    >>> from pnag.generator.learning import train_generator
    >>> from pnag.space.spaces import load_space
    >>> space = load_space("ofa-mbv3-w0.25")
    >>> costs = space.sum_over_blocks(lambda block: block.macs / 1e7)  # a made-up device: 10 MMACs a millisecond
    >>> tokens = space.sample(60, np.random.default_rng(0))
    >>> accuracy = 0.7 + 0.001 * costs(tokens)
    >>> generator = train_generator(space, costs, tokens, accuracy, method="random")
    >>> found = generator.generate(sum(costs.range_ms) / 2)
    >>> found.cost_ms <= found.budget_ms
    True
    """

    costs: CostModel
    evaluator: Evaluator
    proposer: Policy | Pool
    method: str = "pnag"
    steps: int = 30
    known: Tokens | None = None
    residuals: tuple[float, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def space(self) -> SearchSpace:
        """The search space."""
        return cast(SearchSpace, self.costs.space)  # learning needs its encoding only, so the model promises no more

    @cached_property
    def range_ms(self) -> tuple[float, float]:
        """Predicted cost of the cheapest and of the dearest network."""
        return float(self.costs(cheapest_tokens(self.costs))[0]), self.costs.range_ms[1]

    @property
    def accuracy_error(self) -> float:
        """Root mean square error of predicted accuracies on unseen architectures, as a fraction."""
        return self.evaluator.predictor.error

    @property
    def provenance(self) -> Provenance:
        """Where the accuracies that were learnt from come from."""
        known = self.metadata.get(PROVENANCE)
        return Provenance.of({}) if known is None else Provenance.from_dict(known)

    @property
    def judged(self) -> bool:
        """Whether the table has unseen networks to tell from how far predictions may be off."""
        return len(self.residuals) >= _FEWEST_RESIDUALS

    def margin(self, confidence: float = 0.95) -> float:
        """How far above its prediction a network may measure at that confidence, from the table's residuals."""
        return upper_margin(self.residuals, confidence)

    def generate(
        self,
        budget_ms: float,
        *,
        confidence: float = 0.95,
        candidates: int = CANDIDATES,
        seed: int = 0,
        margin: float | None = None,
    ) -> Candidate:
        """The best network found for a budget in ms; above the dearest network, the best of all.

        Raises `BudgetError` for what is not a budget, `InfeasibleBudgetError` below the cheapest network (with
        the margin of the confidence).
        """
        found = self.generate_many([budget_ms], confidence=confidence, candidates=candidates, seed=seed, margin=margin)
        return found[0]

    def generate_many(
        self,
        budgets_ms: Sequence[float],
        *,
        confidence: float = 0.95,
        candidates: int = CANDIDATES,
        seed: int = 0,
        margin: float | None = None,
    ) -> list[Candidate]:
        """One network for each budget, the same as `generate` would give one by one; scores but for rounding.

        `margin` is how far above its prediction a network may measure, where that is known better than by the
        confidence: from a measurement near it. It may be below 0.
        """
        by_confidence = margin is None
        if margin is None:
            margin = self.margin(confidence)
        if not len(budgets_ms):
            return []
        limits = np.array([self._limit(budget, margin, confidence) for budget in budgets_ms])
        tokens, costs = self._search(limits, candidates, seed)
        scores = self.evaluator(tokens, costs, limits)
        accuracy, error = self._accuracy(tokens)
        return [
            Candidate(
                architecture=architecture,
                cost_ms=float(costs[row]),
                score=float(scores[row]),
                accuracy=float(accuracy[row]),
                accuracy_error=float(error[row]),
                budget_ms=float(budgets_ms[row]),
                limit_ms=float(limits[row]),
                confidence=confidence if self.judged and by_confidence else None,
                margin=margin,
            )
            for row, architecture in enumerate(self.space.decode(tokens))
        ]

    def sample(self, budget_ms: float, n: int, seed: int = 0) -> Tokens:
        """`n` architectures as the bare LSTM draws them, shape (n, length): nothing dropped, nothing refined."""
        if not isinstance(self.proposer, Policy):
            raise PnagError(f"method {self.method} has no network to draw from; it picks among known architectures")
        budget = check_budget(budget_ms)
        uniforms = np.random.default_rng(seed).random((n, self.space.length))
        return self.proposer.sample(np.full(n, budget), uniforms)

    def _limit(self, budget_ms: float, margin: float, confidence: float) -> float:
        """The highest cost c with c · (1 + margin) ≤ budget that a network has; raises where none has so little."""
        budget = check_budget(budget_ms)
        low, high = (bound * (1 + margin) for bound in self.range_ms)
        if budget < low:
            raise InfeasibleBudgetError(
                f"a budget of {budget:g} ms is below the cheapest network of {self.space.name} on this table at "
                f"confidence {confidence:g}; choose from {_shown_range(low, high)}"
            )
        limit = min(max(budget / (1 + margin), self.range_ms[0]), self.range_ms[1])
        while limit * (1 + margin) > budget:  # by rounding, once or twice; the cheapest network itself passes
            limit = math.nextafter(limit, 0.0)
        return limit

    def _search(self, limits: Array, candidates: int, seed: int) -> tuple[Tokens, Array]:
        """The best network under each limit, and its cost; shapes (n, length) and (n,)."""
        n, cheapest = len(limits), cheapest_tokens(self.costs)
        if isinstance(self.proposer, Pool):
            tokens = self.proposer.best(limits, fallback=cheapest[0])
            return tokens, self.costs(tokens)
        uniforms = np.stack([_uniforms(seed, limit, candidates, self.space.length) for limit in limits.tolist()])
        proposed = self.proposer.sample(np.repeat(limits, candidates), uniforms.reshape(-1, self.space.length))
        pool = np.concatenate(
            [proposed.reshape(n, candidates, -1), np.broadcast_to(cheapest, (n, 1, self.space.length))], axis=1
        )
        ranked, _ = self._rank(pool, limits)
        if isinstance(self.evaluator, RuleEvaluator) and self.steps:
            drawn, known = _distinct_first(ranked)[:, :_STARTS], self._known_starts(self.evaluator, limits)
            starts = np.concatenate([drawn, known], axis=1)
            wide = np.repeat(limits, starts.shape[1])
            refiner = Refiner(self.evaluator, self.costs, self.steps)
            refined = refiner.across(starts.reshape(-1, self.space.length), wide).reshape(starts.shape)
            ranked, _ = self._rank(np.concatenate([refined, ranked[:, :1]], axis=1), limits)
        best = ranked[:, 0]
        return best, self.costs(best)

    def _known_starts(self, evaluator: RuleEvaluator, limits: Array) -> Tokens:
        """The best known networks under each limit, shape (n, at most `_KNOWN_STARTS`, length)."""
        if self.known is None:
            return np.empty((len(limits), 0, self.space.length), dtype=np.int8)
        cost, accuracy = self.costs(self.known), evaluator.worth(self.known)
        scores = evaluator.combine(accuracy[None], cost[None], limits[:, None])  # (n, known)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :_KNOWN_STARTS]
        starts: Tokens = self.known[best]
        return starts

    def _rank(self, pool: Tokens, limits: Array) -> tuple[Tokens, Array]:
        """Each budget's networks, best first, those beyond the limit last; pool (n, m, length), scores (n, m)."""
        n, m, length = pool.shape
        flat, wide = pool.reshape(-1, length), np.repeat(limits, m)
        cost = self.costs(flat)
        scores = np.where(cost <= wide, self.evaluator(flat, cost, wide), -np.inf).reshape(n, m)
        order = np.argsort(-scores, axis=1, kind="stable")
        return np.take_along_axis(pool, order[:, :, None], axis=1), np.take_along_axis(scores, order, axis=1)

    def _accuracy(self, tokens: Tokens) -> tuple[Array, Array]:
        """Accuracies of answers and their typical errors, both (n,)."""
        if isinstance(self.evaluator, RuleEvaluator):
            predicted, error = self.evaluator.expected(tokens)
        else:
            predicted, error = self.evaluator.predictor(tokens), np.full(len(tokens), self.accuracy_error)
        predicted = np.clip(predicted, 0.0, 1.0)  # a regression may leave the range
        return self.proposer.measured(tokens, predicted) if isinstance(self.proposer, Pool) else predicted, error

    def with_metadata(self, **values: Any) -> Self:
        """The same generator with more metadata."""
        return replace(self, metadata={**self.metadata, **values})

    def save(self, directory: str | Path) -> Path:
        """Write `generator.npz` into a directory, whole or not at all. Raises `OutputError`."""
        path = Path(directory) / FILE_NAME
        header = {
            "format_version": FORMAT_VERSION,
            "space": self.space.to_dict(),
            "constant_ms": self.costs.constant_ms,
            "method": self.method,
            "predictor": next(name for name, kind in PREDICTORS.items() if isinstance(self.evaluator.predictor, kind)),
            "rule": self.evaluator.rule if isinstance(self.evaluator, RuleEvaluator) else None,
            "proposer": "pool" if isinstance(self.proposer, Pool) else "policy",
            "steps": self.steps,
            "residuals": list(self.residuals),
            "metadata": dict(self.metadata),
        }
        arrays: dict[str, NDArray[Any]] = {_HEADER: np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)}
        arrays["costs/layer_ms"] = self.costs.layer_ms
        if self.space.resolution_choices > 1:
            arrays["costs/resolution_ms"] = self.costs.resolution_ms
        arrays |= _prefixed("predictor", self.evaluator.predictor.arrays())
        arrays |= _prefixed("proposer", self.proposer.arrays())
        if self.known is not None:
            arrays["known"] = self.known
        if isinstance(self.evaluator, RuleEvaluator) and self.evaluator.nearby is not None:
            arrays |= _prefixed("nearby", self.evaluator.nearby.arrays())
        if isinstance(self.evaluator, RankingEvaluator):
            arrays |= _prefixed("ranking", self.evaluator.arrays())
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        return path

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Read what `save` wrote. Raises `RunError` if it is absent, damaged or of another version."""
        path = Path(directory) / FILE_NAME
        if not path.is_file():
            raise RunError(f"no generator in {directory}; train one with pnag-train --out {directory}")
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            header = json.loads(arrays.pop(_HEADER).tobytes())
            version = header["format_version"]
            if version == FORMAT_VERSION:
                return cls._from_parts(header, arrays)
        except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, PnagError) as error:
            raise RunError(f"{path} is damaged ({error}); train again") from error
        raise RunError(f"{path} has format version {version}, not {FORMAT_VERSION}; use the matching release")

    @classmethod
    def _from_parts(cls, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        space = SearchSpace.from_dict(header["space"])
        predictor = PREDICTORS[header.get("predictor", "quadratic")].from_arrays(space, _part("predictor", arrays))
        known_near = _part("nearby", arrays)
        nearby = Nearby.from_arrays(space, known_near) if known_near else None
        evaluator: Evaluator = (
            RankingEvaluator.from_arrays(predictor, _part("ranking", arrays))
            if header["rule"] is None
            else RuleEvaluator(predictor, header["rule"], nearby)
        )
        proposer = Pool if header["proposer"] == "pool" else Policy
        layer_ms, sides = arrays["costs/layer_ms"], space.resolution_choices
        shape = (space.units, 2, len(space.expands), len(space.kernels))
        if layer_ms.shape != (shape if sides == 1 else (sides, *shape)):
            raise ValueError(f"costs of shape {layer_ms.shape} do not fit {space.name}")
        known = arrays.get("known")
        if known is not None and known.shape != (len(known), space.length):
            raise ValueError(f"networks of shape {known.shape} do not fit {space.name}")
        return cls(
            costs=CostModel(
                space, float(header["constant_ms"]), layer_ms, arrays.get("costs/resolution_ms", np.zeros(sides))
            ),
            evaluator=evaluator,
            proposer=proposer.from_arrays(space, _part("proposer", arrays)),
            method=header["method"],
            steps=int(header["steps"]),
            known=known,
            residuals=tuple(header["residuals"]),
            metadata=header["metadata"],
        )


def _shown_range(low_ms: float, high_ms: float) -> str:
    """A range within the given one, in digits enough for its low end: whatever is shown is accepted."""
    digits = max(2, 2 - math.floor(math.log10(max(low_ms, 1e-6))))
    unit = 10.0**-digits
    return f"{math.ceil(low_ms / unit) * unit:.{digits}f} to {math.floor(high_ms / unit) * unit:.{digits}f} ms"


def _uniforms(seed: int, limit: float, candidates: int, length: int) -> Array:
    """Random numbers of one budget's own, so that an answer does not depend on what else is asked."""
    rng = np.random.default_rng([seed, int(np.float64(limit).view(np.uint64))])
    return rng.random((candidates, length))


def _distinct_first(ranked: Tokens) -> Tokens:
    """The same networks with repeats of the one before moved to the end, so that the first ones differ."""
    fresh = np.ones(ranked.shape[:2], dtype=bool)
    fresh[:, 1:] = (ranked[:, 1:] != ranked[:, :-1]).any(axis=2)
    order = np.argsort(~fresh, axis=1, kind="stable")
    return np.take_along_axis(ranked, order[:, :, None], axis=1)


def _prefixed(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def _part(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    start = len(prefix) + 1
    return {name[start:]: array for name, array in arrays.items() if name.startswith(prefix + "/")}
