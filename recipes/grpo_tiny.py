"""GRPO on the task, model and budget of ``red_tiny``: eight rollouts per prompt, no traces."""

from recipes.red_tiny import recipe as red_tiny
from red_mcore.algorithms.grpo import GRPO
from red_mcore.recipe import Recipe


def recipe() -> Recipe:
    r = red_tiny()
    r.name = "grpo_tiny"
    r.algorithm = GRPO(aggregation="constant", constant=80.0)
    r.batch.samples_per_prompt = 8
    r.optimizer.lr = 3e-4
    return r
