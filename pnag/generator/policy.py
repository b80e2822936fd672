"""Train the generator: policy gradient over all budgets at once, with what search finds as further examples.

Each step takes the K anchor budgets and as many between them, draws a group of architectures for each
without gradients, and scores them with the evaluator. A network's reward is its mean dominance over the
others of its group, so that the group is its own leave-one-out baseline and rewards need no scale. One
fused pass then gives the log-probabilities and the entropy of all positions.

Now and then the best networks of the last group are refined (`pnag.search.refine`) and kept in a memory along the
cost axis; the generator learns from the memory by maximum likelihood beside the policy gradient.

Source: PNAG, sections 3.1.1 and 3.1.2; the examples: Anthony et al., Thinking Fast and Slow (expert iteration).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from pnag.generator.sampler import Policy, PolicyWeights
from pnag.search.evaluator import Evaluator
from pnag.space.budget import interpolation, spaced_budgets
from pnag.space.cost import CostModel
from pnag.space.tokens import Tokens, TokenSpace
from profiler.progress import Share, Watch

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PolicySettings:
    """How the generator is trained.

    `generations`: of the search of all budgets before the training, where accuracies can be asked without end.
    `k` anchor budgets, evenly spaced over the table's range; `between`: whether budgets between them are
    drawn too. `group` architectures per budget and step. `examples`: how many remembered networks each step
    learns from, 0 for policy gradient alone; they need an evaluator that can be refined under, by so many
    `example_exchanges` each time that they are searched.
    `caution` and `headroom`: rewards count a network as too dear from so much below the budget on, and an
    example answers budgets so much above its own (fractions), so that samples at the edge keep the budget.
    `penalty`: what missing the budget costs beside the lost comparisons. `temperature`: the trained logits are
    divided by this, so that samples stray less from what was learnt.
    """

    generations: int = 600
    k: int = 10
    between: bool = True
    steps: int = 160
    group: int = 12
    width: int = 24
    hidden: int = 64
    rate: float = 6e-3
    entropy: float = 0.01
    entropy_end: float = 0.0
    examples: int = 96
    example_exchanges: int = 3
    search_every: int = 6
    example_weight: float = 1.0
    penalty: float = 2.0
    caution: float = 0.006
    headroom: float = 0.012
    temperature: float = 2 / 3


class Examples(Protocol):
    """Good networks to learn from beside the rewards: `pnag.search.memory.Memory` is one."""

    def search(self, tokens: Tokens, rng: np.random.Generator) -> None:
        """Take in what is good among drawn architectures, tokens (n, length), and look for better."""

    def draw(self, n: int, rng: np.random.Generator, headroom: float) -> tuple[Tokens, Array]:
        """`n` networks (n, length), with a budget in ms that each is an answer to (n,)."""


def train_policy(
    costs: CostModel,
    evaluator: Evaluator,
    settings: PolicySettings,
    *,
    memory: Examples | None,
    seed: int = 0,
    budgets_ms: Array | None = None,
    report: Share | None = None,
    watch: Watch | None = None,
) -> Policy:
    """Train from scratch; `budgets_ms` are the anchors unless they are to be evenly spaced.

    `memory` is searched and learnt from, if one is given and the settings ask for examples; it is left with the
    best networks that were met. `report` is called with the share of the work done after each step, and `watch` with
    its figures: `loss`, `entropy` (of a drawn network's choices together), `kept`, the share of the networks drawn
    that keep their budget, and `used`, the share of it that they cost on average.
    """
    import torch

    low, high = costs.range_ms
    anchors = spaced_budgets(low, high, settings.k) if budgets_ms is None else np.asarray(budgets_ms, dtype=float)
    rng, torch_rng = np.random.default_rng([seed, 3]), torch.Generator().manual_seed(seed)
    network = PolicyNetwork(costs.space, anchors, settings, torch_rng)
    optimiser = torch.optim.Adam(network.parameters, lr=settings.rate)
    if not settings.examples:
        memory = None
    for step in range(settings.steps):
        done = step / settings.steps
        for group in optimiser.param_groups:
            group["lr"] = settings.rate * min(1.0, (step + 1) / 10) * (0.55 + 0.45 * np.cos(np.pi * done))
        budgets = _step_budgets(anchors, costs, settings, rng)
        tokens, advantage = _experience(network.policy(), costs, evaluator, budgets, settings, rng=rng)
        if memory is not None and step % settings.search_every == 0:
            memory.search(tokens, rng)
        examples = memory.draw(settings.examples, rng, settings.headroom) if memory is not None else None
        entropy_weight = settings.entropy + (settings.entropy_end - settings.entropy) * done
        loss, entropy = _loss(
            network, (tokens, np.repeat(budgets, settings.group)), advantage, examples,
            entropy=entropy_weight, example=settings.example_weight * (1 - done) ** 2,
        )  # fmt: skip
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters, 2.0)
        optimiser.step()
        if report is not None:
            report((step + 1) / settings.steps)
        if watch is not None:
            share = costs(tokens) / np.repeat(budgets, settings.group)
            kept, used = float(np.mean(share <= 1)), float(np.mean(share))
            watch(step + 1, {"loss": float(loss.detach()), "entropy": float(entropy), "kept": kept, "used": used})
    return network.policy(temperature=settings.temperature)


def _step_budgets(anchors: Array, costs: CostModel, settings: PolicySettings, rng: np.random.Generator) -> Array:
    """The anchors and, if asked, as many spread at random over their range."""
    if not settings.between or len(anchors) == 1:
        return anchors
    low, high = max(costs.range_ms[0], float(anchors[0])), min(costs.range_ms[1], float(anchors[-1]))
    cells = (np.arange(len(anchors)) + rng.random(len(anchors))) / len(anchors)
    return np.concatenate([anchors, low + (high - low) * cells])


def _experience(
    policy: Policy,
    costs: CostModel,
    evaluator: Evaluator,
    budgets: Array,
    settings: PolicySettings,
    *,
    rng: np.random.Generator,
) -> tuple[Tokens, Array]:
    """Architectures drawn for each budget, (budgets · group, length), and what each was worth."""
    repeated = np.repeat(budgets, settings.group)
    tokens = policy.sample(repeated, rng.random((len(repeated), costs.space.length)))
    cost = costs(tokens)
    tightened = np.maximum(repeated * (1 - settings.caution), costs.range_ms[0])
    scores = evaluator(tokens, cost, tightened).reshape(len(budgets), settings.group)
    wins = np.sign(scores[:, :, None] - scores[:, None, :]).sum(axis=2)
    fines = settings.penalty * (cost > tightened).reshape(scores.shape)
    # Against the mean of the others, (n · x - Σx) / (n - 1); the wins already are.
    fines = settings.group * fines - fines.sum(axis=1, keepdims=True)
    return tokens, ((wins - fines) / max(1, settings.group - 1)).reshape(-1)


def _loss(
    network: PolicyNetwork,
    drawn: tuple[Tokens, Array],
    advantage: Array,
    examples: tuple[Tokens, Array] | None,
    *,
    entropy: float,
    example: float,
) -> tuple[Tensor, Tensor]:
    """Policy gradient with entropy on what was drawn, maximum likelihood on the examples, in one pass; the entropy."""
    import torch

    tokens, budgets = drawn
    if examples is not None:
        tokens, budgets = np.concatenate([tokens, examples[0]]), np.concatenate([budgets, examples[1]])
    log_p, spread = network.log_probability(tokens, budgets)
    n = len(advantage)
    drawn_entropy = spread[:n].mean()
    loss = -(torch.as_tensor(advantage, dtype=torch.float32) * log_p[:n]).mean() - entropy * drawn_entropy
    return (loss if examples is None else loss - example * log_p[n:].mean()), drawn_entropy.detach()


class PolicyNetwork:
    """The generator's arrays as torch parameters. `policy` gives what numpy samples with."""

    def __init__(self, space: TokenSpace, anchors: Array, settings: PolicySettings, rng: torch.Generator) -> None:
        import torch

        self._space, self._anchors = space, anchors
        self._choices = choices = max(space.token_choices)
        hidden, width = settings.hidden, settings.width

        def normal(*shape: int, scale: float = 1.0) -> Tensor:
            return torch.randn(*shape, generator=rng) * scale

        # Neighbouring budgets start out with similar vectors: points along a line, and a little of their own.
        line = torch.linspace(-1.5, 1.5, len(anchors))[:, None] * normal(width)
        self._vectors = line + normal(len(anchors), width, scale=0.1)
        self._tokens = normal(space.length * (choices + 1), width)
        self._w_input = normal(4 * hidden, 2 * width, scale=hidden**-0.5)
        self._w_hidden = normal(4 * hidden, hidden, scale=hidden**-0.5)
        self._bias = torch.zeros(4 * hidden)
        self._heads = normal(space.length, hidden, choices, scale=0.02)
        self._head_bias = torch.zeros(space.length, choices)
        self.parameters = [
            self._vectors, self._tokens, self._w_input, self._w_hidden, self._bias, self._heads, self._head_bias,
        ]  # fmt: skip
        for parameter in self.parameters:
            parameter.requires_grad_()
        self._open = torch.arange(choices) < torch.tensor(space.token_choices)[:, None]  # (length, choices)

    def log_probability(self, tokens: Tokens, budgets_ms: Array) -> tuple[Tensor, Tensor]:
        """Log-probability of each architecture under its budget, and the entropy along it; shapes (n,).

        Positions of absent layers count for neither.
        """
        import torch

        position = torch.arange(self._space.length)
        values = torch.as_tensor(tokens, dtype=torch.long)  # (n, length)
        previous = torch.nn.functional.pad(values[:, :-1], (1, 0))
        embedded = torch.nn.functional.embedding(position * (self._choices + 1) + previous, self._tokens)
        weights = torch.as_tensor(interpolation(self._anchors, budgets_ms), dtype=torch.float32)
        budget = (weights @ self._vectors).expand(len(position), -1, -1)  # (length, n, width)
        hidden = self._run(torch.cat([embedded.transpose(0, 1), budget], dim=2))  # (length, n, hidden)
        logits = torch.baddbmm(self._head_bias[:, None], hidden, self._heads).transpose(0, 1)
        log_p = logits.masked_fill(~self._open, -1e9).log_softmax(dim=2)  # (n, length, choices)
        is_depth = position % self._space.tokens_per_unit == 0
        present = is_depth | (values > 0)
        choice = torch.where(is_depth, values, values - 1).clamp(min=0)
        taken = log_p.gather(2, choice[:, :, None])[:, :, 0]
        entropy = -(log_p.exp() * log_p).sum(dim=2)
        return (taken * present).sum(dim=1), (entropy * present).sum(dim=1)

    def _run(self, inputs: Tensor) -> Tensor:
        """Hidden states of the LSTM, (length, n, hidden), from a zero state; the fused kernel of torch."""
        import torch

        zero = inputs.new_zeros(1, inputs.shape[1], self._w_hidden.shape[1])
        flat = [self._w_input, self._w_hidden, self._bias, torch.zeros_like(self._bias)]
        return torch.lstm(inputs, (zero, zero), flat, True, 1, 0.0, True, False, False)[0]

    def policy(self, *, temperature: float = 1.0) -> Policy:
        """The network as it is now, for numpy; a copy, with its logits divided by `temperature`."""
        width = self._vectors.shape[1]
        w_input = self._w_input.detach().numpy().T
        weights = PolicyWeights(
            tokens=self._tokens.detach().numpy().reshape(self._space.length, self._choices + 1, width).copy(),
            vectors=self._vectors.detach().numpy().copy(),
            w_tokens=w_input[:width].copy(),
            w_budget=w_input[width:].copy(),
            w_hidden=self._w_hidden.detach().numpy().T.copy(),
            bias=self._bias.detach().numpy().copy(),
            heads=self._heads.detach().numpy() * np.float32(1 / temperature),
            head_bias=self._head_bias.detach().numpy() * np.float32(1 / temperature),
        )
        return Policy(self._space, self._anchors, weights)
