"""CHORD: controllable harmonisation of on- and off-policy reinforcement learning (arXiv
2508.11408).

    L = (1 - mu) L_grpo(rollouts) + mu x mean_t (-m_t log p_t)      over the tokens of all traces

mu falls as training goes on: a linear rise to ``peak`` in ``warmup_steps``, a cosine to
``valley`` in ``decay_steps``, then constant. m = 1, or with ``phi`` m = p (1 - p) without
gradient, which damps tokens far from the policy and tokens that it has learnt. The authors mix
separate expert rows into a batch (64 to 256 rollouts); here each group's trace is one.

Groups as in ``sft_grpo``: without variance the rollouts are left out (but of a mean over tokens)
and the trace is imitated, verdict or not; without a trace a group is a plain group of rollouts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from red_mcore.algorithms.base import ComponentLosses, Groups, Metrics, State, set_weights
from red_mcore.algorithms.sft_grpo import TraceGRPO
from red_mcore.config.fields import Fraction, StepsOrNone
from red_mcore.config.recipe import Recipe, RecipeError
from red_mcore.losses import token
from red_mcore.losses.inputs import LossInputs
from red_mcore.samples.records import Group

if TYPE_CHECKING:  # torch stays out of planning
    from torch import Tensor


@dataclass
class CHORD(TraceGRPO):
    """CHORD-mu's schedule by default; clips of .2, dual clip of the code, and no KL term."""

    clip_dual: float | None = 3.0
    warmup_steps: StepsOrNone = 0
    """Steps in which mu rises from 0 to ``peak``."""
    decay_steps: StepsOrNone = 200
    """Steps, after those, in which mu falls to ``valley``."""
    peak: Fraction = 0.9
    """Largest share of imitation in the loss."""
    valley: Fraction = 0.05
    """Its share in the end."""
    phi: bool = False
    """Weigh each token of the trace by p (1 - p)."""

    def check(self, recipe: Recipe) -> None:
        super().check(recipe)
        if self.valley > self.peak:
            raise RecipeError(
                f"algorithm.valley={self.valley} is above algorithm.peak={self.peak}, from which mu"
                " falls to it: use at most that"
            )

    def compose(self, groups: Groups, state: State, step: int) -> tuple[list[Group], Metrics]:
        """As ``sft_grpo``, with weights mu and 1 - mu of this step."""
        mu = self.mu(step)
        set_weights(groups, rollouts=1 - mu, traces=mu)
        kept, metrics = super().compose(groups, state, step)
        return kept, metrics | {"chord/mu": mu}

    def mu(self, step: int) -> float:
        """Share of imitation in the loss of a step, counted from 0."""
        if step < self.warmup_steps:
            return step / self.warmup_steps * self.peak
        done = step - self.warmup_steps
        if done >= self.decay_steps:
            return self.valley
        fallen = 1 + math.cos(math.pi * done / self.decay_steps)
        return self.valley + (self.peak - self.valley) * 0.5 * fallen

    def token_losses(self, inputs: LossInputs, state: State, step: int) -> ComponentLosses:
        losses = super().token_losses(inputs, state, step)
        return {**losses, "rl": inputs.weight * losses["rl"]}

    def imitation_loss(self, inputs: LossInputs) -> Tensor:
        emphasis: token.Emphasis = "equal"
        if self.phi:
            emphasis = "uncertain"
        return inputs.weight * token.imitation(inputs.logp, emphasis)


def chord_phi() -> CHORD:
    """CHORD-phi: mu = .1 throughout, tokens weighed by p (1 - p)."""
    return CHORD(decay_steps=0, valley=0.1, phi=True)
