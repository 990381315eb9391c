"""RL and SFT at once: GRPO over the rollouts plus cross-entropy on the trace, with a fixed weight.

    L = L_grpo(rollouts) + weight x mean_t (-log p_t)      the mean over the tokens of all traces

The trace stays out of the group's statistics. All rollouts right, or all wrong: they teach nothing and are left out
(``grpo`` says what keeps them), the trace is still imitated; ``batch.refills`` give such a group's place to another. A
wrong trace is imitated, too; nothing looks at its verdict. A group without a trace is a plain group of rollouts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from red_mcore.algorithms.base import Aggregation
from red_mcore.algorithms.grpo import GRPO
from red_mcore.config.fields import Weight
from red_mcore.samples.records import Group, Sample


@dataclass
class TraceGRPO(GRPO):
    """What methods share that imitate traces beside GRPO; a trace's ``weight`` multiplies its cross-entropy."""

    traces: ClassVar[int] = 1

    def compose(self, groups: Sequence[Group]) -> tuple[list[Group], dict[str, float]]:
        """Advantages over rollouts alone; groups come back with the samples that are trained on."""
        bare = [Group(g.problem, g.rollouts) for g in groups]
        teaching, _ = super().compose([g for g in bare if g.samples])
        taught = {id(s) for g in teaching for s in g.samples}
        parts = [Group(g.problem, [s for s in g.samples if s.is_offline or id(s) in taught]) for g in groups]
        kept = [g for g in parts if g.samples]
        return kept, {
            "groups/kept": len(kept),
            "groups/dropped": len(groups) - len(kept),
            "groups/without_trace": sum(not any(s.is_offline for s in g.samples) for g in groups),
            "groups/teaching_rollouts": len(teaching),
        }

    def varies(self, group: Group) -> bool:
        """By its rollouts alone."""
        return super().varies(Group(group.problem, group.rollouts))

    def sequences(self, groups: Sequence[Group]) -> int:
        """Rollouts: the trace is no part of the GRPO loss, and its own mean is over tokens."""
        return sum(len(g.rollouts) for g in groups)

    def components(self, sample: Sample) -> dict[str, Aggregation]:
        return {"sft": "token"} if sample.is_offline else {"rl": self.aggregation}

    def token_losses(self, fields: dict) -> dict:
        from red_mcore.losses import token  # torch stays out of planning

        return super().token_losses(fields) | {"sft": fields["weight"] * token.imitation(fields["logp"])}


@dataclass
class SFTGRPO(TraceGRPO):
    """Defaults are those of the baseline "RL with SFT loss" in LUFFY's code (arXiv 2504.14945), each by itself.

    There the sum over ``constant`` is not divided by N, and imitation is added up over micro-batches: what gives the
    same shares of both is in ``recipes/paper/sft_grpo.py``.
    """

    std_normalise: bool = False
    aggregation: Aggregation = "constant"
    constant: float = 8192.0
    clip_low: float | None = None
    clip_high: float | None = None
    sft_weight: Weight = 1.0
    """Weight of imitation beside the GRPO loss."""

    def weigh(self, groups: Sequence[Group], state: dict[str, Any]) -> dict[str, float]:
        for sample in (s for g in groups for s in g.samples):
            sample.weight = self.sft_weight if sample.is_offline else 1.0
        return {}
