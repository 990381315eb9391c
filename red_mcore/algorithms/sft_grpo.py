"""RL and SFT at once: GRPO over the rollouts plus cross-entropy on the trace, with a fixed weight.

    L = L_grpo(rollouts) + weight x mean_t (-log p_t)      the mean over the tokens of all traces

The trace stays out of the group's statistics. All rollouts right, or all wrong: they teach
nothing and are left out (``grpo`` says what keeps them), the trace is still imitated;
``batch.refills`` give such a group's place to another. A wrong trace is imitated, too; nothing
looks at its verdict. A group without a trace is a plain group of rollouts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from red_mcore.algorithms.base import (
    Aggregation,
    Groups,
    Metrics,
    State,
    set_weights,
)
from red_mcore.algorithms.grpo import ImitatingGRPO
from red_mcore.algorithms.mixins import TraceInGroup
from red_mcore.config.fields import Weight
from red_mcore.losses.inputs import LossInputs
from red_mcore.samples.records import Group, samples_of

if TYPE_CHECKING:  # torch stays out of planning
    from torch import Tensor


@dataclass
class TraceGRPO(TraceInGroup, ImitatingGRPO):
    """What methods share that imitate traces beside GRPO; a trace's ``weight`` multiplies its
    cross-entropy."""

    def compose(self, groups: Groups, state: State, step: int) -> tuple[list[Group], Metrics]:
        """Advantages over rollouts alone; groups come back with the samples that are trained on."""
        kept, teaching, without_trace = [], 0, 0
        for group in groups:
            samples = group.traces
            if not samples:
                without_trace += 1
            if group.rollouts:
                trained, _ = super().compose([Group(group.problem, group.rollouts)], state, step)
                teaching += len(trained)
                samples = samples + samples_of(trained)
            if samples:
                kept.append(Group(group.problem, samples))
        return kept, {
            "groups/kept": len(kept),
            "groups/dropped": len(groups) - len(kept),
            "groups/without_trace": without_trace,
            "groups/teaching_rollouts": teaching,
        }

    def varies(self, group: Group) -> bool:
        """By its rollouts alone."""
        return super().varies(Group(group.problem, group.rollouts))

    def sequences(self, groups: Groups) -> int:
        """Rollouts: the trace is no part of the GRPO loss, and its own mean is over tokens."""
        return sum(len(group.rollouts) for group in groups)

    def imitation_loss(self, inputs: LossInputs) -> Tensor:
        return inputs.weight * super().imitation_loss(inputs)


@dataclass
class SFTGRPO(TraceGRPO):
    """Defaults are those of the baseline "RL with SFT loss" in LUFFY's code (arXiv 2504.14945),
    each by itself.

    There the sum over ``constant`` is not divided by N, and imitation is added up over
    micro-batches: what gives the same shares of both is in ``recipes/paper/sft_grpo.py``.
    """

    std_normalise: bool = False
    aggregation: Aggregation = "constant"
    constant: float | None = 8192.0
    clip_low: float | None = None
    clip_high: float | None = None
    sft_weight: Weight = 1.0
    """Weight of imitation beside the GRPO loss."""

    def compose(self, groups: Groups, state: State, step: int) -> tuple[list[Group], Metrics]:
        set_weights(groups, rollouts=1.0, traces=self.sft_weight)
        return super().compose(groups, state, step)
