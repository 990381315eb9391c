"""HPT: hybrid post-training, imitation or reinforcement by what the policy can already do (arXiv 2509.04419).

    right rollouts of a group <= gate   the rollouts are dropped, the trace is imitated:  c x mean_t (-log p_t)
    otherwise                           GRPO on the rollouts, without the trace: no deviation, no clip, constant sum

The mean is over the tokens of all imitated traces, N all rollouts, dropped ones too: with c = 0 and gate 0 this is
Dr.GRPO without a clip. All rollouts wrong: the trace is imitated, verdict or not. All right: no advantage, only the
entropy bonus learns; without bonus the group is dropped. A group without a trace is never gated: its rollouts train as
far as their rewards differ.

Imitation leaves one sample of a group's eight, and updates are as large as they are without it: with two per step of
128 prompts, one is made once more than 73 of them are imitated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from red_mcore.algorithms.sft_grpo import SFTGRPO
from red_mcore.config.fields import Bound
from red_mcore.config.recipe import Recipe, RecipeError
from red_mcore.samples.records import Group


@dataclass
class HPT(SFTGRPO):
    """Settings of the authors' code for Qwen2.5-Math-1.5B, groups of eight rollouts; their scale: see the recipe."""

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
                f"algorithm.gate={self.gate} imitates every group of batch.samples_per_prompt={count} rollouts, right"
                f" or wrong: use {count - 1} or less"
            )

    def varies(self, group: Group) -> bool:
        """Also where the trace is imitated."""
        gated = self._gated(group)
        return any(s.is_offline for s in gated.samples) or super().varies(gated)

    def updates(self, groups: Sequence[Group], wanted: int) -> int:
        sizes = sum(len(self._gated(g).samples) for g in groups)
        return max(1, min(wanted, math.ceil(sizes * wanted / max(1, self.sequences(groups)))))

    def compose(self, groups: Sequence[Group]) -> tuple[list[Group], dict[str, float]]:
        gated = [self._gated(g) for g in groups]
        kept, metrics = super().compose(gated)
        traces, imitated = (sum(any(s.is_offline for s in g.samples) for g in gs) for gs in (groups, gated))
        return kept, metrics | {"groups/without_trace": len(groups) - traces, "groups/imitated": imitated}

    def _gated(self, group: Group) -> Group:
        """The group's trace alone, or its rollouts alone."""
        traces, rollouts = [s for s in group.samples if s.is_offline], group.rollouts
        solved = sum(s.accuracy > 0 for s in rollouts)
        return Group(group.problem, traces if traces and solved <= self.gate else rollouts)
