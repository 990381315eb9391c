"""REINFORCE++: advantages normalised over the whole batch (arXiv 2501.03262).

    REINFORCE++            A_i = (R_i - mean R) / std R          over all rollouts of the step
    REINFORCE++-baseline   A_i = B_i / std B,  B_i = R_i - mean R of i's group

with GRPO's clipped loss. Without the group's baseline a group of equal rewards learns, too: it is
compared with the others. The paper's KL term is a part of the reward in the former, and
``kl_coefficient`` with ``kl_estimator=k2`` in the latter.
"""

from __future__ import annotations

from dataclasses import dataclass

from red_mcore.algorithms.base import Groups, Metrics, State, advantages, set_advantages
from red_mcore.algorithms.grpo import GRPO
from red_mcore.samples.records import Group, samples_of


@dataclass
class ReinforcePlusPlus(GRPO):
    """``std_normalise`` is by the batch's deviation."""

    group_baseline: bool = False
    """Subtract the mean of the group first (REINFORCE++-baseline)."""

    def compose(self, groups: Groups, state: State, step: int) -> tuple[list[Group], Metrics]:
        samples, baseline = samples_of(groups), None
        values = [s.reward for s in samples]
        if self.group_baseline:
            values, baseline = [], 0.0
            for group in groups:
                values += advantages([s.reward for s in group.samples], std_normalise=False)
        set_advantages(samples, advantages(values, self.std_normalise, baseline=baseline))
        return self.kept(groups)

    def trains_on(self, group: Group) -> bool:
        """Also where rewards are equal but not those of the batch."""
        has_advantage = any(s.advantage for s in group.samples)
        return super().trains_on(group) or (has_advantage and self.keep == "reward")
