"""SFT, then GRPO: the two stages in one run, each with an optimizer of its own.

The baseline that any method which mixes the two has to beat (arXiv 2604.23747): imitation with
its own learning rate until ``sft_steps`` steps are done, no rollouts sampled; from then on GRPO
on the weights as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from red_mcore.algorithms.base import GroupAlgorithm
from red_mcore.algorithms.grpo import GRPO
from red_mcore.algorithms.mixins import Stages
from red_mcore.algorithms.sft import SFT
from red_mcore.config.fields import Steps
from red_mcore.config.recipe import Optimizer, Recipe, RecipeError


class _Imitation(SFT):
    optimizer: ClassVar[str] = "imitation"


@dataclass
class SFTThenGRPO(Stages, GRPO):
    """The settings are GRPO's; ``recipe.steps`` counts both stages and ``recipe.optimizer`` is
    the second's."""

    sft_steps: Steps = 300
    """Steps of imitation, each on the traces of ``batch.prompts_per_step`` problems."""
    imitation: Optimizer = field(default_factory=lambda: Optimizer(lr=5e-5, min_lr_ratio=0.1))
    """The optimizer of the imitation steps."""

    def check(self, recipe: Recipe) -> None:
        super().check(recipe)
        if self.kl_coefficient:
            raise RecipeError(
                f"algorithm.kl_coefficient={self.kl_coefficient}: the reference would be the model"
                " before SFT; use 0"
            )
        if recipe.until is None and 0 < recipe.steps <= self.sft_steps:
            raise RecipeError(
                f"algorithm.sft_steps={self.sft_steps} leaves no step of steps={recipe.steps} to"
                " GRPO: use fewer, or more steps"
            )

    def optimizers(self, recipe: Recipe) -> dict[str, tuple[Optimizer, int]]:
        per_step = recipe.batch.updates_per_step
        return {
            "main": (recipe.optimizer, max(0, recipe.steps - self.sft_steps) * per_step),
            "imitation": (self.imitation, self.sft_steps * per_step),
        }

    def stage(self, step: int) -> GroupAlgorithm:
        if step < self.sft_steps:
            return _Imitation()
        return self
