"""CISPO: clipped importance weights in policy optimisation (MiniMax-M1, arXiv 2506.13585).

    l = -sg(clip(rho, 1 - low, 1 + high)) A log p         L = mean of l over all tokens

The weight is clipped and has no gradient, so that every token keeps a gradient, however much its
probability has changed. The paper sets no lower bound, tunes the upper one and does not tell it: 5,
which stands here, is a choice. As in DAPO, groups of one accuracy are dropped; there is no KL term.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from red_mcore.algorithms.base import Aggregation
from red_mcore.algorithms.grpo import GRPO
from red_mcore.config.recipe import Recipe, RecipeError
from red_mcore.losses import token
from red_mcore.losses.inputs import LossInputs

if TYPE_CHECKING:  # torch stays out of planning
    from torch import Tensor


@dataclass
class CISPO(GRPO):
    """GRPO's advantages; ``clip_low`` and ``clip_high`` bound a token's weight, whatever the sign
    of A."""

    aggregation: Aggregation = "token"
    clip_low: float | None = None
    clip_high: float | None = 4.0
    keep: Literal["reward", "accuracy"] = "accuracy"

    def check(self, recipe: Recipe) -> None:
        super().check(recipe)
        if self.clip_dual is not None:
            raise RecipeError(
                f"algorithm.clip_dual={self.clip_dual} stops gradients, and CISPO stops none: leave"
                " it null"
            )

    def rollout_loss(self, inputs: LossInputs) -> Tensor:
        ratio = (inputs.logp - inputs.old_logp).exp()
        weight = token.clamped(ratio, self.clip_low, self.clip_high).detach()
        return -weight * inputs.advantage * inputs.logp
