"""SFT: imitation of 24 traces a step, no rollouts."""

from recipes.tiny.red import rates
from recipes.tiny.red import recipe as red
from red_mcore.algorithms.sft import SFT
from red_mcore.recipe import Recipe

TRIALS = rates(5e-4, 1e-3, 2e-3)


def recipe() -> Recipe:
    r = red()
    r.name = "sft"
    r.algorithm = SFT()
    r.evaluation.every = 100
    r.optimizer.lr = 1e-3
    return r
