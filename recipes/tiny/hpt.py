"""HPT: eight rollouts per prompt train by GRPO if one is right, else the trace is imitated."""

from recipes.tiny.red import rates
from recipes.tiny.red import recipe as red
from red_mcore.algorithms.hpt import HPT
from red_mcore.recipe import Recipe

TRIALS = rates(3e-4, 6e-4, 1.2e-3)


def recipe() -> Recipe:
    r = red()
    r.name = "hpt"
    r.algorithm = HPT(constant=80.0)
    r.batch.samples_per_prompt = 8
    r.optimizer.lr = 1.2e-3
    return r
