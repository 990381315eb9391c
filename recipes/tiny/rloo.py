"""RLOO: eight rollouts per prompt, no traces."""

from recipes.tiny.red import rates
from recipes.tiny.red import recipe as red
from red_mcore.algorithms.rloo import RLOO
from red_mcore.recipe import Recipe

TRIALS = rates(1.5e-4, 3e-4, 6e-4)


def recipe() -> Recipe:
    r = red()
    r.name = "rloo"
    r.algorithm = RLOO()
    r.batch.samples_per_prompt = 8
    r.optimizer.lr = 3e-4
    return r
