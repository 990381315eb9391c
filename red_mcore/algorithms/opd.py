"""OPD: on-policy distillation, by the sampled reverse KL divergence to a teacher.

    A_t = -c (log p_old(y_t) - log q(y_t))          L = -mean_t rho_t A_t

The policy p samples, the teacher q scores every token of it, and each token learns from its own
score: no discount, no baseline, no reward. It is "On-Policy Distillation" (Thinking Machines Lab,
2025), whose loss has the importance ratio rho = p / p_old and no clip. Distillation of language
models on policy with this divergence was proposed as GKD (arXiv 2306.13649) and as MiniLLM (arXiv
2306.08543), which put the divergence itself, or a return with a baseline, in the place of A_t.

Rewards are still given, and accuracy is still measured, but nothing is learnt from them. To learn
from both, give any other algorithm a teacher: ``algorithm.teacher={path: FOLDER}`` adds the same
A_t to its advantages (``teaching``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from red_mcore.algorithms.base import Aggregation, RolloutLoss
from red_mcore.config.model import Teacher
from red_mcore.config.recipe import Recipe, RecipeError
from red_mcore.samples.records import Group


@dataclass
class OPD(RolloutLoss):
    """The teacher's part is the whole advantage; the mean is over all sampled tokens of an
    update."""

    compares: ClassVar[bool] = False

    aggregation: Aggregation = "token"
    teacher: Teacher | None = field(default_factory=Teacher)

    def check(self, recipe: Recipe) -> None:
        if self.teacher is None:
            raise RecipeError(
                "algorithm.teacher=null: OPD learns from a teacher alone, name its folder:"
                " algorithm.teacher={path: FOLDER}"
            )
        super().check(recipe)
        if not self.std_normalise:
            raise RecipeError(
                "algorithm.std_normalise=false changes nothing where no samples are compared: leave"
                " it true"
            )
        if recipe.batch.refills:
            raise RecipeError(
                f"batch.refills={recipe.batch.refills}: OPD learns from every group, whatever its"
                " rewards: use 0"
            )

    def advantages_of(self, group: Group) -> list[float]:
        """Nothing by rewards; ``teaching`` adds the teacher's part to each token."""
        return [0.0] * len(group.samples)
