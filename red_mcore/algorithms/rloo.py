"""RLOO: REINFORCE with a leave-one-out baseline (arXiv 2402.14740).

    A_i = R_i - mean of the other R_j of the group        L = -(1/N) sum_i A_i sum_t log p_it

The whole response is one action: its log-probs are summed, over no length and without a clip.
With one update per step the gradient is REINFORCE's; with more, each token is weighed by its
ratio to the policy that sampled. The paper's KL term is a part of its reward, which here is
verified and has none.
"""

from __future__ import annotations

from dataclasses import dataclass

from red_mcore.algorithms.base import RolloutLoss
from red_mcore.samples.records import Group


@dataclass
class RLOO(RolloutLoss):
    """Rollouts only; ``constant`` 1 sums a response's tokens, as the paper does."""

    std_normalise: bool = False
    constant: float | None = 1.0

    def advantages_of(self, group: Group) -> list[float]:
        """By the mean of the others: G / (G - 1) times what the mean of all G gives."""
        count = len(group.samples)
        scale = count / max(1, count - 1)
        return [scale * advantage for advantage in super().advantages_of(group)]
