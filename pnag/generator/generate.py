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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from lut.calibration.fit import FEWEST_RESIDUALS, upper_margin
from lut.files import replacing
from lut.formats.canonical import parse_json
from lut.words import printable
from pnag.accuracy.nearby import Nearby
from pnag.accuracy.network import AccuracyNetwork
from pnag.accuracy.predictor import AccuracyPredictor
from pnag.accuracy.provenance import Provenance
from pnag.arrays import read_arrays, require_finite
from pnag.errors import InfeasibleBudgetError, PnagError, RunError
from pnag.generator.answering import Answers, Origin
from pnag.generator.chosen import ANSWERS, ChosenError, judge
from pnag.generator.sampler import Policy
from pnag.search.evaluator import Evaluator, RankingEvaluator, RuleEvaluator
from pnag.search.feasible import conflict_text, keeping
from pnag.search.known_networks import Pool
from pnag.search.limits import Bounds, Kept, Limit, highest_cost, range_text
from pnag.search.prices import cheapest_tokens
from pnag.search.refine import Refiner
from pnag.space.architecture import Architecture
from pnag.space.budget import check_budget
from pnag.space.cost import CostModel
from pnag.space.search_space import SearchSpace
from pnag.space.tokens import Tokens

Array = NDArray[np.float64]

FILE_NAME = "generator.npz"
FORMAT_VERSION = 1
CANDIDATES = 16
_EVEN_ODDS = 0.5
_HEADER = "header"
_FIGURES = "/numbers"  # of a predictor: errors and the like, of which some may be unknown
PREDICTORS: Mapping[str, type[AccuracyPredictor] | type[AccuracyNetwork]] = {
    "quadratic": AccuracyPredictor,
    "network": AccuracyNetwork,
}
PROVENANCE = "accuracies"  # the key of the metadata that says where the accuracies come from
CHOSEN = "chosen"  # the key of what evaluated answers say of predictions


@dataclass(frozen=True)
class Candidate:
    """A generated network and what is known of it, times in ms, accuracies as fractions.

    `cost_ms` is c(a); `margin` is how far above it a network may measure at that confidence, relative, and
    `limit_ms` = budget / (1 + margin) the highest cost that the budget allows. `score` is the
    evaluator's, `accuracy` the predicted one (measured, for methods that only pick among measured networks)
    and `accuracy_error` its typical error: the predictor's root mean square error on architectures it had not seen,
    less where the network is near ones whose accuracy is known. `confidence` is None where the table has no unseen
    networks, which leaves no basis for one (the margin is 0 then), or where the margin was given. `kept` are the limits
    of the question, this budget's the first of them, where it had several; `origin` tells how it was found.
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
    kept: tuple[Kept, ...] = ()
    origin: Origin | None = None

    @property
    def further(self) -> tuple[Limit, ...]:
        """The limits beside the budget."""
        return tuple(kept.limit for kept in self.kept[1:])

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
    def chosen(self) -> ChosenError | None:
        """What evaluated answers say of predicted accuracies; None where none were evaluated."""
        known = self.metadata.get(CHOSEN)
        return None if known is None else ChosenError.from_dict(known)

    @property
    def judged(self) -> bool:
        """Whether the table has unseen networks to tell from how far predictions may be off."""
        return len(self.residuals) >= FEWEST_RESIDUALS

    def margin(self, confidence: float = 0.95) -> float:
        """How far above its prediction a network may measure at that confidence, from the table's residuals."""
        return upper_margin(self.residuals, confidence)

    def budgets_ms(self, confidence: float = 0.95) -> tuple[float, float]:
        """The least budget that has an answer at that confidence, and the greatest that is used up."""
        low, high = (bound * (1 + self.margin(confidence)) for bound in self.range_ms)
        return low, high

    def generate(
        self,
        budget_ms: float,
        *,
        confidence: float = 0.95,
        candidates: int = CANDIDATES,
        seed: int = 0,
        margin: float | None = None,
        further: Sequence[Limit] = (),
    ) -> Candidate:
        """The best network found for a budget in ms; above the dearest network, the best of all.

        `further` are limits that it keeps beside the budget.

        Raises `BudgetError` for what is not a budget, `InfeasibleBudgetError` below the cheapest network (with
        the margin of the confidence) and where no network keeps all limits together.
        """
        return self.generate_many(
            [budget_ms], confidence=confidence, candidates=candidates, seed=seed, margin=margin, further=further
        )[0]

    def generate_many(
        self,
        budgets_ms: Sequence[float],
        *,
        confidence: float = 0.95,
        candidates: int = CANDIDATES,
        seed: int = 0,
        margin: float | None = None,
        further: Sequence[Limit] = (),
    ) -> list[Candidate]:
        """One network for each budget, the same as `generate` would give one by one; scores but for rounding.

        `margin` is how far above its prediction a network may measure, where that is known better than by the
        confidence: from a measurement near it. It may be below 0. All networks keep the `further` limits too.
        """
        by_confidence = margin is None
        if margin is None:
            margin = self.margin(confidence)
        if not len(budgets_ms):
            return []
        limits = np.array([self._limit(budget, margin, confidence) for budget in budgets_ms])
        within = Bounds.of(self.costs, limits, further)
        asked = [
            (Limit(self._device, self.costs, budget, "ms", margin, confidence if self.judged else None), *further)
            for budget in budgets_ms
        ]
        tokens, origins = self._answers.search(within, self._fallback(within, asked), candidates, seed)
        costs = self.costs(tokens)
        scores = self.evaluator(tokens, costs, limits)
        accuracy, error = self.accuracies(tokens)
        binding = self._answers.binding(tokens, within) if further else None
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
                kept=() if binding is None else _kept(asked[row], tokens[[row]], binding[:, row]),
                origin=origins[row],
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
                f"confidence {confidence:g}; choose from {range_text(low, high, 'ms')}"
            )
        return min(max(highest_cost(budget, margin), self.range_ms[0]), self.range_ms[1])

    @property
    def _device(self) -> str:
        """What the budget is a latency on: device and runtime."""
        known = [str(self.metadata[name]) for name in ("device", "runtime") if self.metadata.get(name)]
        return ", ".join(known) or "the run's device"

    def _fallback(self, within: Bounds, asked: Sequence[Sequence[Limit]]) -> Tokens:
        """A network that keeps all limits, for each budget, (n, length). Raises where there is none."""
        if len(within.models) == 1:
            return np.repeat(cheapest_tokens(self.costs), within.n, axis=0)
        found = []
        for bounds, limits in zip(within.bounds.T.tolist(), asked, strict=True):
            network = keeping(within.models, bounds)
            if network is None:
                raise InfeasibleBudgetError(conflict_text(self.space.name, limits, bounds))
            found.append(network)
        return np.concatenate(found)

    @property
    def _answers(self) -> Answers:
        return Answers(self.costs, self.evaluator, self.proposer, self.steps, self.known, Refiner)

    def accuracies(self, tokens: Tokens) -> tuple[Array, Array]:
        """Accuracies of networks (n, length), predicted as those of answers are, and typical errors; both (n,)."""
        if isinstance(self.evaluator, RuleEvaluator):
            predicted, error = self.evaluator.expected(tokens)
        else:
            predicted, error = self.evaluator.predictor(tokens), np.full(len(tokens), self.accuracy_error)
        if self.chosen is not None:
            predicted, error = self.chosen.corrected(predicted, error)
        predicted = np.clip(predicted, 0.0, 1.0)  # a regression may leave the range
        return self.proposer.measured(tokens, predicted) if isinstance(self.proposer, Pool) else predicted, error

    def judged_by(self, evaluate: Callable[[Tokens], Array], answers: int = ANSWERS) -> Self:
        """The same generator, its predicted accuracies corrected by what answers to so many budgets reach.

        `evaluate` is as in `pnag.generator.chosen.judge`. A generator that picks among measured networks predicts
        nothing, and stays as it is.
        """
        if isinstance(self.proposer, Pool):
            return self
        budgets = np.linspace(*self.budgets_ms(_EVEN_ODDS), answers + 2)[1:-1].tolist()
        bare = replace(self, metadata={key: value for key, value in self.metadata.items() if key != CHOSEN})
        found = bare.generate_many(budgets, confidence=_EVEN_ODDS)
        tokens = self.space.encode([candidate.architecture for candidate in found])
        error = judge(tokens, np.array([candidate.accuracy for candidate in found]), evaluate)
        return bare if error is None else bare.with_metadata(**{CHOSEN: error.to_dict()})

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
            arrays = read_arrays(path)
            header = parse_json(arrays.pop(_HEADER).tobytes())
            version = header["format_version"]
            if version == FORMAT_VERSION:
                return cls._from_parts(header, arrays)._tried()
        except (
            OSError,
            KeyError,
            TypeError,
            ValueError,
            OverflowError,
            IndexError,
            AttributeError,
            PnagError,
        ) as error:
            raise RunError(f"{path} is damaged ({printable(error, 160)}); train again") from error
        raise RunError(
            f"{path} has format version {printable(version, 20)}, not {FORMAT_VERSION}; use the matching release"
        )

    def _tried(self) -> Self:
        """Itself, once an answer has been computed with all of its parts: what does not fit raises here, not later."""
        with np.errstate(all="ignore"):
            tokens, (low_ms, high_ms) = cheapest_tokens(self.costs), self.range_ms
            budget_ms = np.array([(low_ms + high_ms) / 2])
            score = self.evaluator(tokens, self.costs(tokens), budget_ms)
            if isinstance(self.proposer, Policy):
                self.proposer.sample(budget_ms, np.full((1, self.space.length), 0.5))
            margin = self.margin() if self.judged else 0.0
        if not (np.isfinite(score).all() and math.isfinite(margin) and -math.inf < low_ms <= high_ms < math.inf):
            raise ValueError("its parts do not make an answer")
        if not isinstance(self.provenance.images, str) or not isinstance(self.provenance.how, str):
            raise ValueError("it does not say where its accuracies come from")
        if self.chosen is not None and not math.isfinite(self.chosen.optimism + self.chosen.error):
            raise ValueError("it does not say what its predictions are worth")
        return self

    @classmethod
    def _from_parts(cls, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        space = SearchSpace.from_dict(header["space"])
        require_finite(arrays, but=[name for name in arrays if name.endswith(_FIGURES)])
        for name in ("known", "nearby/tokens", "proposer/tokens"):
            if name in arrays and (name != "proposer/tokens" or header["proposer"] == "pool"):
                _require_networks(space, arrays[name])
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
                space, _finite(header["constant_ms"]), layer_ms, arrays.get("costs/resolution_ms", np.zeros(sides))
            ),
            evaluator=evaluator,
            proposer=proposer.from_arrays(space, _part("proposer", arrays)),
            method=str(header["method"]),
            steps=int(header["steps"]),
            known=known,
            residuals=tuple(_finite(value) for value in header["residuals"]),
            metadata=_mapping(header["metadata"]),
        )


def _kept(limits: Sequence[Limit], tokens: Tokens, binding: NDArray[np.bool_]) -> tuple[Kept, ...]:
    """What an answer (1, length) costs by each of its limits, and whether they bind (limits,)."""
    return tuple(
        Kept(limit, float(limit.costs(tokens)[0]), bool(binds)) for limit, binds in zip(limits, binding, strict=True)
    )


def _require_networks(space: SearchSpace, tokens: NDArray[Any]) -> None:
    """Raise `ValueError` unless these are architectures of the space, encoded, (n, length)."""
    counts = np.array(space.token_choices)
    counts[np.arange(space.length) % space.tokens_per_unit != 0] += 1  # 0 is an absent layer
    if tokens.dtype.kind not in "iu" or tokens.ndim != 2 or tokens.shape[1] != space.length:
        raise ValueError(f"networks of shape {tokens.shape} and type {tokens.dtype} do not fit {space.name}")
    if not ((tokens >= 0) & (tokens < counts)).all() or (space.canonical(tokens) != tokens).any():
        raise ValueError(f"networks that are none of {space.name}")


def _mapping(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError("what it says of itself is of another form")
    return value


def _finite(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{printable(repr(value)[:200], 40)} stands in the place of a number")
    return float(value)


def _prefixed(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def _part(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    start = len(prefix) + 1
    return {name[start:]: array for name, array in arrays.items() if name.startswith(prefix + "/")}
