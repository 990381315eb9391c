"""REINFORCE++-baseline: eight rollouts per prompt, no traces."""

from recipes.tiny.red import rates
from recipes.tiny.red import recipe as red
from red_mcore.algorithms.reinforce_plus_plus import ReinforcePlusPlus
from red_mcore.recipe import Recipe

TRIALS = rates(1.5e-4, 3e-4, 6e-4)


def recipe() -> Recipe:
    r = red()
    r.name = "reinforce_plus_plus_baseline"
    r.algorithm = ReinforcePlusPlus(group_baseline=True)
    r.batch.samples_per_prompt = 8
    r.optimizer.lr = 3e-4
    return r
