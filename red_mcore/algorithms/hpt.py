"""HPT: hybrid post-training, imitation or reinforcement by what the policy can already do (arXiv
2509.04419).

    right rollouts of a group <= gate   the rollouts are dropped, the trace is imitated:
                                        c x mean_t (-log p_t)
    otherwise                           GRPO on the rollouts, without the trace: no deviation,
                                        no clip, constant sum

The mean is over the tokens of all imitated traces, N all rollouts, dropped ones too: with c = 0
and gate 0 this is Dr.GRPO without a clip. All rollouts wrong: the trace is imitated, verdict or
not. All right: no advantage, only the entropy bonus learns; without bonus the group is dropped. A
group without a trace is never gated: its rollouts train as far as their rewards differ.

Imitation leaves one sample of a group's eight, and updates are as large as they are without it:
with two per step of 128 prompts, one is made once more than 73 of them are imitated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from red_mcore.algorithms.base import Groups, Metrics, State
from red_mcore.algorithms.mixins import UpdateCount
from red_mcore.algorithms.sft_grpo import SFTGRPO
from red_mcore.config.fields import Bound
from red_mcore.config.recipe import Recipe, RecipeError
from red_mcore.samples.records import Group


@dataclass
class HPT(UpdateCount, SFTGRPO):
    """Settings of the authors' code for Qwen2.5-Math-1.5B, groups of eight rollouts; their scale:
    see the recipe."""

    sft_weight: float = 0.3
    """c, the weight of imitation; 1 for the 7B model."""
    gate: Annotated[int, Bound(0, 10**5, unit="rollouts")] = 0
    """Most right rollouts of a group that is imitated; 2 for Llama-3.1-8B."""
    entropy_coefficient: float = 0.001

    def check(self, recipe: Recipe) -> None:
        super().check(recipe)
        count = recipe.batch.samples_per_prompt
        if self.gate >= count:
            raise RecipeError(
                f"algorithm.gate={self.gate} imitates every group of"
                f" batch.samples_per_prompt={count} rollouts, right or wrong: use {count - 1} or"
                " less"
            )

    def varies(self, group: Group) -> bool:
        """Also where the trace is imitated."""
        return self._is_imitated(group) or super().varies(group)

    def updates(self, groups: Groups, wanted: int) -> int:
        trained = sum(len(self._gated(group).samples) for group in groups)
        needed = math.ceil(trained * wanted / max(1, self.sequences(groups)))
        return max(1, min(wanted, needed))

    def compose(self, groups: Groups, state: State, step: int) -> tuple[list[Group], Metrics]:
        gated = [self._gated(group) for group in groups]
        kept, metrics = super().compose(gated, state, step)
        metrics["groups/without_trace"] = sum(not group.traces for group in groups)
        metrics["groups/imitated"] = sum(map(self._is_imitated, groups))
        return kept, metrics

    def _is_imitated(self, group: Group) -> bool:
        right = sum(s.accuracy > 0 for s in group.rollouts)
        return bool(group.traces) and right <= self.gate

    def _gated(self, group: Group) -> Group:
        """The group's trace alone, or its rollouts alone."""
        if self._is_imitated(group):
            return Group(group.problem, group.traces)
        return Group(group.problem, group.rollouts)
