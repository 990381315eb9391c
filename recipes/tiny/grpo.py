"""GRPO: eight rollouts per prompt, no traces."""

from recipes.tiny.red import rates
from recipes.tiny.red import recipe as red
from red_mcore.algorithms.grpo import GRPO
from red_mcore.recipe import Recipe

TRIALS = rates(1.5e-4, 3e-4, 6e-4)


def recipe() -> Recipe:
    r = red()
    r.name = "grpo"
    r.algorithm = GRPO(aggregation="constant", constant=80.0)
    r.batch.samples_per_prompt = 8
    r.optimizer.lr = 1.5e-4
    return r
