"""GRPO: group-relative policy optimisation with verifiable rewards (arXiv 2402.03300), and its Dr.GRPO settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from red_mcore.algorithms.base import Aggregation, GroupAlgorithm
from red_mcore.recipe import Recipe, RecipeError


@dataclass
class GRPO(GroupAlgorithm):
    """Rollouts only. Defaults are GRPO's; ``std_normalise=False, aggregation="constant"`` is Dr.GRPO."""

    aggregation: Aggregation = "sequence"
    clip_low: float | None = 0.2
    clip_high: float | None = 0.2
    kl_coefficient: float = 0.0
    """Weight of the KL term to the reference (the policy at start); 0 builds no reference."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"

    scores: ClassVar = "none"

    def check(self, recipe: Recipe) -> None:
        if recipe.batch.samples_per_prompt < 2:
            raise RecipeError(
                f"batch.samples_per_prompt={recipe.batch.samples_per_prompt}: GRPO compares the samples of a group,"
                " use at least 2"
            )

    def token_losses(self, fields: dict) -> dict:
        from red_mcore.losses import token  # torch stays out of planning

        loss = token.policy_gradient(
            fields["logp"], fields["old_logp"], fields["advantage"], self.clip_low, self.clip_high
        )
        if self.kl_coefficient:
            loss = loss + self.kl_coefficient * token.kl(fields["logp"], fields["ref_logp"], self.kl_estimator)
        return {"rl": loss}
